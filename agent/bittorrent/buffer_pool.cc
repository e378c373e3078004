#include "agent/bittorrent/buffer_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>

#include "core/base/check.h"

namespace shoal::agent::bittorrent {

BufferPool::BufferPool(std::size_t count) : count_(count), free_((count + 63) / 64, 0) {
  SHOAL_CHECK(count > 0, "a pool of no buffers");
  void* memory = ::mmap(nullptr, count * kBufferSize, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  SHOAL_CHECK(memory != MAP_FAILED, "no addresses for the buffers of BitTorrent");
  memory_ = static_cast<char*>(memory);
  // A single block must not cost a huge page.
  ::madvise(memory, count * kBufferSize, MADV_NOHUGEPAGE);
  for (std::size_t i = 0; i < count; ++i) free_[i / 64] |= std::uint64_t{1} << (i % 64);
}

BufferPool::~BufferPool() {
  SHOAL_CHECK(in_use_ == 0, "a peer still has buffers");
  ::munmap(memory_, count_ * kBufferSize);
}

// The one with the lowest address, so that as little memory as possible is ever touched.
char* BufferPool::take_locked() {
  auto word =
      std::find_if(free_.begin(), free_.end(), [](std::uint64_t bits) { return bits != 0; });
  if (word == free_.end()) return nullptr;
  const int bit = std::countr_zero(*word);
  *word &= *word - 1;
  const std::size_t index =
      static_cast<std::size_t>(word - free_.begin()) * 64 + static_cast<std::size_t>(bit);
  ++in_use_;
  touched_ = std::max(touched_, index + 1);
  return memory_ + index * kBufferSize;
}

char* BufferPool::try_take() {
  std::lock_guard lock(mutex_);
  return take_locked();
}

char* BufferPool::take(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  if (!freed_.wait(lock, stop, [this] { return in_use_ < count_; })) return nullptr;
  return take_locked();
}

void BufferPool::free_disk_buffer(char* buffer) {
  const std::size_t offset = static_cast<std::size_t>(buffer - memory_);
  const std::size_t index = offset / kBufferSize;
  SHOAL_CHECK(buffer >= memory_ && index < count_ && offset % kBufferSize == 0,
              "not a buffer of this pool");
  {
    std::lock_guard lock(mutex_);
    const std::uint64_t bit = std::uint64_t{1} << (index % 64);
    SHOAL_CHECK((free_[index / 64] & bit) == 0, "a buffer was given back twice");
    free_[index / 64] |= bit;
    --in_use_;
  }
  freed_.notify_one();
}

void BufferPool::trim() {
  std::lock_guard lock(mutex_);
  if (in_use_ > 0 || touched_ <= kKept) return;
  ::madvise(memory_ + kKept * kBufferSize, (touched_ - kKept) * kBufferSize, MADV_DONTNEED);
  touched_ = kKept;
}

std::size_t BufferPool::in_use() const {
  std::lock_guard lock(mutex_);
  return in_use_;
}

}  // namespace shoal::agent::bittorrent
