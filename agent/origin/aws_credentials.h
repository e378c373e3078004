// Where this node's AWS credentials come from, in the order of AWS's own SDKs: environment, web
// identity, shared file, the instance's metadata service.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "agent/origin/aws_signature.h"
#include "agent/origin/environment.h"
#include "agent/origin/http_client.h"

namespace shoal::agent {

// What one profile of a shared file says; keys in lower case. Empty for a profile that is not
// there. `prefix` is what stands before the name in its heading, "profile " in the config file.
std::map<std::string, std::string> parse_aws_profile(std::string_view text,
                                                     std::string_view profile,
                                                     std::string_view prefix = "");

// Thread safe; blocks while somebody is asked.
class AwsCredentialChain {
 public:
  // `limits` must outlive this. `region` is where STS is asked.
  AwsCredentialChain(Environment environment, std::string region, OriginLimits& limits,
                     HttpClient::Options http);
  ~AwsCredentialChain();

  // Nothing if there are none anywhere: requests then go unsigned, as for a public bucket, and it
  // is looked again after kLookAgain. Kept until shortly before they end. Errors: denied (found,
  // but of no use: the message says which and what to do), unavailable, cancelled.
  Result<std::optional<AwsCredentials>> get(const CancelFlag& cancel);

  static constexpr std::chrono::seconds kLookAgain{60};

  // Those were refused: ask again next time.
  void refused(const AwsCredentials& credentials);

 private:
  using Found = Result<std::optional<AwsCredentials>>;
  Found find(const CancelFlag& cancel);
  Found from_environment() const;
  Found from_web_identity(const CancelFlag& cancel);
  Found from_shared_file() const;
  Found from_instance(const CancelFlag& cancel);

  const Environment environment_;
  const std::string region_;
  OriginLimits& limits_;
  const HttpClient::Options http_;
  std::mutex mutex_;
  std::chrono::steady_clock::time_point good_until_;  // guarded by mutex_; of what was found
  std::optional<AwsCredentials> credentials_;         // guarded by mutex_
};

// The region that environment and shared config name; empty if none does.
std::string aws_region(const Environment& environment);

}  // namespace shoal::agent
