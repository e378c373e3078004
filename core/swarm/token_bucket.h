// A rate limit shared by the five classes: nobody waits while there are tokens; when there are
// none, each class that waits gets its guaranteed part of what arrives, and urgent ones go first
// with what is left.
#pragma once

#include <array>
#include <cstdint>

#include "core/base/units.h"
#include "core/swarm/types.h"

namespace shoal::swarm {

// In percent of a limited rate, by class; a class that does not use its part leaves it to the
// others, most urgent first.
inline constexpr std::array<unsigned, kClassCount> kGuaranteedShare = {30, 30, 20, 15, 5};

// Thread: a value, one at a time.
class TokenBucket {
 public:
  // A zero rate is no limit. `burst` bytes may be taken at once after a pause; at least 64 KiB.
  explicit TokenBucket(Rate rate, std::uint64_t burst = 256 * kKiB);

  bool unlimited() const { return rate_.unlimited(); }
  void set_rate(Rate rate, Time now);

  // Takes `bytes` for `cls` and returns true, or returns false when it must wait until ready_at().
  // A take may exceed what is there (the debt is paid before the next), so requests need not be cut
  // to the burst's size.
  bool take(Class cls, std::uint64_t bytes, Time now);
  // Gives back what was taken but not used.
  void give_back(Class cls, std::uint64_t bytes);
  // When a take() for `cls` may succeed, at the earliest; `now` if at once.
  Time ready_at(Class cls, Time now) const;

 private:
  void refill(Time now);

  Rate rate_;
  double burst_;
  double common_;
  std::array<double, kClassCount> own_{};
  Time last_ = Time::min();
};

}  // namespace shoal::swarm
