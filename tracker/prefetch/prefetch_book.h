// Prefetch orders: which nodes shall have what, how far each is, when it is over.
//
// Pure: no I/O, no clock. What must survive a restart is a StoredPrefetch, which the service writes
// to the catalogue: add() takes it, take_ended() gives it back when it is over. What nodes did is
// soft: after a restart each is given its orders again and reports on them again.
//
// Thread: one at a time (the control thread).
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/api/node.h"
#include "core/api/operate.h"
#include "core/base/result.h"
#include "core/swarm/types.h"
#include "tracker/catalogue/catalogue.h"

namespace shoal::tracker {

class PrefetchBook {
 public:
  struct Options {
    // A selected node that is absent for so long counts as failed, until it is there again.
    std::chrono::milliseconds absent_grace = std::chrono::minutes(1);
    // After a restart of the tracker nodes come back one by one: no order is over before that.
    std::chrono::milliseconds restart_grace = std::chrono::seconds(10);
    // How long an ended one can be looked at, and how long agents are told of cancelled orders and
    // removed manifests.
    std::chrono::milliseconds keep_ended = std::chrono::hours(24);
    std::chrono::milliseconds keep_told = std::chrono::hours(1);
  };
  explicit PrefetchBook(Options options) : options_(options) {}
  PrefetchBook(const PrefetchBook&) = delete;
  PrefetchBook& operator=(const PrefetchBook&) = delete;

  // What a selector is compared with.
  struct Candidate {
    std::string id;
    api::Topology topology;
    api::Labels labels;
  };
  static bool selects(const api::NodeSelector& selector, const Candidate& node);

  // A new order, for the nodes of `live` (and named ones that are not there). Returns the selected
  // nodes, ascending.
  std::vector<std::string> add(const StoredPrefetch& prefetch, std::uint64_t bytes_total,
                               const std::vector<Candidate>& live, swarm::Time now);
  // One from before a restart, at the start: running or ended. `remaining` until its time-out,
  // which may be over; none without one.
  void restore(const StoredPrefetch& prefetch, std::uint64_t bytes_total,
               std::optional<std::chrono::milliseconds> remaining, swarm::Time now);

  // A node registered (also again, also with another epoch), or is dead. A node that comes is
  // selected by running orders that its id, its labels or `all` match.
  void node_came(const Candidate& node, swarm::Time now);
  void node_left(std::string_view node, swarm::Time now);
  // What a node said of its pulls; those that are no order of this node are ignored.
  void report(std::string_view node, const std::vector<api::PullReport>& pulls, swarm::Time now);

  // Errors: not_found; conflict (it has ended).
  Status cancel(std::string_view id, swarm::Time now);
  // A manifest lost its last reference, or has one (again).
  void manifest_named(const content::Digest& manifest);
  void manifest_removed(const content::Digest& manifest, swarm::Time now);

  // What was being read is known by another manifest now: running orders for `provisional` are for
  // `settled` from now on, and what their nodes have said stays. The catalogue has changed its
  // orders by itself.
  void manifest_settled(const content::Digest& provisional, const content::Digest& settled,
                        std::uint64_t bytes_total);
  // It cannot be had: running orders for it fail, on every node that has not ended with `error`,
  // and agents are told to stop.
  void manifest_failed(const content::Digest& manifest, const Error& error, swarm::Time now);

  // Time-outs, nodes absent for too long, old entries.
  void tick(swarm::Time now);

  // Nodes whose orders() differ from what they were at the last call, each once.
  std::vector<std::string> take_changed_nodes();
  // Orders that ended since the last call; ended_unix_ms is the caller's to fill in.
  std::vector<StoredPrefetch> take_ended();

  api::EventOrders orders(std::string_view node, swarm::Time now) const;

  // Errors: not_found.
  Result<api::PrefetchStatus> status(std::string_view id, swarm::Time now) const;
  // Grows with every change of status(). 0: not known.
  std::uint64_t version(std::string_view id) const;
  std::size_t running() const;

 private:
  struct Member {
    api::NodePhase phase = api::NodePhase::kAbsent;
    swarm::Time absent_since;
    bool given_up = false;  // absent for too long: failed in our words, not its own
    api::PullReport pull;
    std::optional<swarm::Time> begun;  // it was given the order, and was there
    std::optional<swarm::Time> heard;  // its last report on this order

    bool ended() const {
      return phase == api::NodePhase::kComplete || phase == api::NodePhase::kFailed ||
             phase == api::NodePhase::kCancelled;
    }
  };
  struct Order {
    StoredPrefetch stored;
    std::uint64_t bytes_total = 0;
    swarm::Time deadline = swarm::kNever;
    swarm::Time ended = swarm::kNever;
    swarm::Time settle_from;  // not over before
    bool called_off = false;  // it ended while nodes were at it: they are told
    std::uint64_t version = 1;
    std::map<std::string, Member, std::less<>> members;

    bool running() const { return stored.state == api::PrefetchState::kRunning; }
  };

  void settle(Order& order, swarm::Time now);
  void end(Order& order, api::PrefetchState state, swarm::Time now);
  static api::NodeProgress progress(const std::string& node, const Member& member,
                                    std::uint64_t bytes_total, swarm::Time now);

  const Options options_;
  std::map<std::string, Order, std::less<>> orders_;
  std::set<std::string> changed_nodes_;
  std::vector<std::string> ended_;
  std::map<content::Digest, swarm::Time> removed_;  // when
  std::set<std::string, std::less<>> nodes_;        // that are there
};

}  // namespace shoal::tracker
