#include "agent/lane/peer_client.h"

#include <utility>

namespace shoal::agent {

http::Client::Options peer_client_options(const PeerAddress& peer,
                                          std::shared_ptr<http::TlsContext> tls,
                                          std::size_t max_body) {
  http::Client::Options options;
  options.server.scheme = tls ? http::Url::Scheme::kHttps : http::Url::Scheme::kHttp;
  options.server.endpoint.tcp = peer.lane;
  options.server.target = "/";
  options.tls = std::move(tls);
  options.expected = http::ExpectedPeer::node_id(peer.node);
  options.limits.max_body = max_body;
  return options;
}

http::Request peer_get(std::string path, const std::string& node, bool plain, http::Query query) {
  http::Request request = http::Request::get(std::move(path), std::move(query));
  if (plain) request.headers.add(std::string(http::kNodeHeader), node);
  return request;
}

}  // namespace shoal::agent
