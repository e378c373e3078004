// Origin for hf://org/repo@revision: the Hugging Face Hub, and what speaks its protocol.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent/origin/environment.h"
#include "agent/origin/hf_listing.h"
#include "agent/origin/http_range.h"
#include "agent/origin/origin.h"

namespace shoal::agent {

// On a model's manifest: the commit it was published from.
inline constexpr std::string_view kHfCommitAnnotation = "org.opencontainers.image.revision";

// A file's version is its oid: the SHA-256 of an LFS file, else git's SHA-1.
class HfOrigin final : public Origin {
 public:
  // The Hub and the places it redirects to.
  static const std::vector<std::string>& usual_hosts();
  // $HF_ENDPOINT, else the Hub; without a slash at its end.
  static std::string endpoint_of(const Environment& environment);

  // The token is looked up for each call: HF_TOKEN, the file HF_TOKEN_PATH, the file that the Hub's
  // own client writes. None is fine for public repositories.
  HfOrigin(std::string endpoint, Environment environment, std::unique_ptr<HttpClient> client);
  ~HfOrigin() override;

  std::string_view kind() const override { return "hf"; }
  bool handles(std::string_view scheme) const override { return scheme == "hf"; }
  OriginStatus list(const OriginQuery& query, OriginListing& found,
                    const CancelFlag& cancel) override;
  OriginStatus probe(const std::string& url, OriginFile& file, const CancelFlag& cancel) override;
  OriginStatus read(const OriginFile& file, ByteRange range, const OriginSink& sink,
                    const CancelFlag& cancel) override;
  void tidy() override;

 private:
  std::string token() const;
  HttpCall call_to(std::string url) const;
  HttpFile file_for(const HfPlace& place, const std::string& wanted) const;
  OriginStatus error_of(const HfPlace& place, const HttpAnswer& answer) const;
  OriginStatus pages_of(const HfPlace& place, std::vector<HfFile>& files, const CancelFlag& cancel);

  const std::string endpoint_;
  const Environment environment_;
  const std::unique_ptr<HttpClient> client_;
};

}  // namespace shoal::agent
