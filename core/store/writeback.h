// Paces the writing out of dirty pages: started in large portions while more arrive, and waited for
// once too many are on their way. Without it the kernel lets gigabytes gather and then stalls every
// writer of the machine at once.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "core/base/unique_fd.h"
#include "core/base/units.h"
#include "core/store/file_system.h"

namespace shoal::store {

// Thread safety: all functions may be called from any thread.
// Lifetime: borrows the file system.
class Writeback {
 public:
  Writeback(FileSystem& fs, std::uint64_t max_dirty) : fs_(fs), max_dirty_(max_dirty) {}

  // `range` of the file was just written. Waits for the oldest ranges while more than max_dirty
  // bytes are dirty. Errors of the disk are left to the next sync of that file, which sees them
  // too.
  void add(const std::shared_ptr<UniqueFd>& file, ByteRange range);

  // Nobody writes to the file any more: its pages are left to the kernel, and it is not kept open.
  // Of an unlinked file that would keep the very space that it was unlinked for.
  void forget(const std::shared_ptr<UniqueFd>& file);

 private:
  struct Portion {
    std::shared_ptr<UniqueFd> file;  // kept open until its pages are out, or forget()
    ByteRange range;
  };

  FileSystem& fs_;
  const std::uint64_t max_dirty_;

  std::mutex mutex_;
  std::vector<Portion> gathering_;     // guarded by mutex_: not started
  std::uint64_t gathering_bytes_ = 0;  // guarded by mutex_
  std::deque<Portion> started_;        // guarded by mutex_: oldest first
  std::uint64_t started_bytes_ = 0;    // guarded by mutex_
};

}  // namespace shoal::store
