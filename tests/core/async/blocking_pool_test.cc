#include "core/async/blocking_pool.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <future>
#include <stdexcept>
#include <string>

#include "core/async/io_thread.h"
#include "core/async/run.h"
#include "core/async/task_group.h"

namespace shoal {
namespace {

Task<Result<std::string>> thread_name(BlockingPool* pool) {
  co_return co_await pool->run([] {
    char name[16] = {};
    pthread_getname_np(pthread_self(), name, sizeof(name));
    return std::string(name);
  });
}

Task<void> hold(BlockingPool* pool, std::shared_future<void> release, Status* out) {
  auto job = [release] { release.wait(); };
  *out = co_await pool->run(job);
}

TEST(BlockingPool, RunsOnItsNamedThreadAndResumesOnTheCallers) {
  asio::io_context io;
  BlockingPool pool("disk", 1, 4);
  Result<std::string> name = run_to_end(io, thread_name(&pool));
  ASSERT_TRUE(name);
  EXPECT_EQ(*name, "disk-0");
}

TEST(BlockingPool, PassesErrorsAndExceptions) {
  asio::io_context io;
  BlockingPool pool("disk", 1, 4);
  Result<int> failed = run_to_end(
      io, pool.run([]() -> Result<int> { return fail(Errc::kNoSpace, "disk is full"); }));
  EXPECT_EQ(failed.error().code(), Errc::kNoSpace);
  Status threw = run_to_end(io, pool.run([] { throw std::runtime_error("boom"); }));
  EXPECT_EQ(threw.error().code(), Errc::kInternal);
  EXPECT_NE(threw.error().message().find("boom"), std::string::npos);
}

TEST(BlockingPool, AFullQueueIsOverloadAndStopEndsQueuedJobs) {
  asio::io_context io;
  BlockingPool pool("disk", 1, 1);
  TaskGroup group(io.get_executor(), "test");
  std::promise<void> release;
  std::shared_future<void> released = release.get_future().share();
  std::promise<void> started;
  Status running = fail(Errc::kInternal, "not run");
  Status queued;
  Status shed;

  struct Steps {
    static Task<void> first(BlockingPool* p, std::promise<void>* begun,
                            std::shared_future<void> until, Status* out) {
      auto job = [begun, until] {
        begun->set_value();
        until.wait();
      };
      *out = co_await p->run(job);
    }
  };
  group.spawn("running", Steps::first(&pool, &started, released, &running));
  io.restart();
  io.poll();
  started.get_future().wait();
  group.spawn("queued", hold(&pool, released, &queued));
  io.poll();
  shed = run_to_end(io, pool.run([] {}));
  EXPECT_EQ(shed.error().code(), Errc::kOverloaded);

  std::thread stopper([&pool] { pool.stop(); });
  while (queued) {
    io.restart();
    io.run_one();
  }
  EXPECT_EQ(queued.error().code(), Errc::kCancelled);
  release.set_value();
  stopper.join();
  run_to_end(io, group.join());
  EXPECT_TRUE(running);
  EXPECT_EQ(run_to_end(io, pool.run([] {})).error().code(), Errc::kCancelled);
}

Task<int> sum_of_squares(BlockingPool* pool, int n) {
  int sum = 0;
  for (int i = 0; i < n; ++i) {
    Result<int> square = co_await pool->run([i] { return i * i; });
    sum += square.value();
  }
  co_return sum;
}

TEST(BlockingPool, ServesSeveralIoThreadsAtOnce) {
  BlockingPool pool("work", 2, 64);
  IoThread a("io-a");
  IoThread b("io-b");
  std::future<int> from_a =
      asio::co_spawn(a.executor(), sum_of_squares(&pool, 200), asio::use_future);
  std::future<int> from_b =
      asio::co_spawn(b.executor(), sum_of_squares(&pool, 100), asio::use_future);
  EXPECT_EQ(from_a.get(), 2646700);
  EXPECT_EQ(from_b.get(), 328350);
}

}  // namespace
}  // namespace shoal
