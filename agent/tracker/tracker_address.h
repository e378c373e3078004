// Where the tracker is and how it proves itself.
#pragma once

#include <cstddef>
#include <memory>

#include "core/http/client.h"
#include "core/http/url.h"

namespace shoal::http {
class TlsContext;
}

namespace shoal::agent {

struct TrackerAddress {
  http::Url url;
  std::shared_ptr<http::TlsContext> tls;  // needed exactly for https
};

// For an http::Client of that tracker: it has to show the tracker's certificate, and its answers
// are taken up to the API's limits (core/api/limits.h).
http::Client::Options tracker_client_options(const TrackerAddress& address,
                                             std::size_t max_connections);

}  // namespace shoal::agent
