#include "core/store/scrub.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace shoal::store {

using std::chrono::steady_clock;

// The first blob after at_ that can be opened; false, and at_ none, when there is no more.
bool Scrub::advance_to_next_blob() {
  for (const BlobInfo& info : store_.list()) {
    if (at_ && info.digest <= *at_) continue;
    auto blob = store_.find_quietly(info.digest);
    if (!blob) continue;
    at_ = info.digest;
    blob_ = *std::move(blob);
    next_piece_ = content::PieceIndex(0);
    return true;
  }
  at_.reset();
  return false;
}

ScrubStep Scrub::step(steady_clock::time_point now) {
  ScrubStep step;
  step.next = now;
  if (rate_.unlimited()) {
    credit_ = kMaxStep;
  } else {
    const auto rate = static_cast<double>(rate_.bytes_per_second());
    if (last_step_) {
      credit_ += rate * std::chrono::duration<double>(now - *last_step_).count();
    }
    credit_ = std::min({credit_, rate, static_cast<double>(kMaxStep)});
  }
  last_step_ = now;

  if (at_ && !blob_) {
    auto blob = store_.find_quietly(*at_);
    if (blob) blob_ = *std::move(blob);
  }
  while (credit_ > 0) {
    if (!blob_ || next_piece_.value() >= blob_->layout().piece_count()) {
      blob_.reset();
      if (!advance_to_next_blob()) {
        step.pass_finished = true;
        break;
      }
      continue;
    }
    const content::PieceRange piece{next_piece_, 1};
    ++next_piece_;
    if (!blob_->has(piece)) continue;
    const std::uint64_t bytes = blob_->layout().range_of(piece).length;
    step.bytes_read += bytes;
    credit_ -= static_cast<double>(bytes);
    auto bad = blob_->scrub(piece);
    if (bad && !bad->none()) step.bad.push_back({*at_, *std::move(bad)});
  }
  blob_.reset();  // a blob that waits for its next step may be evicted
  if (!rate_.unlimited() && credit_ <= 0) {
    const double seconds = (1 - credit_) / static_cast<double>(rate_.bytes_per_second());
    step.next = now + std::chrono::nanoseconds(std::llround(std::ceil(seconds * 1e9)));
  }
  return step;
}

}  // namespace shoal::store
