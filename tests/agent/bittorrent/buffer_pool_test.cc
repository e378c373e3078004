#include "agent/bittorrent/buffer_pool.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <thread>
#include <vector>

namespace shoal::agent::bittorrent {
namespace {

TEST(BufferPool, GivesEachBufferOnceAndTheLowestFirst) {
  BufferPool pool(130);
  std::vector<char*> taken;
  while (char* buffer = pool.try_take()) {
    std::memset(buffer, static_cast<int>(taken.size()), BufferPool::kBufferSize);
    taken.push_back(buffer);
  }
  ASSERT_EQ(taken.size(), 130u);
  EXPECT_EQ(std::set<char*>(taken.begin(), taken.end()).size(), 130u);
  EXPECT_EQ(pool.in_use(), 130u);
  for (std::size_t i = 0; i < taken.size(); ++i) {
    EXPECT_EQ(static_cast<unsigned char>(taken[i][BufferPool::kBufferSize - 1]), i);
  }
  pool.free_disk_buffer(taken[70]);
  pool.free_disk_buffer(taken[3]);
  EXPECT_EQ(pool.try_take(), taken[3]);
  EXPECT_EQ(pool.try_take(), taken[70]);
  EXPECT_EQ(pool.try_take(), nullptr);
  for (char* buffer : taken) pool.free_disk_buffer(buffer);
  EXPECT_EQ(pool.in_use(), 0u);
}

TEST(BufferPool, TrimLeavesWhatIsInUse) {
  BufferPool pool(200);
  std::vector<char*> taken;
  for (int i = 0; i < 200; ++i) taken.push_back(pool.try_take());
  std::memset(taken[150], 7, BufferPool::kBufferSize);
  pool.trim();
  EXPECT_EQ(taken[150][9], 7);
  for (char* buffer : taken) pool.free_disk_buffer(buffer);
  pool.trim();
  for (int i = 0; i < 200; ++i) EXPECT_EQ(pool.try_take(), taken[static_cast<std::size_t>(i)]);
  EXPECT_EQ(taken[150][9], 0);  // new memory
  for (char* buffer : taken) pool.free_disk_buffer(buffer);
}

TEST(BufferPool, ThreadsWaitForABufferUntilTheyAreStopped) {
  BufferPool pool(1);
  std::stop_source stop;
  char* only = pool.take(stop.get_token());
  char* got = nullptr;
  std::thread waits([&] { got = pool.take(stop.get_token()); });
  pool.free_disk_buffer(only);
  waits.join();
  EXPECT_EQ(got, only);
  std::thread stopped([&] { EXPECT_EQ(pool.take(stop.get_token()), nullptr); });
  stop.request_stop();
  stopped.join();
  pool.free_disk_buffer(only);
}

}  // namespace
}  // namespace shoal::agent::bittorrent
