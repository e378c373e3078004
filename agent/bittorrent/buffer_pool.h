// The memory that blocks are read into on their way to a peer: a fixed number of buffers of one
// block each. libtorrent hands them back when they are sent, so what they bound is everything that
// waits in peers' send buffers together.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <libtorrent/disk_buffer_holder.hpp>
#include <mutex>
#include <stop_token>
#include <vector>

#include "core/content/layout.h"

namespace shoal::agent::bittorrent {

// Thread safe. Lifetime: outlives every buffer, that is the libtorrent session; all buffers must be
// back when it is destroyed (checked).
class BufferPool final : public lt::buffer_allocator_interface {
 public:
  static constexpr std::size_t kBufferSize = content::kLeafSize;

  // Sets aside addresses for `count` buffers; memory is taken as they are used.
  explicit BufferPool(std::size_t count);
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // A buffer of kBufferSize bytes, or null when all are in use.
  char* try_take();
  // The same, but waits until there is one. Null once `stop` is requested.
  char* take(std::stop_token stop);
  // Gives one back.
  void free_disk_buffer(char* buffer) override;

  // Gives the system back the memory of a burst, if no buffer is in use.
  void trim();

  std::size_t in_use() const;

 private:
  static constexpr std::size_t kKept = 64;  // buffers whose memory trim() leaves

  char* take_locked();

  // Constant after construction
  const std::size_t count_;
  char* memory_ = nullptr;

  mutable std::mutex mutex_;
  std::condition_variable_any freed_;
  std::vector<std::uint64_t> free_;  // guarded by mutex_; a bit for each buffer, set: free
  std::size_t in_use_ = 0;           // guarded by mutex_
  std::size_t touched_ = 0;          // guarded by mutex_; buffers from here on have no memory yet
};

}  // namespace shoal::agent::bittorrent
