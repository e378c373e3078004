// Which blobs to give up when space runs short. Pure: no I/O, no clock.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/content/digest.h"

namespace shoal::store {

struct SpaceLimits {
  std::uint64_t capacity = 0;    // of the store's own bytes; 0: only the file system limits it
  double high_watermark = 0.95;  // of capacity: above it, blobs are given up …
  double low_watermark = 0.90;   // … until this is reached
  // The part of the file system that is left to others. The kubelet evicts pods at 0.10.
  double free_space_floor = 0.15;
};

struct SpaceUse {
  std::uint64_t used = 0;      // the store's own bytes, reservations included
  std::uint64_t fs_total = 0;  // the file system, with everybody's bytes
  std::uint64_t fs_free = 0;
};

struct EvictionCandidate {
  content::Digest digest;
  std::uint64_t bytes = 0;        // what unlinking it gives back
  std::int64_t last_used_ns = 0;  // since the Unix epoch
  // Pinned, opened by a reader, being fetched, or the last copies of something that cannot be
  // fetched again: never given up.
  bool kept = false;
};

// How many bytes must go before `incoming` more may come in: 0 while, with them, the store stays
// under its high watermark and the file system above its floor; else as many as reach the low
// watermark and the floor (with the same margin as between the watermarks).
std::uint64_t bytes_to_free(const SpaceLimits& limits, const SpaceUse& use, std::uint64_t incoming);

// Small ones last, the least recently used candidates that give back at least `bytes`, in the order
// of their eviction; all that may go when they are not enough. Ties go by digest.
std::vector<content::Digest> choose_evictions(std::span<const EvictionCandidate> candidates,
                                              std::uint64_t bytes);

}  // namespace shoal::store
