#include "core/base/unique_fd.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <utility>

namespace shoal {
namespace {

int open_null() { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); }
bool is_open(int fd) { return ::fcntl(fd, F_GETFD) != -1; }

TEST(UniqueFd, ClosesWhenItDies) {
  int raw = -1;
  {
    UniqueFd fd(open_null());
    ASSERT_TRUE(fd);
    raw = fd.get();
    EXPECT_TRUE(is_open(raw));
  }
  EXPECT_FALSE(is_open(raw));
}

TEST(UniqueFd, MovingHandsOverAndClosesWhatWasHeld) {
  UniqueFd a(open_null());
  UniqueFd b(open_null());
  int first = a.get();
  int second = b.get();
  b = std::move(a);
  EXPECT_FALSE(is_open(second));
  EXPECT_EQ(b.get(), first);
  EXPECT_FALSE(a);  // NOLINT(bugprone-use-after-move): empty after a move is part of the contract
  UniqueFd c(std::move(b));
  EXPECT_EQ(c.get(), first);
  EXPECT_TRUE(is_open(first));
}

TEST(UniqueFd, MovingOntoItselfKeepsTheDescriptor) {
  UniqueFd fd(open_null());
  UniqueFd& same = fd;
  fd = std::move(same);
  EXPECT_TRUE(is_open(fd.get()));
}

TEST(UniqueFd, ReleaseGivesUpAndResetReplaces) {
  UniqueFd fd(open_null());
  int raw = fd.release();
  EXPECT_FALSE(fd);
  EXPECT_TRUE(is_open(raw));
  fd.reset(raw);
  int next = open_null();
  fd.reset(next);
  EXPECT_FALSE(is_open(raw));
  EXPECT_EQ(fd.get(), next);
  fd.reset();
  EXPECT_FALSE(is_open(next));
}

}  // namespace
}  // namespace shoal
