// A fleet in virtual time over the code that ships: each simulated agent decides with
// core/swarm/downloads.h, the simulated tracker with lease_table.h and peer_selection.h. Only the
// network, the origin and the disks are made up (network.h); pieces are ranges without bytes.
//
// Deterministic: one scenario with one seed gives one result. Events (messages, deaths, joins)
// happen at their times; bytes move, and agents decide, in steps of `step`.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/swarm/downloads.h"

namespace shoal::sim {

// Rates in bytes per second, times in seconds.
struct Scenario {
  std::size_t agents = 16;
  std::size_t racks = 1;
  std::uint64_t size = 0;  // of all files together
  std::size_t files = 1;
  double origin_rate = 0;
  double node_rate = 0;     // up and down, each
  double rack_rate = 0;     // 0: racks have no uplink of their own
  double goodput = 1.0;     // the part of each rate that is left for bodies
  double latency = 0.0001;  // one way, between any two
  double origin_latency = 0.001;
  double step = 0.002;
  double have_interval = 0.02;  // have updates are gathered for this long
  double heartbeat = 2.0;
  std::uint64_t seed = 1;
  double time_limit = 0;  // 0: ten times the ideal, plus a minute

  double join_over = 0;     // agents arrive evenly over this time
  bool streaming = false;   // all read the files in one order, instead of in any
  double dead_share = 0;    // of the agents; at times spread over the first half of the ideal
  double dead_at = -1;      // all of them at this time instead
  bool dead_close = false;  // their connections are closed at once, as when a process is killed
  double slow_share = 0;    // run at slow_factor of node_rate
  double slow_factor = 0.1;
  double liar_share = 0;        // send wrong bytes
  double tracker_lost_at = -1;  // this part of the ideal time; never comes back
  // Between these times the last half of the racks (agents, if there is one rack) cannot reach the
  // others, nor origin and tracker.
  double partition_from = -1;
  double partition_until = -1;
};

struct Report {
  double ideal = 0;  // of a node with the full rate
  // Time to complete ÷ the node's own ideal, by node; those that never completed are infinite, dead
  // ones are left out.
  std::vector<double> vs_ideal;
  std::vector<double> vs_ideal_healthy;  // without the slow and the lying ones too
  std::size_t unfinished = 0;
  std::string first_unfinished;  // what it waits for
  double origin_ratio = 0;       // bytes the origin sent ÷ size
  double cross_rack_ratio = 0;   // bytes that entered racks ÷ (racks × size)
  double first_percent_lag =
      0;           // streaming: the last node's first 1 % after the origin had sent it
  double end = 0;  // virtual seconds
  swarm::Downloads::Counters sum;
  std::uint64_t asks = 0;  // leases asked for
  std::uint64_t events = 0;
  std::size_t banned_liars = 0;  // bans of peers that did lie
  std::size_t banned_honest = 0;

  double slowest() const;
  double quantile(double q) const;  // of vs_ideal
};

// Where a run is, for those who wait for it.
struct Progress {
  double now = 0;              // virtual seconds
  std::uint64_t bytes = 0;     // delivered to all agents so far
  std::size_t unfinished = 0;  // agents that are here and not complete
};
// `watch` is called every hundred steps; it sees the run and does not change it.
Report simulate(const Scenario& scenario, const std::function<void(const Progress&)>& watch = {});

}  // namespace shoal::sim
