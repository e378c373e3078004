#include "agent/tracker/tracker_address.h"

#include "core/api/limits.h"

namespace shoal::agent {

http::Client::Options tracker_client_options(const TrackerAddress& address,
                                             std::size_t max_connections) {
  return {.server = address.url,
          .tls = address.tls,
          .expected = http::ExpectedPeer::tracker(address.url.endpoint.tcp.host),
          .limits = {.max_body = api::kMaxResponseBody},
          .max_connections = max_connections};
}

}  // namespace shoal::agent
