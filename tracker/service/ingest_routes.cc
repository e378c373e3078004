// Ingests: what publishers say, and what agents and people ask.
#include <memory>
#include <utility>

#include "core/api/ingest.h"
#include "tracker/service/routes.h"

namespace shoal::tracker {
namespace {

class IngestRoutes {
 public:
  explicit IngestRoutes(Control& control) : control_(control) {}

  Task<http::Response> put(http::Request request);
  Task<http::Response> get(http::Request request);
  Task<http::Response> list(http::Request request);

 private:
  Control& control_;
};

Task<http::Response> IngestRoutes::put(http::Request request) {
  Result<content::Digest> manifest = digest_param(request);
  if (!manifest) co_return http::Response::error(manifest.error());
  auto said = api::decode<api::IngestUpdate>(request.body);
  if (!said) co_return http::Response::error(said.error());
  if (Status ok = check_caller(request, control_, said->node); !ok) {
    co_return http::Response::error(ok.error());
  }
  co_return answer_of(co_await control_.ingest(*manifest, *std::move(said)));
}

Task<http::Response> IngestRoutes::get(http::Request request) {
  Result<content::Digest> manifest = digest_param(request);
  if (!manifest) co_return http::Response::error(manifest.error());
  Result<PollQuery> poll = poll_query(request);
  if (!poll) co_return http::Response::error(poll.error());
  co_await control_.wait_for_ingest(*manifest, poll->since, Deadline::after(poll->wait));
  co_return answer_of(control_.ingests().status(*manifest));
}

Task<http::Response> IngestRoutes::list(http::Request) {
  co_return http::Response::json(api::encode(control_.ingests().list(unix_ms_now())));
}

}  // namespace

void add_ingest_routes(http::Server& server, Control& control) {
  auto routes = std::make_shared<IngestRoutes>(control);  // owned by its handlers
  server.route("PUT", "/v1/ingests/{digest}",
               [routes](http::Request request) { return routes->put(std::move(request)); });
  server.route("GET", "/v1/ingests/{digest}",
               [routes](http::Request request) { return routes->get(std::move(request)); });
  server.route("GET", "/v1/ingests",
               [routes](http::Request request) { return routes->list(std::move(request)); });
}

}  // namespace shoal::tracker
