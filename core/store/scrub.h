// Reads stored pieces again, at a bounded rate, and finds those that rotted on the disk.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "core/base/units.h"
#include "core/content/digest.h"
#include "core/content/layout.h"
#include "core/content/piece_set.h"
#include "core/store/blob_store.h"

namespace shoal::store {

struct ScrubStep {
  struct Bad {
    content::Digest blob;
    content::PieceSet pieces;
  };
  std::uint64_t bytes_read = 0;
  // Taken back already (see Blob::scrub); to be fetched again.
  std::vector<Bad> bad;
  // This step looked at the last piece of the last blob; the next one starts from the first.
  bool pass_finished = false;
  // When the next step may do something.
  std::chrono::steady_clock::time_point next;
};

// Goes through all blobs in the order of their digests, over and over. Blobs that come, go or are
// incomplete in between are no problem: it looks at what is ready when it gets there.
//
// Thread: one at a time. Lifetime: borrows the store.
class Scrub {
 public:
  // At most `rate` on average (unlimited: as fast as it goes), one second's worth at once.
  Scrub(BlobStore& store, Rate rate) : store_(store), rate_(rate) {}

  // Reads what the rate allows since the last step, at most kMaxStep, at least one piece once that
  // is covered. Blocks on the disk.
  ScrubStep step(std::chrono::steady_clock::time_point now);

  static constexpr std::uint64_t kMaxStep = 64 * kMiB;

 private:
  bool advance_to_next_blob();

  BlobStore& store_;
  const Rate rate_;

  std::optional<std::chrono::steady_clock::time_point> last_step_;
  double credit_ = 0;  // bytes that may be read; negative after a piece longer than the credit
  std::optional<content::Digest> at_;  // the blob we are in
  std::shared_ptr<Blob> blob_;         // shared with the store; only while a step is in it
  content::PieceIndex next_piece_;
};

}  // namespace shoal::store
