#include "core/daemon/admin.h"

#include <utility>

#include "core/base/metrics.h"

namespace shoal::daemon {
namespace {

http::Server::Options server_options(const Address& listen) {
  http::Server::Options options;
  options.endpoint.tcp = listen;
  options.name = "admin";
  options.max_connections = 64;
  return options;
}

Task<http::Response> answer(http::Response response) { co_return response; }

http::Response metrics_page() {
  http::Response response = http::Response::text(metrics::render());
  response.headers.set("Content-Type", "text/plain; version=0.0.4; charset=utf-8");
  return response;
}

http::Response readiness(const std::optional<std::string>& reason) {
  return reason ? http::Response::text("not ready: " + *reason + "\n", 503)
                : http::Response::text("ready\n");
}

}  // namespace

AdminEndpoint::AdminEndpoint(Executor executor, const Address& listen, NotReady not_ready)
    : server_(std::move(executor), server_options(listen)), not_ready_(std::move(not_ready)) {
  server_.route("GET", "/metrics", [](http::Request) { return answer(metrics_page()); });
  server_.route("GET", "/healthz",
                [](http::Request) { return answer(http::Response::text("ok\n")); });
  server_.route("GET", "/readyz",
                [this](http::Request) { return answer(readiness(not_ready_())); });
}

void AdminEndpoint::page(std::string_view path, http::Handler handler) {
  server_.route("GET", path, std::move(handler));
}

Status AdminEndpoint::start() { return server_.start(); }
const http::Endpoint& AdminEndpoint::local() const { return server_.local(); }
Task<void> AdminEndpoint::stop(Deadline deadline) { return server_.stop(deadline); }

}  // namespace shoal::daemon
