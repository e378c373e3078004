// How fast one source is, and how many bytes it may owe us at a time.
//
// The budget follows the time that requests spend in the source's queue: short waits raise it, long
// ones lower it towards what the source delivers in the target time. So a fast source on an idle
// link is kept busy with large requests, and a slow, shared or dead one holds back little.
#pragma once

#include <cstdint>

#include "core/swarm/types.h"

namespace shoal::swarm {

// Thread: a value, one at a time.
class PeerScore {
 public:
  // `queue_target`: how long a request should take from start to end. `most`: the largest budget.
  PeerScore(Duration queue_target, std::uint64_t most);

  void started(std::uint64_t bytes, Time now);
  // Verified bytes of something started.
  void received(std::uint64_t bytes, Time now);
  // A request for `bytes` was answered in full.
  void finished(std::uint64_t bytes, Time started, Time now);
  // `bytes` that were started and not received will not come; `blame` when the source is at fault.
  void abandoned(std::uint64_t bytes, bool blame, Time now);

  bool has_room() const { return in_flight_ == 0 || in_flight_ < budget_; }
  // How large the next request should be: a quarter of the budget, so that four are in the
  // pipeline.
  std::uint64_t request_bytes() const { return budget_ / 4; }
  std::uint64_t in_flight() const { return in_flight_; }
  std::uint64_t bytes() const { return bytes_; }
  // Bytes per second while something was in flight; 0 until known.
  double rate() const { return rate_; }
  // How long until `more` bytes asked for now would be here; a guess before the rate is known.
  Duration eta(std::uint64_t more) const;

 private:
  void measure(Time now);

  double target_seconds_;
  std::uint64_t most_;
  std::uint64_t budget_;
  std::uint64_t in_flight_ = 0;
  std::uint64_t bytes_ = 0;
  double rate_ = 0;
  std::uint64_t sample_bytes_ = 0;
  Duration sample_busy_{};
  Time busy_since_ = Time::min();
};

}  // namespace shoal::swarm
