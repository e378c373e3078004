#include "core/swarm/peer_score.h"

#include <algorithm>

#include "core/base/units.h"
#include "core/content/layout.h"

namespace shoal::swarm {
namespace {

constexpr std::uint64_t kFirstBudget = 4 * content::kMinPieceLength;
constexpr Duration kSample = std::chrono::milliseconds(100);

}  // namespace

PeerScore::PeerScore(Duration queue_target, std::uint64_t most)
    : target_seconds_(std::chrono::duration<double>(queue_target).count()),
      most_(std::max(most, kFirstBudget)),
      budget_(kFirstBudget) {}

void PeerScore::started(std::uint64_t bytes, Time now) {
  if (in_flight_ == 0) busy_since_ = now;
  in_flight_ += bytes;
}

void PeerScore::received(std::uint64_t bytes, Time now) {
  bytes = std::min(bytes, in_flight_);
  bytes_ += bytes;
  sample_bytes_ += bytes;
  measure(now);
  in_flight_ -= bytes;
}

void PeerScore::finished(std::uint64_t bytes, Time started, Time now) {
  double took = std::chrono::duration<double>(now - started).count();
  if (took <= target_seconds_) {
    budget_ = std::min(most_, budget_ + bytes);
  } else {
    auto sustained = static_cast<std::uint64_t>(rate_ * target_seconds_);
    budget_ = std::max({kFirstBudget, std::min(budget_, sustained), budget_ / 2});
  }
}

void PeerScore::abandoned(std::uint64_t bytes, bool blame, Time now) {
  measure(now);
  in_flight_ -= std::min(bytes, in_flight_);
  if (blame) {
    budget_ = kFirstBudget;
    rate_ /= 2;
  }
}

Duration PeerScore::eta(std::uint64_t more) const {
  double rate = rate_ > 0 ? rate_ : static_cast<double>(kFirstBudget) / target_seconds_;
  double seconds = static_cast<double>(in_flight_ + more) / rate;
  return std::chrono::nanoseconds(static_cast<std::int64_t>(std::min(seconds, 1e6) * 1e9));
}

void PeerScore::measure(Time now) {
  if (in_flight_ == 0) return;
  sample_busy_ += std::max(Duration::zero(), now - busy_since_);
  busy_since_ = now;
  if (sample_busy_ < kSample) return;
  double sample =
      static_cast<double>(sample_bytes_) / std::chrono::duration<double>(sample_busy_).count();
  rate_ = rate_ == 0 ? sample : 0.7 * rate_ + 0.3 * sample;
  sample_bytes_ = 0;
  sample_busy_ = Duration::zero();
}

}  // namespace shoal::swarm
