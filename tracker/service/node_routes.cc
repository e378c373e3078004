// What agents ask: registration, heartbeats, events, leases.
#include <memory>
#include <set>
#include <utility>

#include "core/base/hex.h"
#include "core/base/log.h"
#include "core/base/metrics.h"
#include "core/http/url.h"
#include "tracker/service/routes.h"

namespace shoal::tracker {
namespace {

// While a registration of an id is being checked, which takes a few connections, another one waits.
constexpr std::chrono::milliseconds kRegisterRetry{500};

// "host:port" of the caller: its own words, or its connection's address where it left the host out.
Result<std::string> resolve_address(const std::string& advertised, const http::Request& request) {
  if (!advertised.starts_with(':')) return advertised;
  Result<http::HostPort> source = http::parse_host_port(request.peer.address);
  if (!source) {
    return fail(Errc::kInvalid,
                "this connection has no address, so \"" + advertised + "\" needs a host");
  }
  Result<http::HostPort> wanted = http::parse_host_port("x" + advertised);
  if (!wanted) return fail(wanted.error());
  return http::HostPort{source->host, wanted->port}.str();
}

class NodeRoutes {
 public:
  explicit NodeRoutes(Control& control) : control_(control) {}

  Task<http::Response> register_node(http::Request request);
  Task<http::Response> heartbeat(http::Request request);
  Task<http::Response> events(http::Request request);
  Task<http::Response> leases(http::Request request);
  Task<http::Response> evictions(http::Request request);
  Task<http::Response> verdicts(http::Request request);

 private:
  Task<http::Response> check_and_register(std::string id, api::RegisterRequest wanted,
                                          std::string address, std::string admin);
  Task<Status> check_address(std::string id, std::string epoch, std::string address);
  Task<Status> check_no_other(std::string id, std::string epoch, std::string address);

  Control& control_;
  std::set<std::string> registering_;
};

Task<http::Response> NodeRoutes::register_node(http::Request request) {
  Result<std::string> id = caller_node(request, control_);
  if (!id) co_return http::Response::error(id.error());
  auto wanted = api::decode<api::RegisterRequest>(request.body);
  if (!wanted) co_return http::Response::error(wanted.error());
  Result<std::string> address = resolve_address(wanted->advertise, request);
  if (!address) co_return http::Response::error(address.error());
  std::string admin;
  if (!wanted->admin.empty()) {
    Result<std::string> resolved = resolve_address(wanted->admin, request);
    if (!resolved) co_return http::Response::error(resolved.error());
    admin = *std::move(resolved);
  }
  if (!registering_.insert(*id).second) {
    co_return http::Response::error(
        Error(Errc::kOverloaded, "another registration of node " + *id + " is being checked"),
        kRegisterRetry);
  }
  http::Response response =
      co_await check_and_register(*id, *std::move(wanted), *std::move(address), std::move(admin));
  registering_.erase(*id);
  metrics::counter("shoal_tracker_registrations_total", "Registrations of nodes, by outcome.",
                   {{"outcome", response.ok() ? "accepted" : "refused"}})
      .add();
  co_return response;
}

Task<http::Response> NodeRoutes::check_and_register(std::string id, api::RegisterRequest wanted,
                                                    std::string address, std::string admin) {
  Status checked = co_await check_address(id, wanted.epoch, address);
  if (checked) checked = co_await check_no_other(id, wanted.epoch, address);
  if (!checked) {
    log::warn(
        "refused a registration",
        {{"node", id}, {"epoch", wanted.epoch}, {"address", address}, {"err", checked.error()}});
    co_return http::Response::error(checked.error());
  }
  control_.fleet().register_node(id, wanted, address, admin, control_.now());
  control_.node_registered(*control_.fleet().node(id));
  log::info("registered", {{"node", id},
                           {"epoch", wanted.epoch},
                           {"address", address},
                           {"version", wanted.version},
                           {"rack", wanted.topology.rack}});
  co_return http::Response::json(
      api::encode(api::RegisterResponse{.tracker_epoch = control_.epoch(),
                                        .heartbeat = control_.options().fleet.heartbeat,
                                        .address = address}));
}

Task<Status> NodeRoutes::check_address(std::string id, std::string epoch, std::string address) {
  Result<api::Identity> there = co_await control_.connect_back().identify(id, address);
  const std::string what = "connecting back to the advertised lane address " + address + ": ";
  if (!there) {
    if (there.error().code() == Errc::kCancelled) co_return fail(there.error());
    co_return fail(Errc::kInvalid, what + there.error().message());
  }
  if (there->node != id) {
    co_return fail(Errc::kInvalid, what + "node " + there->node + " answers there, not " + id);
  }
  if (there->epoch != epoch) {
    co_return fail(Errc::kInvalid, what + "node " + id + " answers there with epoch " +
                                       there->epoch + ", not " + epoch +
                                       ": another agent with this id listens on it");
  }
  co_return Status();
}

// Refuses when the agent that has this id now is another one and lives: its epoch answers at its
// address. After kill -9 and a restart nothing answers there, or the new epoch.
Task<Status> NodeRoutes::check_no_other(std::string id, std::string epoch, std::string address) {
  const Node* known = control_.fleet().node(id);
  if (!known || known->epoch == epoch || known->address == address) co_return Status();
  const std::string old_epoch = known->epoch;
  const std::string old_address = known->address;
  Result<api::Identity> there = co_await control_.connect_back().identify(id, old_address);
  if (!there || there->node != id || there->epoch != old_epoch) co_return Status();
  const Node* still = control_.fleet().node(id);
  auto heard =
      still ? std::chrono::duration_cast<std::chrono::milliseconds>(control_.now() - still->heard)
            : std::chrono::milliseconds(0);
  co_return fail(Errc::kConflict,
                 "another live agent has node id " + id + ": it answers at " + old_address +
                     " with epoch " + old_epoch + " and was last heard " +
                     std::to_string(heard.count()) +
                     " ms ago. Stop one of the two, or give this one another --node-id");
}

Task<http::Response> NodeRoutes::heartbeat(http::Request request) {
  static metrics::Counter& beats =
      metrics::counter("shoal_tracker_heartbeats_total", "Heartbeats that were answered with 200.");
  Result<std::string> id = caller_node(request, control_);
  if (!id) co_return http::Response::error(id.error());
  auto beat = api::decode<api::HeartbeatRequest>(request.body);
  if (!beat) co_return http::Response::error(beat.error());
  const Node* before = control_.fleet().node(*id);
  const bool was_live = before && before->live;
  Result<Fleet::Applied> applied = control_.fleet().heartbeat(*id, *beat, control_.now());
  if (!applied) co_return http::Response::error(applied.error());
  if (!was_live) {
    log::info("a node that was taken for dead is heard again", {{"node", *id}});
    control_.node_came(*control_.fleet().node(*id));
  }
  if (!applied->resync) control_.book().report(*id, beat->pulls, control_.now());
  control_.check(std::move(applied->suspects));
  control_.changed();
  beats.add();
  co_return http::Response::json(
      api::encode(api::HeartbeatResponse{.tracker_epoch = control_.epoch(),
                                         .heartbeat = control_.options().fleet.heartbeat,
                                         .resync = applied->resync,
                                         .lost = std::move(applied->lost)}));
}

Task<http::Response> NodeRoutes::events(http::Request request) {
  Result<std::string> id = caller_node(request, control_);
  if (!id) co_return http::Response::error(id.error());
  Result<PollQuery> poll = poll_query(request);
  if (!poll) co_return http::Response::error(poll.error());
  const std::string epoch(request.query_value("epoch"));
  if (auto node = control_.fleet().registered(*id, epoch); !node) {
    co_return http::Response::error(node.error());
  }
  Control::News news =
      co_await control_.wait_for_news(*id, poll->since, Deadline::after(poll->wait));
  if (auto node = control_.fleet().registered(*id, epoch); !node) {
    co_return http::Response::error(node.error());
  }
  api::EventsResponse response;
  response.tracker_epoch = control_.epoch();
  response.version = news.version;
  if (news.orders) response.orders = control_.book().orders(*id, control_.now());
  if (news.neighbours) response.neighbours = control_.fleet().neighbours(*id);
  if (news.trust) response.trust = control_.trust_of(*id);
  co_return http::Response::json(api::encode(response));
}

Task<http::Response> NodeRoutes::leases(http::Request request) {
  Result<std::string> id = caller_node(request, control_);
  if (!id) co_return http::Response::error(id.error());
  auto asked = api::decode<api::LeaseRequest>(request.body);
  if (!asked) co_return http::Response::error(asked.error());
  auto response = control_.fleet().leases(*id, *asked, control_.now());
  if (response) {
    for (const api::LeaseAnswer& answer : response->answers) {
      metrics::counter("shoal_tracker_lease_answers_total", "Answers to asks for leases.",
                       {{"reason", std::string(api::lease_reason_name(answer.reason))}})
          .add();
    }
  }
  co_return answer_of(response);
}

Task<http::Response> NodeRoutes::evictions(http::Request request) {
  Result<std::string> id = caller_node(request, control_);
  if (!id) co_return http::Response::error(id.error());
  auto asked = api::decode<api::EvictionRequest>(request.body);
  if (!asked) co_return http::Response::error(asked.error());
  co_return answer_of(control_.fleet().evictions(*id, *asked, control_.now()));
}

Task<http::Response> NodeRoutes::verdicts(http::Request request) {
  Result<std::string> id = caller_node(request, control_);
  if (!id) co_return http::Response::error(id.error());
  auto said = api::decode<api::Verdict>(request.body);
  if (!said) co_return http::Response::error(said.error());
  if (content::Hash32 root{}; !from_hex(said->pieces_root, root)) {
    co_return http::Response::error(Error(Errc::kInvalid, "pieces_root must be 64 hex digits"));
  }
  if (auto node = control_.fleet().registered(*id, said->epoch); !node) {
    co_return http::Response::error(node.error());
  }
  Result<bool> withdrawn = co_await control_.verdict(*id, *std::move(said));
  if (!withdrawn) co_return http::Response::error(withdrawn.error());
  co_return http::Response::json(api::encode(api::VerdictResponse{control_.epoch(), *withdrawn}));
}

}  // namespace

void add_node_routes(http::Server& server, Control& control) {
  auto routes = std::make_shared<NodeRoutes>(control);  // owned by its handlers
  const std::string node = "/v1/nodes/{id}/";
  server.route("POST", node + "register", [routes](http::Request request) {
    return routes->register_node(std::move(request));
  });
  server.route("POST", node + "heartbeat",
               [routes](http::Request request) { return routes->heartbeat(std::move(request)); });
  server.route("GET", node + "events",
               [routes](http::Request request) { return routes->events(std::move(request)); });
  server.route("POST", node + "evictions",
               [routes](http::Request request) { return routes->evictions(std::move(request)); });
  server.route("POST", node + "verdicts",
               [routes](http::Request request) { return routes->verdicts(std::move(request)); });
  server.route("POST", node + "leases",
               [routes](http::Request request) { return routes->leases(std::move(request)); });
}

}  // namespace shoal::tracker
