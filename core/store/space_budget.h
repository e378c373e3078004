// Counts the bytes of the store against its limits, so that concurrent creations and commits cannot
// overshoot together what each alone would respect.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>

#include "core/base/result.h"
#include "core/store/eviction.h"
#include "core/store/file_system.h"

namespace shoal::store {

// Thread safety: all functions may be called from any thread.
// Lifetime: borrows the file system.
class SpaceBudget {
 public:
  SpaceBudget(FileSystem& fs, std::string directory, const SpaceLimits& limits)
      : fs_(fs), directory_(std::move(directory)), limits_(limits) {}

  // Counts `bytes` as used, before they are written. Call written() once the file system knows of
  // them, or release() when they were not written after all.
  // Errors: no_space, saying which limit, how full it is and what can be done; nothing is counted.
  Status charge(std::uint64_t bytes);
  // `bytes` of what is counted already do not lie in the file system yet, nor are they set aside
  // there: others may not use them. Ends with written().
  void set_aside(std::uint64_t bytes);
  // The file system's free space shows `bytes` charged before.
  void written(std::uint64_t bytes);
  // Charged but never written.
  void release_unwritten(std::uint64_t bytes);
  // Were written and are now gone.
  void release(std::uint64_t bytes);
  // Counts bytes that are on the disk already, whatever the limits say.
  void count_existing(std::uint64_t bytes);

  // fs_free is what remains after bytes charged but not written yet.
  SpaceUse use() const;
  const SpaceLimits& limits() const { return limits_; }

 private:
  SpaceUse use_locked() const;

  FileSystem& fs_;
  const std::string directory_;
  const SpaceLimits limits_;

  mutable std::mutex mutex_;
  std::uint64_t used_ = 0;       // guarded by mutex_
  std::uint64_t unwritten_ = 0;  // guarded by mutex_: charged, not visible in the file system
  // Guarded by mutex_: bytes that may be charged before free space is asked for again. Bounded, so
  // that what others write meanwhile is seen soon enough; the floor is no exact line.
  std::uint64_t allowance_ = 0;
};

}  // namespace shoal::store
