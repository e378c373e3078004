#include "agent/lane/page_cache.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "core/base/unique_fd.h"

namespace shoal::agent {
namespace {

// A file of `size` bytes whose name is gone already, on a file system with a disk below it.
UniqueFd temp_file(std::size_t size) {
  std::string name = "/var/tmp/shoal-page-cache-XXXXXX";
  UniqueFd fd(::mkstemp(name.data()));
  EXPECT_TRUE(fd);
  ::unlink(name.c_str());
  std::vector<char> bytes(size, 'x');
  EXPECT_EQ(::write(fd.get(), bytes.data(), size), static_cast<ssize_t>(size));
  return fd;
}

TEST(PageCache, WhatWasJustWrittenIsResident) {
  UniqueFd fd = temp_file(3 * kMiB + 5);
  EXPECT_TRUE(resident(fd.get(), {0, 3 * kMiB + 5}));
  EXPECT_TRUE(resident(fd.get(), {3 * kMiB + 4, 1}));
}

TEST(PageCache, ReadAheadMakesAColdRangeResident) {
  UniqueFd fd = temp_file(4 * kMiB);
  ASSERT_EQ(::fsync(fd.get()), 0);
  // Advice, which a file system in memory does not follow: what is resident then stays so.
  (void)::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED);
  read_ahead(fd.get(), {kMiB, 2 * kMiB});
  EXPECT_TRUE(resident(fd.get(), {kMiB, 2 * kMiB}));
}

TEST(PageCache, WhereTheFileSystemDoesNotTellEverythingPassesForResident) {
  UniqueFd fd(::memfd_create("page-cache-test", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(fd.get(), 4 * kMiB), 0);
  EXPECT_TRUE(resident(fd.get(), {0, 4 * kMiB}));
}

TEST(PageCache, ARangeBeyondTheFileDoesNoHarm) {
  UniqueFd fd = temp_file(1000);
  read_ahead(fd.get(), {0, kMiB});
  EXPECT_TRUE(resident(fd.get(), {500, 10}));
}

}  // namespace
}  // namespace shoal::agent
