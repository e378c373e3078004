#include "tracker/service/tracker_service.h"

#include <utility>

#include "core/api/limits.h"
#include "core/http/server.h"
#include "tracker/service/routes.h"

namespace shoal::tracker {
namespace {

// An agent keeps one connection for its long poll and up to eight for the rest.
constexpr std::size_t kMaxConnections = 65'536;

http::Server::Options server_options(const http::Endpoint& listen,
                                     std::shared_ptr<http::TlsContext> tls) {
  http::Server::Options options;
  options.endpoint = listen;
  options.tls = std::move(tls);
  options.name = "api";
  options.limits.max_body = api::kMaxRequestBody;
  options.max_connections = kMaxConnections;
  return options;
}

}  // namespace

TrackerService::TrackerService(Executor executor, Options options,
                               std::unique_ptr<Catalogue> catalogue,
                               std::shared_ptr<http::TlsContext> tls)
    : control_(executor, options.control, std::move(catalogue), tls),
      server_(std::make_unique<http::Server>(executor, server_options(options.listen, tls))) {
  add_node_routes(*server_, control_);
  add_catalogue_routes(*server_, control_);
  add_ingest_routes(*server_, control_);
  add_operator_routes(*server_, control_);
}

TrackerService::~TrackerService() = default;

Task<Status> TrackerService::start() {
  SHOAL_CO_TRY(co_await control_.start());
  co_return server_->start();
}

Task<void> TrackerService::stop(Deadline deadline) {
  control_.end_waits();
  co_await server_->stop(deadline);
  co_await control_.stop();
}

const http::Endpoint& TrackerService::local() const { return server_->local(); }

}  // namespace shoal::tracker
