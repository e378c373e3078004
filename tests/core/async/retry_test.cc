#include "core/async/retry.h"

#include <gtest/gtest.h>

#include "core/async/run.h"

namespace shoal {
namespace {

using std::chrono::milliseconds;

TEST(Backoff, DoublesUpToTheLongestDelay) {
  Backoff backoff({.first = milliseconds(100), .longest = milliseconds(350), .jitter = 0}, 1);
  EXPECT_EQ(backoff.next(), milliseconds(100));
  EXPECT_EQ(backoff.next(), milliseconds(200));
  EXPECT_EQ(backoff.next(), milliseconds(350));
  EXPECT_EQ(backoff.next(), milliseconds(350));
  backoff.reset();
  EXPECT_EQ(backoff.next(), milliseconds(100));
}

TEST(Backoff, JitterStaysInItsRangeAndRepeatsWithTheSeed) {
  const RetryPolicy policy{
      .first = milliseconds(1000), .longest = milliseconds(1000), .jitter = 0.5};
  Backoff a(policy, 7);
  Backoff b(policy, 7);
  milliseconds least = milliseconds::max();
  milliseconds most{0};
  for (int i = 0; i < 200; ++i) {
    const milliseconds delay = a.next().value();
    EXPECT_EQ(delay, b.next().value());
    least = std::min(least, delay);
    most = std::max(most, delay);
  }
  EXPECT_GE(least, milliseconds(500));
  EXPECT_LT(least, milliseconds(600));
  EXPECT_LE(most, milliseconds(1000));
  EXPECT_GT(most, milliseconds(900));
}

TEST(Backoff, CountsAttempts) {
  Backoff backoff({.first = milliseconds(1), .attempts = 3}, 1);
  EXPECT_TRUE(backoff.next());
  EXPECT_TRUE(backoff.next());
  EXPECT_FALSE(backoff.next());
}

TEST(Backoff, RetryAfterIsALowerBoundWithALimit) {
  Backoff backoff({.first = milliseconds(100), .jitter = 0}, 1);
  EXPECT_EQ(backoff.next(milliseconds(5000)), milliseconds(5000));
  EXPECT_EQ(backoff.next(milliseconds(1)), milliseconds(200));
  EXPECT_EQ(backoff.next(std::chrono::hours(24)), Backoff::kLongestRetryAfter);
}

TEST(WaitBeforeRetry, GivesUpAtOnceWhenTheDeadlineComesFirst) {
  asio::io_context io;
  Event stop(io.get_executor());
  Backoff backoff({.first = milliseconds(60'000), .longest = milliseconds(60'000), .jitter = 0}, 1);
  Status waited = run_to_end(
      io, wait_before_retry(&backoff, {}, Deadline::after(std::chrono::seconds(30)), &stop));
  EXPECT_EQ(waited.error().code(), Errc::kTimedOut);
  Backoff quick({.first = milliseconds(1)}, 1);
  EXPECT_TRUE(run_to_end(io, wait_before_retry(&quick, {}, Deadline::never(), &stop)));
}

TEST(WorthRetrying, OnlyWhatMayChangeByItself) {
  int worth = 0;
  for (Errc code : kAllErrcs) worth += worth_retrying(code);
  EXPECT_EQ(worth, 3);
  EXPECT_TRUE(worth_retrying(Errc::kOverloaded));
  EXPECT_FALSE(worth_retrying(Errc::kCorrupt));
}

}  // namespace
}  // namespace shoal
