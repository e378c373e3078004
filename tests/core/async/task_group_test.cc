#include "core/async/task_group.h"

#include <gtest/gtest.h>

#include <chrono>
#include <stdexcept>

#include "core/async/run.h"

namespace shoal {
namespace {

Task<void> wait_for(Event* event, int* ended) {
  co_await event->wait(Deadline::never());
  ++*ended;
}

Task<void> throws() {
  throw std::runtime_error("boom");
  co_return;
}

Task<Status> fails() { co_return fail(Errc::kNotFound, "no such thing"); }

TEST(TaskGroup, StopCancelsAndJoins) {
  asio::io_context io;
  TaskGroup group(io.get_executor(), "test");
  Event stop(io.get_executor());
  int ended = 0;
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(group.spawn("waiter", wait_for(&stop, &ended), [&stop] { stop.set(); }));
  }
  EXPECT_EQ(group.size(), 3u);
  run_to_end(io, group.stop());
  EXPECT_EQ(ended, 3);
  EXPECT_EQ(group.size(), 0u);
}

TEST(TaskGroup, SpawnAfterCancelDropsTheTask) {
  asio::io_context io;
  TaskGroup group(io.get_executor(), "test");
  Event stop(io.get_executor());
  int ended = 0;
  group.cancel();
  EXPECT_FALSE(group.spawn("late", wait_for(&stop, &ended)));
  run_to_end(io, group.stop());
  EXPECT_EQ(ended, 0);
}

TEST(TaskGroup, LogsFailuresByNameAndGoesOn) {
  asio::io_context io;
  TaskGroup group(io.get_executor(), "test");
  testing::internal::CaptureStderr();
  group.spawn("thrower", throws());
  group.spawn("failer", fails());
  run_to_end(io, group.join());
  const std::string logged = testing::internal::GetCapturedStderr();
  EXPECT_NE(logged.find("test/thrower"), std::string::npos) << logged;
  EXPECT_NE(logged.find("boom"), std::string::npos) << logged;
  EXPECT_NE(logged.find("test/failer"), std::string::npos) << logged;
  EXPECT_NE(logged.find("no such thing"), std::string::npos) << logged;
}

TEST(TaskGroup, CancelHookRunsOnceAndNotForEndedTasks) {
  asio::io_context io;
  TaskGroup group(io.get_executor(), "test");
  Event first(io.get_executor());
  Event second(io.get_executor());
  int ended = 0;
  int cancelled_first = 0;
  int cancelled_second = 0;
  group.spawn("first", wait_for(&first, &ended), [&] { ++cancelled_first; });
  group.spawn("second", wait_for(&second, &ended), [&] {
    ++cancelled_second;
    second.set();
  });
  first.set();
  Event never(io.get_executor());
  run_to_end(io, sleep_until(Deadline::after(std::chrono::milliseconds(1)), &never));
  EXPECT_EQ(ended, 1);
  run_to_end(io, group.stop());
  run_to_end(io, group.stop());
  EXPECT_EQ(cancelled_first, 0);
  EXPECT_EQ(cancelled_second, 1);
}

TEST(TaskGroupDeathTest, MustNotDieBeforeItsTasks) {
  EXPECT_DEATH(
      {
        asio::io_context io;
        Event stop(io.get_executor());
        int ended = 0;
        TaskGroup group(io.get_executor(), "test");
        group.spawn("orphan", wait_for(&stop, &ended));
      },
      "orphan");
}

}  // namespace
}  // namespace shoal
