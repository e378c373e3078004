// What operators ask: prefetches, nodes, status, version.
#include <algorithm>
#include <memory>
#include <utility>

#include "core/api/operate.h"
#include "core/base/log.h"
#include "core/base/random.h"
#include "core/daemon/version.h"
#include "tracker/service/routes.h"

namespace shoal::tracker {
namespace {

// An order that is in the catalogue, and what it brings to each node.
struct Written {
  StoredPrefetch prefetch;
  std::uint64_t bytes_total = 0;
};

class OperatorRoutes {
 public:
  explicit OperatorRoutes(Control& control) : control_(control) {}

  Task<http::Response> start_prefetch(http::Request request);
  Task<http::Response> get_prefetch(http::Request request);
  Task<http::Response> cancel_prefetch(http::Request request);
  Task<http::Response> nodes(http::Request request);
  Task<http::Response> status(http::Request request);
  Task<http::Response> version(http::Request request);

 private:
  std::vector<PrefetchBook::Candidate> live_nodes() const;
  http::Response prefetch_status(std::string_view id) const;

  Control& control_;
};

std::vector<PrefetchBook::Candidate> OperatorRoutes::live_nodes() const {
  std::vector<PrefetchBook::Candidate> out;
  control_.fleet().for_each_live([&](const Node& node) {
    out.push_back({node.id, node.topology, node.labels});
  });
  return out;
}

Task<http::Response> OperatorRoutes::start_prefetch(http::Request request) {
  auto wanted = api::decode<api::PrefetchRequest>(request.body);
  if (!wanted) co_return http::Response::error(wanted.error());
  auto reference = content::Reference::parse(wanted->reference);
  if (!reference) co_return http::Response::error(reference.error());
  if (wanted->nodes.ids.empty()) {
    std::vector<PrefetchBook::Candidate> live = live_nodes();
    if (std::none_of(live.begin(), live.end(), [&](const PrefetchBook::Candidate& node) {
          return PrefetchBook::selects(wanted->nodes, node);
        })) {
      co_return http::Response::error(
          Error(Errc::kNotFound, wanted->nodes.all ? "there is no live node"
                                                   : "no live node has all of these labels"));
    }
  }
  StoredPrefetch stored;
  stored.id = random_hex(8);
  stored.request = *std::move(wanted);
  stored.created_unix_ms = unix_ms_now();
  auto job = [stored, reference = *reference](Catalogue& catalogue) -> Result<Written> {
    auto resolved = catalogue.resolve(reference);
    if (!resolved) return fail(resolved.error());
    Written out{stored, resolved->bytes_total()};
    out.prefetch.manifest = resolved->manifest;
    SHOAL_TRY(catalogue.put_prefetch(out.prefetch));
    return out;
  };
  auto written = co_await control_.with_catalogue(job);
  if (!written) co_return http::Response::error(written.error());
  stored = std::move(written->prefetch);
  std::vector<std::string> selected =
      control_.book().add(stored, written->bytes_total, live_nodes(), control_.now());
  log::info("a prefetch began", {{"pull_id", stored.id},
                                 {"reference", stored.request.reference},
                                 {"digest", stored.manifest.str()},
                                 {"nodes", selected.size()}});
  control_.changed();
  co_return http::Response::json(
      api::encode(api::PrefetchResponse{stored.id, stored.manifest, std::move(selected)}));
}

http::Response OperatorRoutes::prefetch_status(std::string_view id) const {
  Result<api::PrefetchStatus> status = control_.book().status(id, control_.now());
  if (status) {
    for (api::NodeProgress& progress : status->nodes) {
      if (const Node* node = control_.fleet().node(progress.node)) {
        progress.last_heard_ms_ago =
            std::chrono::duration_cast<std::chrono::milliseconds>(control_.now() - node->heard)
                .count();
      }
    }
  }
  return answer_of(status);
}

Task<http::Response> OperatorRoutes::get_prefetch(http::Request request) {
  Result<PollQuery> poll = poll_query(request);
  if (!poll) co_return http::Response::error(poll.error());
  const std::string id(request.param("prefetch"));
  Deadline deadline = Deadline::after(poll->wait);
  std::uint64_t version = co_await control_.wait_for_progress(id, poll->since, deadline);
  if (version == 0) co_return http::Response::error(Error(Errc::kNotFound, "no prefetch " + id));
  co_return prefetch_status(id);
}

Task<http::Response> OperatorRoutes::cancel_prefetch(http::Request request) {
  const std::string id(request.param("prefetch"));
  if (Status cancelled = control_.book().cancel(id, control_.now()); !cancelled) {
    co_return http::Response::error(cancelled.error());
  }
  control_.changed();
  co_return prefetch_status(id);
}

Task<http::Response> OperatorRoutes::nodes(http::Request) {
  co_return http::Response::json(
      api::encode(api::NodeList{control_.epoch(), control_.fleet().list(control_.now())}));
}

Task<http::Response> OperatorRoutes::status(http::Request request) {
  Result<content::Reference> reference = reference_query(request);
  if (!reference) co_return http::Response::error(reference.error());
  auto job = [reference = *reference](Catalogue& catalogue) {
    return catalogue.resolve(reference);
  };
  auto blobs = co_await control_.with_catalogue(job);
  if (!blobs) co_return http::Response::error(blobs.error());
  api::StatusReport report;
  report.reference = reference->str();
  report.manifest = blobs->manifest;
  report.nodes = control_.fleet().progress(blobs->manifest, control_.now());
  report.totals = api::total_of(report.nodes);
  co_return http::Response::json(api::encode(report));
}

Task<http::Response> OperatorRoutes::version(http::Request) {
  co_return http::Response::json(
      api::encode(api::VersionInfo{.program = "shoal-tracker",
                                   .version = std::string(daemon::version()),
                                   .api = 1,
                                   .tracker_epoch = control_.epoch(),
                                   .uptime_ms = control_.uptime().count()}));
}

}  // namespace

void add_operator_routes(http::Server& server, Control& control) {
  auto routes = std::make_shared<OperatorRoutes>(control);  // owned by its handlers
  auto add = [&](std::string_view method, std::string_view path,
                 Task<http::Response> (OperatorRoutes::*handler)(http::Request)) {
    server.route(method, path, [routes, handler](http::Request request) {
      return (routes.get()->*handler)(std::move(request));
    });
  };
  add("POST", "/v1/prefetch", &OperatorRoutes::start_prefetch);
  add("GET", "/v1/prefetch/{prefetch}", &OperatorRoutes::get_prefetch);
  add("DELETE", "/v1/prefetch/{prefetch}", &OperatorRoutes::cancel_prefetch);
  add("GET", "/v1/nodes", &OperatorRoutes::nodes);
  add("GET", "/v1/status", &OperatorRoutes::status);
  add("GET", "/v1/version", &OperatorRoutes::version);
}

}  // namespace shoal::tracker
