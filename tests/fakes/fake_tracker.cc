#include "tests/fakes/fake_tracker.h"

#include <charconv>
#include <utility>

#include "core/api/message.h"
#include "core/api/paths.h"

namespace shoal::fakes {

namespace {

std::uint64_t number(std::string_view text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

Task<Status> break_connection(http::Stream*) {
  co_return fail(Errc::kUnavailable, "the answer is lost on purpose");
}

}  // namespace

FakeTracker::FakeTracker(Executor executor, std::uint16_t port)
    : executor_(executor), progress_(executor), news_(executor), stop_(executor) {
  http::Server::Options options;
  options.endpoint.tcp = {"127.0.0.1", port};
  server_ = std::make_unique<http::Server>(executor, std::move(options));
  auto route = [this](const char* method, const char* last, Call call) {
    server_->route(method, std::string("/v1/nodes/{id}/") + last,
                   [this, call](http::Request r) { return handle(call, std::move(r)); });
  };
  route("POST", "register", Call::kRegister);
  route("POST", "heartbeat", Call::kHeartbeat);
  route("GET", "events", Call::kEvents);
  route("POST", "leases", Call::kLeases);
  for (auto [method, call] : {std::pair("PUT", Call::kPutIngest), {"GET", Call::kGetIngest}}) {
    server_->route(method, std::string(api::paths::kIngests) + "/{digest}",
                   [this, call = call](http::Request r) { return handle(call, std::move(r)); });
  }
  server_->route("GET", api::paths::kIngests, [this](http::Request) { return list_ingests(); });
}

Status FakeTracker::start() { return server_->start(); }

Task<void> FakeTracker::stop() {
  stop_.set();
  news_.notify_all();
  co_await server_->stop(Deadline::after({}));
}

http::Url FakeTracker::url() const {
  http::Url url;
  url.endpoint = server_->local();
  url.target = "/";
  return url;
}

void FakeTracker::restart() {
  epoch += "0";
  agent_epoch_.clear();
  seq_ = 0;
  reported_ = false;
  blobs.clear();
  version_ = 1;
  orders_version_ = orders_ ? 1 : 0;
  neighbours_version_ = neighbours_ ? 1 : 0;
  ++poll_;
  news_.notify_all();
}

void FakeTracker::misbehave(Call call, Fault fault, int times) {
  for (int i = 0; i < times; ++i) faults_[call].push_back(fault);
}

void FakeTracker::order(api::EventsResponse::Orders orders) {
  orders_ = std::move(orders);
  orders_version_ = ++version_;
  news_.notify_all();
}

void FakeTracker::introduce(std::vector<api::Neighbour> neighbours) {
  neighbours_ = std::move(neighbours);
  neighbours_version_ = ++version_;
  news_.notify_all();
}

void FakeTracker::set_ingest(api::IngestStatus status) {
  status.version = ++version_;
  ingests[status.manifest] = std::move(status);
  news_.notify_all();
}

Task<Status> FakeTracker::until(std::function<bool()> done, Deadline deadline) {
  while (!done()) {
    Status woken = co_await progress_.wait(deadline);
    if (!woken) co_return fail(woken.error());
  }
  co_return Status();
}

Task<http::Response> FakeTracker::handle(Call call, http::Request request) {
  ++calls[call];
  progress_.notify_all();
  std::optional<Fault> fault;
  std::deque<Fault>& queue = faults_[call];
  if (!queue.empty()) {
    fault = queue.front();
    queue.pop_front();
  }
  if (fault && fault->kind == Fault::Kind::kRefuse) {
    co_return http::Response::error(fault->error, std::chrono::milliseconds(1));
  }
  if (fault && fault->kind == Fault::Kind::kHang) {
    co_await stop_.wait(Deadline::never());
    co_return http::Response::error({Errc::kUnavailable, "stopped"});
  }
  http::Response response = co_await answer(call, &request);
  progress_.notify_all();
  if (fault && fault->kind == Fault::Kind::kAnswer) co_return http::Response::json(fault->text);
  if (fault && fault->kind == Fault::Kind::kLoseAnswer) {
    response.stream_body = break_connection;
    response.stream_length = 1;
  }
  co_return response;
}

Task<http::Response> FakeTracker::answer(Call call, const http::Request* request) {
  switch (call) {
    case Call::kRegister:
      co_return register_node(*request);
    case Call::kHeartbeat:
      co_return beat(*request);
    case Call::kEvents:
      co_return co_await poll(request);
    case Call::kLeases:
      co_return lease(*request);
    case Call::kPutIngest:
      co_return put_ingest(*request);
    case Call::kGetIngest:
      co_return co_await get_ingest(request);
  }
  co_return http::Response::empty(500);
}

Status FakeTracker::known(const std::string& agent_epoch) const {
  if (agent_epoch_.empty()) return fail(Errc::kNotFound, "not registered here");
  if (agent_epoch_ != agent_epoch) return fail(Errc::kConflict, "registered with another epoch");
  return {};
}

http::Response FakeTracker::register_node(const http::Request& request) {
  auto message = api::decode<api::RegisterRequest>(request.body);
  if (!message) return http::Response::error(message.error());
  registrations.push_back(*message);
  agent_epoch_ = message->epoch;
  reported_ = false;
  return http::Response::json(api::encode(api::RegisterResponse{
      .tracker_epoch = epoch, .heartbeat = heartbeat, .address = message->advertise}));
}

http::Response FakeTracker::beat(const http::Request& request) {
  auto message = api::decode<api::HeartbeatRequest>(request.body);
  if (!message) return http::Response::error(message.error());
  if (Status registered = known(message->epoch); !registered) {
    return http::Response::error(registered.error());
  }
  heartbeats.push_back(*message);
  api::HeartbeatResponse response{.tracker_epoch = epoch, .heartbeat = heartbeat};
  const bool in_order = message->seq == seq_ || message->seq == seq_ + 1;
  if (std::exchange(resync_, false) || (!message->full && (!reported_ || !in_order))) {
    response.resync = true;
    reported_ = false;
  } else {
    if (message->full) blobs.clear();
    for (const api::BlobReport& blob : message->blobs) blobs[blob.digest] = blob;
    for (const content::Digest& digest : message->removed) blobs.erase(digest);
    reported_ = true;
    seq_ = message->seq;
    response.lost = std::exchange(lost_, {});
  }
  return http::Response::json(api::encode(response));
}

Task<http::Response> FakeTracker::poll(const http::Request* request) {
  if (Status registered = known(std::string(request->query_value("epoch"))); !registered) {
    co_return http::Response::error(registered.error());
  }
  polls.push_back(request->query);
  progress_.notify_all();
  const std::uint64_t since = number(request->query_value("since"));
  const Deadline deadline = Deadline::after(
      std::chrono::milliseconds(static_cast<std::int64_t>(number(request->query_value("wait")))));
  const std::uint64_t mine = ++poll_;
  news_.notify_all();
  while (version_ <= since && mine == poll_ && !stop_.is_set()) {
    if (!co_await news_.wait(deadline)) break;
  }
  api::EventsResponse response{.tracker_epoch = epoch, .version = version_};
  if (orders_version_ > since) response.orders = orders_;
  if (neighbours_version_ > since) response.neighbours = neighbours_;
  co_return http::Response::json(api::encode(response));
}

http::Response FakeTracker::lease(const http::Request& request) {
  auto message = api::decode<api::LeaseRequest>(request.body);
  if (!message) return http::Response::error(message.error());
  if (Status registered = known(message->epoch); !registered) {
    return http::Response::error(registered.error());
  }
  lease_requests.push_back(*message);
  api::LeaseResponse response{.tracker_epoch = epoch};
  for (const api::LeaseAsk& ask : message->asks) {
    response.answers.push_back({.reason = api::LeaseReason::kGranted, .pieces = ask.candidates});
  }
  return http::Response::json(api::encode(response));
}

// What of the reference, the publisher and the state can be judged without a catalogue is.
http::Response FakeTracker::put_ingest(const http::Request& request) {
  auto manifest = content::Digest::parse(request.param("digest"));
  if (!manifest) return http::Response::error(manifest.error());
  auto said = api::decode<api::IngestUpdate>(request.body);
  if (!said) return http::Response::error(said.error());
  auto known = ingests.find(*manifest);
  const bool begins = said->state == api::IngestState::kRunning;
  if (!begins && known == ingests.end()) {
    return http::Response::error({Errc::kNotFound, "no such ingest"});
  }
  for (auto& [digest, other] : ingests) {
    const bool concerned = digest == *manifest || (begins && other.reference == said->reference);
    if (!concerned || other.state != api::IngestState::kRunning) continue;
    if (other.node != said->node) {
      return http::Response::error({Errc::kConflict, "node " + other.node + " is publishing it"});
    }
    if (digest == *manifest) continue;
    other.state = api::IngestState::kFailed;
    other.error = Error(Errc::kConflict, "replaced by a newer publication");
    other.version = ++version_;
  }
  if (known != ingests.end() && known->second.state == said->state) {
    return http::Response::json(api::encode(known->second));
  }
  if (!begins && known->second.state != api::IngestState::kRunning) {
    return http::Response::error({Errc::kConflict, "it has ended already"});
  }
  ingest_updates.emplace_back(*manifest, *said);
  set_ingest({.reference = said->reference,
              .manifest = *manifest,
              .node = said->node,
              .state = said->state,
              .settled_as = said->settled_as,
              .error = said->error});
  return http::Response::json(api::encode(ingests.at(*manifest)));
}

Task<http::Response> FakeTracker::get_ingest(const http::Request* request) {
  auto manifest = content::Digest::parse(request->param("digest"));
  if (!manifest) co_return http::Response::error(manifest.error());
  const std::uint64_t since = number(request->query_value("since"));
  const Deadline deadline = Deadline::after(
      std::chrono::milliseconds(static_cast<std::int64_t>(number(request->query_value("wait")))));
  while (ingests.contains(*manifest) && ingests[*manifest].version == since && !stop_.is_set()) {
    if (!co_await news_.wait(deadline)) break;
  }
  if (!ingests.contains(*manifest)) {
    co_return http::Response::error({Errc::kNotFound, "no such ingest"});
  }
  co_return http::Response::json(api::encode(ingests[*manifest]));
}

Task<http::Response> FakeTracker::list_ingests() {
  api::IngestList list;
  for (const auto& [manifest, status] : ingests) list.ingests.push_back(status);
  co_return http::Response::json(api::encode(list));
}

}  // namespace shoal::fakes
