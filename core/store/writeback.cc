#include "core/store/writeback.h"

#include <utility>

namespace shoal::store {
namespace {

constexpr std::uint64_t kPortion = 8 * kMiB;

}  // namespace

void Writeback::add(const std::shared_ptr<UniqueFd>& file, ByteRange range) {
  std::vector<Portion> start;
  std::vector<Portion> wait;
  {
    std::lock_guard lock(mutex_);
    gathering_bytes_ += range.length;
    Portion* last = gathering_.empty() ? nullptr : &gathering_.back();
    if (last != nullptr && last->file == file && last->range.end() == range.offset) {
      last->range.length += range.length;
    } else {
      gathering_.push_back({file, range});
    }
    if (gathering_bytes_ < kPortion) return;
    start = std::exchange(gathering_, {});
    started_bytes_ += std::exchange(gathering_bytes_, 0);
    started_.insert(started_.end(), start.begin(), start.end());
    while (started_bytes_ > max_dirty_ && !started_.empty()) {
      started_bytes_ -= started_.front().range.length;
      wait.push_back(std::move(started_.front()));
      started_.pop_front();
    }
  }
  // A failed write-back is reported by the next fdatasync of the file, where it is handled.
  for (const Portion& portion : start) {
    (void)fs_
        .start_writeback(portion.file->get(), portion.range.offset, portion.range.length, false)
        .has_value();
  }
  for (const Portion& portion : wait) {
    (void)fs_.start_writeback(portion.file->get(), portion.range.offset, portion.range.length, true)
        .has_value();
  }
}

void Writeback::forget(const std::shared_ptr<UniqueFd>& file) {
  std::lock_guard lock(mutex_);
  auto drop = [&](auto& portions, std::uint64_t& bytes) {
    std::erase_if(portions, [&](const Portion& portion) {
      if (portion.file != file) return false;
      bytes -= portion.range.length;
      return true;
    });
  };
  drop(gathering_, gathering_bytes_);
  drop(started_, started_bytes_);
}

}  // namespace shoal::store
