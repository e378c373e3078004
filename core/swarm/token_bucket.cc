#include "core/swarm/token_bucket.h"

#include <algorithm>
#include <cmath>

namespace shoal::swarm {
namespace {

constexpr double kLeastBurst = 64.0 * kKiB;

}  // namespace

TokenBucket::TokenBucket(Rate rate, std::uint64_t burst)
    : rate_(rate), burst_(std::max(static_cast<double>(burst), kLeastBurst)), common_(burst_) {}

void TokenBucket::set_rate(Rate rate, Time now) {
  refill(now);
  rate_ = rate;
}

// What arrives goes to each class's own part first; what a full part cannot take is common.
void TokenBucket::refill(Time now) {
  if (last_ == Time::min()) last_ = now;
  if (now <= last_) return;
  double tokens = static_cast<double>(rate_.bytes_per_second()) *
                  std::chrono::duration<double>(now - last_).count();
  last_ = now;
  for (std::size_t c = 0; c < kClassCount; ++c) {
    double share = tokens * kGuaranteedShare[c] / 100;
    double room = burst_ * kGuaranteedShare[c] / 100 - own_[c];
    double kept = std::clamp(share, 0.0, std::max(room, 0.0));
    own_[c] += kept;
    common_ += share - kept;
  }
  common_ = std::min(common_, burst_);
}

bool TokenBucket::take(Class cls, std::uint64_t bytes, Time now) {
  if (unlimited()) return true;
  refill(now);
  double& own = own_[static_cast<std::size_t>(cls)];
  auto need = static_cast<double>(bytes);
  if (own > 0) {
    double from_own = std::min(own, need);
    own -= from_own;
    need -= from_own;
    if (need > 0 && common_ > 0) {
      double from_common = std::min(common_, need);
      common_ -= from_common;
      need -= from_common;
    }
    own -= need;  // a debt
    return true;
  }
  if (common_ <= 0) return false;
  // The class's debt is paid from its own part; what is common may be used besides.
  common_ -= need;
  return true;
}

void TokenBucket::give_back(Class cls, std::uint64_t bytes) {
  if (unlimited()) return;
  double& own = own_[static_cast<std::size_t>(cls)];
  own = std::min(own + static_cast<double>(bytes), burst_);
}

Time TokenBucket::ready_at(Class cls, Time now) const {
  if (unlimited()) return now;
  TokenBucket later = *this;
  later.refill(now);
  double own = later.own_[static_cast<std::size_t>(cls)];
  if (own > 0 || later.common_ > 0) return now;
  auto rate = static_cast<double>(rate_.bytes_per_second());
  double share = rate * kGuaranteedShare[static_cast<std::size_t>(cls)] / 100;
  // At the earliest: common tokens come at up to the whole rate while the others' parts are full.
  double seconds = std::max(0.001, std::min((1 - own) / share, (1 - later.common_) / rate));
  return now + Duration(static_cast<Duration::rep>(std::ceil(seconds * 1e9)));
}

}  // namespace shoal::swarm
