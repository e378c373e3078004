// When to try again. Retries happen at one layer only: the one that knows an alternative does not
// exist. Backoff is pure (the caller brings seed and clock); wait_before_retry is its one-line use.
//
//   Backoff backoff(policy, random_u64());
//   for (;;) {
//     auto answer = co_await ask();
//     if (answer || !worth_retrying(answer.error().code())) co_return answer;
//     if (auto waited = co_await wait_before_retry(&backoff, std::nullopt, deadline, &stop_);
//     !waited)
//       co_return answer;
//   }
#pragma once

#include "core/async/task.h"

#include <chrono>
#include <optional>

#include "core/async/deadline.h"
#include "core/async/event.h"
#include "core/base/random.h"
#include "core/base/result.h"

namespace shoal {

struct RetryPolicy {
  std::chrono::milliseconds first{100};
  std::chrono::milliseconds longest{10'000};
  double factor = 2.0;  // at least 1
  double jitter = 0.5;  // each delay is drawn from [(1 - jitter) * d, d]; 0 … 1
  int attempts = 0;     // tries in all, the first included; 0: until the deadline
};

// timed_out, overloaded and unavailable: the same call may succeed later.
bool worth_retrying(Errc code);

class Backoff {
 public:
  Backoff(RetryPolicy policy, std::uint64_t seed);

  // How long to wait before the next try; nothing when the policy's attempts are used up. A
  // `retry_after` sent by the other side is a lower bound, itself bounded by kLongestRetryAfter.
  std::optional<std::chrono::milliseconds> next(
      std::optional<std::chrono::milliseconds> retry_after = {});

  // After a success: the next delay is the first one again.
  void reset();

  static constexpr std::chrono::milliseconds kLongestRetryAfter{60'000};

 private:
  RetryPolicy policy_;
  SeededRandom random_;
  int tries_ = 1;
  double delay_ms_;
};

// Sleeps for backoff->next(retry_after). Errors: timed_out, at once, when no attempt is left or the
// delay would end after `deadline`; cancelled when `stop` is set. Both pointers outlive the task.
Task<Status> wait_before_retry(Backoff* backoff,
                               std::optional<std::chrono::milliseconds> retry_after,
                               Deadline deadline, Event* stop);

}  // namespace shoal
