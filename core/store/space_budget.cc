#include "core/store/space_budget.h"

#include <algorithm>

#include "core/base/check.h"
#include "core/base/units.h"

namespace shoal::store {
namespace {

constexpr std::uint64_t kMaxAllowance = 64 * kMiB;

std::string percent(double share) {
  return std::to_string(static_cast<int>(share * 100 + 0.5)) + " %";
}

}  // namespace

Status SpaceBudget::charge(std::uint64_t bytes) {
  std::lock_guard lock(mutex_);
  if (limits_.capacity != 0 && (bytes > limits_.capacity || used_ > limits_.capacity - bytes)) {
    return fail(Errc::kNoSpace,
                "store full: " + format_bytes(used_) + " of " + format_bytes(limits_.capacity) +
                    " used, " + format_bytes(bytes) +
                    " more needed; unpin or remove blobs, or raise the store's capacity");
  }
  if (bytes > allowance_) {
    const SpaceUse use = use_locked();
    const auto floor =
        static_cast<std::uint64_t>(static_cast<double>(use.fs_total) * limits_.free_space_floor);
    if (use.fs_free < floor || use.fs_free - floor < bytes) {
      return fail(Errc::kNoSpace,
                  "disk full: " + format_bytes(use.fs_free) + " of " + format_bytes(use.fs_total) +
                      " free at " + directory_ + ", " + format_bytes(bytes) + " more needed and " +
                      percent(limits_.free_space_floor) +
                      " are left free for others; free space on this file system, or unpin or "
                      "remove blobs");
    }
    allowance_ = std::min(use.fs_free - floor, bytes + kMaxAllowance);
  }
  allowance_ -= bytes;
  used_ += bytes;
  unwritten_ += bytes;
  return {};
}

void SpaceBudget::set_aside(std::uint64_t bytes) {
  std::lock_guard lock(mutex_);
  unwritten_ += bytes;
  allowance_ = 0;
}

void SpaceBudget::written(std::uint64_t bytes) {
  std::lock_guard lock(mutex_);
  SHOAL_CHECK(bytes <= unwritten_, "written more than was charged");
  unwritten_ -= bytes;
}

void SpaceBudget::release_unwritten(std::uint64_t bytes) {
  std::lock_guard lock(mutex_);
  SHOAL_CHECK(bytes <= unwritten_ && bytes <= used_, "released more than was charged");
  unwritten_ -= bytes;
  used_ -= bytes;
  allowance_ = 0;  // most likely the disk is full: ask before the next charge
}

void SpaceBudget::release(std::uint64_t bytes) {
  std::lock_guard lock(mutex_);
  SHOAL_CHECK(bytes <= used_, "released more than was used");
  used_ -= bytes;
}

void SpaceBudget::count_existing(std::uint64_t bytes) {
  std::lock_guard lock(mutex_);
  used_ += bytes;
}

SpaceUse SpaceBudget::use() const {
  std::lock_guard lock(mutex_);
  return use_locked();
}

SpaceUse SpaceBudget::use_locked() const {
  SpaceUse use{.used = used_};
  // A file system that cannot say how full it is does not limit the store; its capacity still does.
  auto space = fs_.space(directory_);
  use.fs_total = space ? space->total : 0;
  use.fs_free = space ? space->free : UINT64_MAX;
  use.fs_free -= std::min(use.fs_free, unwritten_);
  return use;
}

}  // namespace shoal::store
