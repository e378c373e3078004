// Origin for http:// and https:// files that can be read by ranges, on libcurl.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "agent/origin/allow_list.h"
#include "agent/origin/origin.h"

namespace shoal::agent {

// Connections are kept and reused across reads. Redirects are followed by our own policy (at most
// 5, each target checked against the allow-list, no downgrade from https), and each resolved
// address is checked before it is connected to. A file's version is its ETag, without one its
// Last-Modified.
class HttpOrigin final : public Origin {
 public:
  struct Options {
    std::chrono::milliseconds connect_timeout{10'000};
    std::chrono::seconds stall_timeout{10};  // no byte for this long ends a read with timed_out
    std::string user_agent = "shoal";
  };

  // `allow` must outlive the origin.
  HttpOrigin(const AllowList& allow, Options options);
  ~HttpOrigin() override;

  bool handles(std::string_view scheme) const override {
    return scheme == "http" || scheme == "https";
  }
  OriginStatus probe(const std::string& url, OriginFile& file, const CancelFlag& cancel) override;
  OriginStatus read(const OriginFile& file, ByteRange range, const OriginSink& sink,
                    const CancelFlag& cancel) override;
  void tidy() override;

 private:
  class Transfer;
  class HandlePool;

  const AllowList& allow_;
  const Options options_;
  const std::unique_ptr<HandlePool> handles_;
};

}  // namespace shoal::agent
