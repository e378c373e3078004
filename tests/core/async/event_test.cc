#include "core/async/event.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "core/async/run.h"
#include "core/async/task_group.h"

namespace shoal {
namespace {

using std::chrono::milliseconds;

Task<void> note_wake(Condition* condition, Deadline deadline, std::string* out, std::string name) {
  Status woken = co_await condition->wait(deadline);
  *out += name + (woken ? "" : ":" + std::string(errc_name(woken.error().code()))) + " ";
}

Task<void> yield_turn(Condition* condition) {
  co_await condition->wait(Deadline::after(milliseconds(1)));
}

TEST(Condition, WakesAllWhoWaitInTheirOrderAndNobodyLater) {
  asio::io_context io;
  Condition condition(io.get_executor());
  Condition other(io.get_executor());
  TaskGroup group(io.get_executor(), "test");
  std::string woken;
  group.spawn("a", note_wake(&condition, Deadline::never(), &woken, "a"));
  group.spawn("b", note_wake(&condition, Deadline::never(), &woken, "b"));
  run_to_end(io, yield_turn(&other));
  condition.notify_all();
  group.spawn("c", note_wake(&condition, Deadline::after(milliseconds(1)), &woken, "c"));
  run_to_end(io, group.join());
  EXPECT_EQ(woken, "a b c:timed_out ");
}

TEST(Condition, CloseEndsWaitsNowAndLater) {
  asio::io_context io;
  Condition condition(io.get_executor());
  Condition other(io.get_executor());
  TaskGroup group(io.get_executor(), "test");
  std::string woken;
  group.spawn("a", note_wake(&condition, Deadline::never(), &woken, "a"));
  run_to_end(io, yield_turn(&other));
  condition.close();
  group.spawn("b", note_wake(&condition, Deadline::never(), &woken, "b"));
  run_to_end(io, group.join());
  EXPECT_EQ(woken, "a:cancelled b:cancelled ");
}

TEST(Condition, AnExpiredDeadlineDoesNotWait) {
  asio::io_context io;
  Condition condition(io.get_executor());
  Status waited = run_to_end(io, condition.wait(Deadline::after(milliseconds(-1))));
  EXPECT_EQ(waited.error().code(), Errc::kTimedOut);
}

TEST(ConditionDeathTest, MustNotDieWhileATaskWaits) {
  EXPECT_DEATH(
      {
        asio::io_context io;
        Condition other(io.get_executor());
        TaskGroup group(io.get_executor(), "test");
        std::string woken;
        Condition condition(io.get_executor());
        group.spawn("a", note_wake(&condition, Deadline::never(), &woken, "a"));
        run_to_end(io, yield_turn(&other));
      },
      "condition dies while tasks wait");
}

TEST(Event, SetBeforeTheWaitIsNotLost) {
  asio::io_context io;
  Event event(io.get_executor());
  event.set();
  EXPECT_TRUE(run_to_end(io, event.wait(Deadline::never())));
  EXPECT_TRUE(run_to_end(io, event.wait(Deadline::after(milliseconds(-1)))));
}

TEST(Sleep, EndsAtItsTimeOrWhenStopped) {
  asio::io_context io;
  Event stop(io.get_executor());
  EXPECT_TRUE(run_to_end(io, sleep_until(Deadline::after(milliseconds(1)), &stop)));
  stop.set();
  Status stopped = run_to_end(io, sleep_until(Deadline::never(), &stop));
  EXPECT_EQ(stopped.error().code(), Errc::kCancelled);
}

TEST(Deadline, EarlierIsSmallerAndNeverIsLast) {
  const Deadline now = Deadline::after(milliseconds(0));
  const Deadline later = Deadline::after(std::chrono::hours(1));
  EXPECT_TRUE(now.expired());
  EXPECT_FALSE(later.expired());
  EXPECT_EQ(now.remaining(), Deadline::Clock::duration::zero());
  EXPECT_EQ(std::min(later, Deadline::never()), later);
  EXPECT_EQ(std::min(later, now), now);
  EXPECT_TRUE(Deadline::after(std::chrono::nanoseconds::max()).is_never());
  EXPECT_EQ(Deadline::never().remaining(), Deadline::Clock::duration::max());
}

}  // namespace
}  // namespace shoal
