// The agent's standing with the tracker: registered, heard of every few seconds, told at once what
// is ordered and whom to ask. Hides registration and its repetition, heartbeats and what they
// carry, the long poll for events, and the tracker's restarts and absences.
// docs/formats/tracker-api.md, "Nodes".
#pragma once

#include "core/async/task.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/tracker/fleet_report.h"
#include "agent/tracker/tracker_address.h"
#include "core/api/eviction.h"
#include "core/api/lease.h"
#include "core/api/node.h"
#include "core/async/deadline.h"
#include "core/async/event.h"
#include "core/async/retry.h"
#include "core/async/task_group.h"
#include "core/base/random.h"
#include "core/base/result.h"
#include "core/base/thread_check.h"
#include "core/http/client.h"

namespace shoal::agent {

// Thread: control thread. Lifetime: borrows the listener, which outlives it; stop() must have ended
// before destruction (checked).
class TrackerLink : OneThreadOnly {
 public:
  // Called on the control thread, never from within a call of the link. May call the link.
  class Listener {
   public:
    virtual ~Listener() = default;

    // Registered, and the first full heartbeat was answered. Called again, without a tracker_down
    // in between, after a registration that was repeated in time.
    virtual void tracker_up(const std::string& tracker_epoch) = 0;
    // After tracker_up: heartbeats have failed for a whole interval. Attempts go on for ever.
    virtual void tracker_down(const Error& why) = 0;

    // All unfinished orders of this node; said again in full after each change and each tracker_up.
    virtual void orders(const api::EventsResponse::Orders& orders) = 0;
    // All neighbours, in place of those before.
    virtual void neighbours(const std::vector<api::Neighbour>& neighbours) = 0;
    // Everything about trust, in place of what was said before.
    virtual void trust(const api::EventTrust&) {}
    // Of held_leases(): another node holds these pieces by now; stop reading them.
    virtual void leases_lost(const std::vector<api::HeldLease>& lost) = 0;

    // Asked when a heartbeat is built. All leases held; only for full heartbeats.
    virtual std::vector<api::HeldLease> held_leases() = 0;
    // Pulls that changed since the last call; with `full` all that have not ended, and those that
    // ended since the last call. The link keeps each report until a heartbeat with it was answered.
    virtual std::vector<api::PullReport> pull_reports(bool full) = 0;
    virtual api::StoreUsage store_usage() = 0;
  };

  struct Options {
    TrackerAddress tracker;
    std::string node;   // our id
    std::string epoch;  // boot epoch: hex, new in each life of the process
    std::string advertise;
    std::string admin;  // may be empty
    api::Topology topology;
    api::Labels labels;
    std::string version;
    std::uint64_t store_capacity = 0;

    // The tracker needs up to 3 s to connect back.
    std::chrono::milliseconds register_timeout{10'000};
    std::chrono::milliseconds heartbeat_timeout{3'000};
    std::chrono::milliseconds poll_wait{30'000};    // of the events poll
    std::chrono::milliseconds poll_slack{10'000};   // an answer may take so much longer
    std::chrono::milliseconds beat_coalescing{50};  // heartbeats are at least so far apart
    RetryPolicy retry{.longest = std::chrono::milliseconds(2'000)};
  };

  TrackerLink(Executor executor, Options options, Listener& listener);
  ~TrackerLink();
  TrackerLink(const TrackerLink&) = delete;
  TrackerLink& operator=(const TrackerLink&) = delete;

  // Once. The first registration begins at the next turn of the event loop.
  void start();
  // Ends every loop and every leases() call. No call of the listener comes after it. Idempotent.
  Task<void> stop();

  // What heartbeats are made from: tell it every change. A change of `wanted` causes a heartbeat at
  // once.
  FleetReport& report() { return report_; }

  // A heartbeat soon: now, or beat_coalescing after the last one.
  void beat_now();

  // Asks for leases, reports their progress, gives them back. `request.epoch` is filled in; at most
  // the entries that api/limits.h allows. Errors: unavailable, at once, when not registered, and
  // when the tracker does not know this registration any more, which is then repeated; others as
  // http::Client and the tracker's own. After an error nothing is known about what the tracker did:
  // leases are said again with the next full heartbeat.
  Task<Result<api::LeaseResponse>> leases(api::LeaseRequest request, Deadline deadline);

  // Asks which copies may be given up; `request.epoch` is filled in. Errors: as leases().
  Task<Result<api::EvictionResponse>> evictions(api::EvictionRequest request, Deadline deadline);

  // Tells what came out when this node read a whole blob; `verdict.epoch` is filled in. Errors: as
  // leases().
  Task<Result<api::VerdictResponse>> verdict(api::Verdict verdict, Deadline deadline);

  // Between tracker_up and tracker_down.
  bool connected() const { return connected_; }
  // Of the tracker's present life; empty before the first registration.
  const std::string& tracker_epoch() const { return tracker_epoch_; }
  // Under which peers reach this node, as the tracker saw it; empty before the first registration.
  const std::string& lane_address() const { return lane_address_; }
  // Why heartbeats do not succeed at this moment, in the tracker's words where it said
  // something: "another live agent has this id …". Nothing while all is well and before the first
  // attempt has ended. May be set while connected() is still true.
  const std::optional<Error>& error() const { return error_; }

 private:
  // Of an answer that asks for patience.
  using RetryAfter = std::optional<std::chrono::milliseconds>;

  // The loops.
  Task<void> keep_registered();
  Task<void> poll_events();
  Task<void> watch_absence();

  Task<Status> register_node(RetryAfter* retry_after);
  Task<Status> beat(RetryAfter* retry_after);
  Task<void> wait_for_beat();
  Task<Status> poll_once();
  // A post that belongs to this registration. Response has a tracker_epoch.
  template <typename Response>
  Task<Result<Response>> call(std::string what, std::string path, std::string body,
                              Deadline deadline);

  std::string heartbeat_body(std::uint64_t* seq);
  void heartbeat_answered(const api::HeartbeatResponse& answer, bool was_full);
  void now_working();
  void failed(const Error& why, bool needs_operator);
  void registration_lost(const Error& why);
  void end_waits();

  // Constant after construction
  const Executor executor_;
  const Options options_;
  Listener& listener_;

  // Control thread only
  FleetReport report_;
  TaskGroup tasks_;
  Event stop_;
  Condition wake_;  // the state below changed
  Condition lease_calls_ended_;
  http::Client beats_;  // registration and heartbeats: never behind anything else
  http::Client lease_posts_;
  std::unique_ptr<http::Client> polls_;  // of one registration
  SeededRandom random_;

  bool registered_ = false;
  bool announced_ = false;  // registered, and a full heartbeat since then was answered
  bool connected_ = false;
  std::uint64_t registration_ = 0;  // counts them
  std::string tracker_epoch_;
  std::string lane_address_;
  std::chrono::milliseconds interval_{2'000};

  bool hurry_ = false;  // a heartbeat is asked for before it is due
  Deadline last_beat_ = Deadline::at({});
  Deadline absent_at_ = Deadline::never();  // tracker_down then, unless something works before
  std::optional<Error> error_;
  std::optional<Errc> logged_;             // the last failure that was logged, and …
  Deadline log_again_ = Deadline::at({});  // … until when it is not worth another line
  std::uint64_t version_ = 0;              // of events, seen so far
  std::size_t lease_calls_ = 0;
};

}  // namespace shoal::agent
