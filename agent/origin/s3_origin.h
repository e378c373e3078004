// Origin for s3://bucket/key: AWS and what speaks its protocol (MinIO, Ceph, Google Cloud Storage's
// interoperable mode).
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "agent/origin/aws_credentials.h"
#include "agent/origin/http_range.h"
#include "agent/origin/origin.h"
#include "agent/origin/s3_xml.h"

namespace shoal::agent {

struct S3Settings {
  std::string endpoint;  // "https://minio.example:9000"; empty: AWS's of the region
  std::string region;    // empty: us-east-1 until the bucket says where it is
  enum class Addressing { kAuto, kPath, kVirtual } addressing = Addressing::kAuto;

  // With what the environment says where a setting is empty.
  static S3Settings with(S3Settings given, const Environment& environment);
};

// "s3://bucket/a/b": the parts, decoded. Errors: invalid.
struct S3Place {
  std::string bucket;
  std::string key;  // or prefix; may be empty
};
Result<S3Place> parse_s3_url(std::string_view url);
// The inverse.
std::string s3_url(const std::string& bucket, const std::string& key);

// The URL that is called. `key` may be empty: then it is the bucket's.
std::string s3_endpoint_url(const S3Settings& settings, const std::string& region,
                            const std::string& bucket, const std::string& key);

// A file's version is its ETag.
class S3Origin final : public Origin {
 public:
  // The hosts that AWS's buckets are at.
  static const std::vector<std::string>& usual_hosts();

  S3Origin(S3Settings settings, std::unique_ptr<HttpClient> client,
           std::unique_ptr<AwsCredentialChain> credentials);
  ~S3Origin() override;

  std::string_view kind() const override { return "s3"; }
  bool handles(std::string_view scheme) const override { return scheme == "s3"; }
  // `source` is one object, or a prefix that ends at a slash or is given without it.
  OriginStatus list(const OriginQuery& query, OriginListing& found,
                    const CancelFlag& cancel) override;
  OriginStatus probe(const std::string& url, OriginFile& file, const CancelFlag& cancel) override;
  OriginStatus read(const OriginFile& file, ByteRange range, const OriginSink& sink,
                    const CancelFlag& cancel) override;
  void tidy() override;

 private:
  // What a call is made with, and what it taught.
  struct Attempt {
    std::optional<AwsCredentials> credentials;
    std::string region;
  };
  Result<Attempt> prepare(const std::string& bucket, const CancelFlag& cancel);
  HttpCall call_for(const Attempt& attempt, const std::string& bucket, const std::string& key,
                    const std::string& query) const;
  HttpFile file_for(const Attempt& attempt, const S3Place& place) const;
  bool learn(const Attempt& attempt, const std::string& bucket, const HttpAnswer& answer);
  OriginStatus error_of(const Attempt& attempt, const HttpAnswer& answer) const;
  OriginStatus list_page(const S3Place& place, const std::string& prefix, const std::string& token,
                         S3Page& page, const CancelFlag& cancel);
  template <typename Ask>
  OriginStatus ask(const std::string& bucket, const CancelFlag& cancel, Ask ask_once);

  const S3Settings settings_;
  const std::unique_ptr<HttpClient> client_;
  const std::unique_ptr<AwsCredentialChain> credentials_;
  std::mutex mutex_;
  std::map<std::string, std::string> regions_;  // guarded by mutex_; by bucket
};

}  // namespace shoal::agent
