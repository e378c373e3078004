// Origin for http:// and https:// files that can be read by ranges.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "agent/origin/http_client.h"
#include "agent/origin/origin.h"

namespace shoal::agent {

// A file's version is its ETag, without one its Last-Modified.
class HttpOrigin final : public Origin {
 public:
  explicit HttpOrigin(std::unique_ptr<HttpClient> client);
  ~HttpOrigin() override;

  std::string_view kind() const override { return "http"; }
  bool handles(std::string_view scheme) const override {
    return scheme == "http" || scheme == "https";
  }
  // `source` is the URL of one file, which gets the name after its last slash.
  OriginStatus list(const OriginQuery& query, OriginListing& found,
                    const CancelFlag& cancel) override;
  OriginStatus probe(const std::string& url, OriginFile& file, const CancelFlag& cancel) override;
  OriginStatus read(const OriginFile& file, ByteRange range, const OriginSink& sink,
                    const CancelFlag& cancel) override;
  void tidy() override;

 private:
  const std::unique_ptr<HttpClient> client_;
};

}  // namespace shoal::agent
