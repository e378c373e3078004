#include "core/base/check.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "core/base/thread_check.h"

namespace shoal {
namespace {

TEST(CheckDeathTest, AbortsWithTheExpressionAndTheMessage) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  int pieces = 3;
  EXPECT_DEATH(SHOAL_CHECK(pieces == 4, "piece count of " + std::string("b")),
               "check_test.cc:[0-9]+: check failed: pieces == 4: piece count of b");
}

TEST(Check, EvaluatesTheConditionOnceAndTheMessageOnlyOnFailure) {
  int conditions = 0;
  int messages = 0;
  auto message = [&] {
    ++messages;
    return std::string("unused");
  };
  SHOAL_CHECK(++conditions == 1, message());
  EXPECT_EQ(conditions, 1);
  EXPECT_EQ(messages, 0);
}

class Guarded : public OneThreadOnly {
 public:
  void touch() const { assert_owner_thread(); }
  void hand_over() const { release_owner_thread(); }
};

TEST(OneThreadOnly, LetsAnotherThreadInAfterRelease) {
  Guarded guarded;
  guarded.touch();
  guarded.touch();
  guarded.hand_over();
  std::thread([&] { guarded.touch(); }).join();
}

#ifndef NDEBUG
TEST(OneThreadOnlyDeathTest, AbortsOnAForeignThread) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Guarded guarded;
  guarded.touch();
  EXPECT_DEATH(std::thread([&] { guarded.touch(); }).join(), "foreign thread");
}
#endif

}  // namespace
}  // namespace shoal
