// How long to leave something alone that just failed: exponential, with jitter so that many agents
// do not come back together.
#pragma once

#include "core/base/random.h"
#include "core/swarm/types.h"

namespace shoal::swarm {

// Thread: a value.
class Backoff {
 public:
  // The n-th failure in a row waits between half and all of min(first * 2^(n-1), most).
  constexpr Backoff(Duration first, Duration most) : first_(first), most_(most) {}

  // Counts a failure; until() moves on. `at_least` is the other side's Retry-After.
  void failed(Time now, SeededRandom& random, Duration at_least = Duration::zero());
  void succeeded() { failures_ = 0, until_ = Time::min(); }

  bool ready(Time now) const { return now >= until_; }
  Time until() const { return until_; }
  unsigned failures() const { return failures_; }

 private:
  Duration first_;
  Duration most_;
  unsigned failures_ = 0;
  Time until_ = Time::min();
};

}  // namespace shoal::swarm
