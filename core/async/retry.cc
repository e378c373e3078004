#include "core/async/retry.h"

#include <algorithm>

#include "core/base/check.h"

namespace shoal {

bool worth_retrying(Errc code) {
  switch (code) {
    case Errc::kTimedOut:
    case Errc::kOverloaded:
    case Errc::kUnavailable:
      return true;
    case Errc::kNotFound:
    case Errc::kCorrupt:
    case Errc::kInvalid:
    case Errc::kDenied:
    case Errc::kConflict:
    case Errc::kNoSpace:
    case Errc::kCancelled:
    case Errc::kInternal:
      return false;
  }
  return false;
}

Backoff::Backoff(RetryPolicy policy, std::uint64_t seed)
    : policy_(policy), random_(seed), delay_ms_(static_cast<double>(policy.first.count())) {
  SHOAL_CHECK(
      policy.factor >= 1 && policy.jitter >= 0 && policy.jitter <= 1 && policy.attempts >= 0,
      "impossible retry policy");
}

std::optional<std::chrono::milliseconds> Backoff::next(
    std::optional<std::chrono::milliseconds> retry_after) {
  if (policy_.attempts > 0 && tries_ >= policy_.attempts) return std::nullopt;
  ++tries_;
  const double longest = static_cast<double>(policy_.longest.count());
  const double delay = std::min(delay_ms_, longest);
  delay_ms_ = std::min(delay * policy_.factor, longest);
  const double jittered = delay * (1 - policy_.jitter * random_.unit());
  std::chrono::milliseconds wait(static_cast<std::int64_t>(jittered));
  if (retry_after) wait = std::max(wait, std::min(*retry_after, kLongestRetryAfter));
  return wait;
}

void Backoff::reset() {
  tries_ = 1;
  delay_ms_ = static_cast<double>(policy_.first.count());
}

Task<Status> wait_before_retry(Backoff* backoff,
                               std::optional<std::chrono::milliseconds> retry_after,
                               Deadline deadline, Event* stop) {
  const std::optional<std::chrono::milliseconds> delay = backoff->next(retry_after);
  if (!delay) co_return fail(Errc::kTimedOut, "no attempt left");
  const Deadline again = Deadline::after(*delay);
  if (again >= deadline) co_return fail(Errc::kTimedOut, "no time left for another attempt");
  co_return co_await sleep_until(again, stop);
}

}  // namespace shoal
