// An absolute point of the monotonic clock by which something must be done. Passed down unchanged,
// so that a chain of calls shares one budget.
#pragma once

#include <chrono>
#include <compare>

namespace shoal {

class Deadline {
 public:
  using Clock = std::chrono::steady_clock;

  static constexpr Deadline never() { return Deadline(Clock::time_point::max()); }
  static constexpr Deadline at(Clock::time_point time) { return Deadline(time); }
  // `duration` from now; negative durations are already over, huge ones are never().
  static Deadline after(std::chrono::nanoseconds duration) {
    const Clock::time_point now = Clock::now();
    if (duration > Clock::time_point::max() - now) return never();
    return Deadline(now + duration);
  }

  bool is_never() const { return time_ == Clock::time_point::max(); }
  bool expired() const { return !is_never() && Clock::now() >= time_; }
  // At least zero; Clock::duration::max() for never().
  Clock::duration remaining() const {
    if (is_never()) return Clock::duration::max();
    const Clock::time_point now = Clock::now();
    return now >= time_ ? Clock::duration::zero() : time_ - now;
  }
  Clock::time_point time() const { return time_; }

  // The one that comes first is the smaller one, so std::min works.
  friend constexpr auto operator<=>(const Deadline&, const Deadline&) = default;

 private:
  constexpr explicit Deadline(Clock::time_point time) : time_(time) {}

  Clock::time_point time_;
};

}  // namespace shoal
