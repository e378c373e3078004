#include "tracker/connect_back/connect_back.h"

#include <utility>

#include "core/async/deadline.h"
#include "core/http/client.h"
#include "core/http/url.h"

namespace shoal::tracker {

ConnectBack::ConnectBack(Executor executor, std::shared_ptr<http::TlsContext> tls,
                         std::chrono::milliseconds timeout)
    : executor_(std::move(executor)), tls_(std::move(tls)), timeout_(timeout) {}

Task<Result<api::Identity>> ConnectBack::identify(std::string node, std::string address) {
  if (closed_) co_return fail(Errc::kCancelled, "the tracker is stopping");
  Result<http::HostPort> target = http::parse_host_port(address);
  if (!target) co_return fail(target.error());
  http::Client::Options options;
  options.server.scheme = tls_ ? http::Url::Scheme::kHttps : http::Url::Scheme::kHttp;
  options.server.endpoint.tcp = *target;
  options.server.target = "/";
  options.tls = tls_;
  options.expected = http::ExpectedPeer::node_id(node);
  options.limits.max_body = 4096;
  options.max_connections = 1;
  options.connect_timeout = timeout_;
  http::Client client(executor_, std::move(options));
  asking_.insert(&client);
  http::Request request = http::Request::get("/v1/identity");
  Result<http::Response> response =
      co_await client.request(std::move(request), Deadline::after(timeout_));
  asking_.erase(&client);
  if (!response) co_return fail(response.error());
  Result<api::Identity> identity = api::decode<api::Identity>(response->body);
  if (!identity) {
    co_return fail(Errc::kCorrupt, "what answers there is no agent: " + identity.error().message());
  }
  co_return *std::move(identity);
}

void ConnectBack::close() {
  closed_ = true;
  for (http::Client* client : asking_) client->close();
}

}  // namespace shoal::tracker
