// Bytes per second over the last few seconds, from a counter that is looked at now and then. Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>

namespace shoal::cli {

class RateMeter {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::seconds kWindow{5};

  explicit RateMeter(TimePoint start) { samples_.push_back({start, 0}); }

  // `bytes` is the counter's value at `now`. The rate over the window; 0 until time has passed.
  double update(std::uint64_t bytes, TimePoint now) {
    samples_.push_back({now, bytes});
    while (samples_.size() > 2 && now - samples_[1].time >= kWindow) samples_.pop_front();
    double seconds = std::chrono::duration<double>(now - samples_.front().time).count();
    if (seconds <= 0 || bytes < samples_.front().bytes) return 0;
    return static_cast<double>(bytes - samples_.front().bytes) / seconds;
  }

 private:
  struct Sample {
    TimePoint time;
    std::uint64_t bytes;
  };
  std::deque<Sample> samples_;
};

}  // namespace shoal::cli
