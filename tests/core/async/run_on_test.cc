#include "core/async/run_on.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <thread>

#include "core/async/io_thread.h"

namespace shoal {
namespace {

Task<std::thread::id> where() { co_return std::this_thread::get_id(); }

Task<std::string> throws() {
  throw std::runtime_error("over there");
  co_return "";
}

struct Seen {
  std::thread::id before, there, after;
};

Task<Seen> visit(Executor other) {
  Seen seen;
  seen.before = std::this_thread::get_id();
  seen.there = co_await run_on(other, where());
  seen.after = std::this_thread::get_id();
  co_return seen;
}

Task<std::string> caught(Executor other) {
  std::string what;
  try {
    (void)co_await run_on(other, throws());
  } catch (const std::runtime_error& error) {
    what = error.what();
  }
  co_return what;
}

TEST(RunOn, RunsThereAndComesBack) {
  IoThread here("here"), there("there");
  Seen seen = here.run(visit(there.executor()));
  EXPECT_EQ(seen.before, seen.after);
  EXPECT_NE(seen.before, seen.there);
}

TEST(RunOn, BringsExceptionsBack) {
  IoThread here("here"), there("there");
  EXPECT_EQ(here.run(caught(there.executor())), "over there");
}

// What a caller relies on when it posts to a thread and then runs something there.
TEST(RunOn, ComesAfterWhatWasPostedBefore) {
  IoThread here("here"), there("there");
  bool posted = false;
  there.post([&] { posted = true; });
  (void)here.run(run_on(there.executor(), where()));
  EXPECT_TRUE(posted);
}

}  // namespace
}  // namespace shoal
