// A tracker for tests of what talks to one: speaks the node part and the ingests of
// docs/formats/tracker-api.md on loopback, remembers what it was told, and misbehaves on demand. It
// decides nothing: orders, neighbours and lost leases are what the test says, and of ingests it
// knows no catalogue.
#pragma once

#include "core/async/task.h"

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/api/ingest.h"
#include "core/api/lease.h"
#include "core/api/node.h"
#include "core/async/deadline.h"
#include "core/async/event.h"
#include "core/base/result.h"
#include "core/content/digest.h"
#include "core/http/message.h"
#include "core/http/server.h"
#include "core/http/url.h"

namespace shoal::fakes {

// Thread: the executor's. Lifetime: stop() has ended before destruction.
class FakeTracker {
 public:
  // The requests it can be told to misbehave at.
  enum class Call { kRegister, kHeartbeat, kEvents, kLeases, kPutIngest, kGetIngest };

  struct Fault {
    enum class Kind {
      kRefuse,      // answers with `error`, without looking at the request
      kAnswer,      // applies the request, and answers 200 with `text`
      kLoseAnswer,  // applies the request, and breaks the connection
      kHang,        // never answers
    };
    Kind kind = Kind::kHang;
    Error error = {Errc::kUnavailable, ""};
    std::string text = {};
  };

  // `port` 0: any.
  explicit FakeTracker(Executor executor, std::uint16_t port = 0);
  FakeTracker(const FakeTracker&) = delete;
  FakeTracker& operator=(const FakeTracker&) = delete;

  Status start();
  Task<void> stop();
  http::Url url() const;

  // As if its process had been started again: knows nothing, has a new epoch.
  void restart();

  // The next `times` requests of that kind get `fault`; faults queue up.
  void misbehave(Call call, Fault fault, int times = 1);
  void behave() { faults_.clear(); }

  // What the next heartbeat's answer says besides.
  void resync_once() { resync_ = true; }
  void lose_leases_once(std::vector<api::HeldLease> lost) { lost_ = std::move(lost); }
  // Part of all events from now on.
  void order(api::EventsResponse::Orders orders);
  void introduce(std::vector<api::Neighbour> neighbours);
  // As if the tracker, or another publisher, had said so; followers are told.
  void set_ingest(api::IngestStatus status);

  // Until `done` holds, looked at after each request and whatever notifies progress(). Errors:
  // timed_out.
  Task<Status> until(std::function<bool()> done, Deadline deadline);
  Condition& progress() { return progress_; }

  std::string epoch = "feed01";
  std::chrono::milliseconds heartbeat{50};

  // What arrived and was applied, in order; over all its lives.
  std::vector<api::RegisterRequest> registrations;
  std::vector<api::HeartbeatRequest> heartbeats;
  std::vector<http::Query> polls;
  std::vector<api::LeaseRequest> lease_requests;
  std::vector<std::pair<content::Digest, api::IngestUpdate>> ingest_updates;
  // Arrived, applied or not.
  std::map<Call, int> calls;
  std::map<content::Digest, api::IngestStatus> ingests;
  // The blobs of the node, as heartbeats told. Of pieces it only knows how many were told.
  std::map<content::Digest, api::BlobReport> blobs;

 private:
  Task<http::Response> handle(Call call, http::Request request);
  Task<http::Response> answer(Call call, const http::Request* request);
  http::Response register_node(const http::Request& request);
  http::Response beat(const http::Request& request);
  Task<http::Response> poll(const http::Request* request);
  http::Response lease(const http::Request& request);
  http::Response put_ingest(const http::Request& request);
  Task<http::Response> get_ingest(const http::Request* request);
  Task<http::Response> list_ingests();
  Status known(const std::string& agent_epoch) const;

  const Executor executor_;
  std::unique_ptr<http::Server> server_;
  Condition progress_;
  Condition news_;
  Event stop_;
  std::map<Call, std::deque<Fault>> faults_;
  std::string agent_epoch_;
  std::uint64_t seq_ = 0;
  bool reported_ = false;
  bool resync_ = false;
  std::vector<api::HeldLease> lost_;
  std::uint64_t version_ = 1;
  std::uint64_t poll_ = 0;  // a newer poll ends the older one
  std::optional<api::EventsResponse::Orders> orders_;
  std::optional<std::vector<api::Neighbour>> neighbours_;
  std::uint64_t orders_version_ = 0;
  std::uint64_t neighbours_version_ = 0;
};

}  // namespace shoal::fakes
