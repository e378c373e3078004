// A set of pieces kept by runs: what a peer, or this agent, has of one blob.
//
// An agent keeps one for each peer and blob, so size matters: two bits per run (4 MiB) instead of
// one per piece (64 KiB), and a mask of pieces only for the few runs that are partly there. A
// complete set takes no memory beyond the object.
#pragma once

#include <bit>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/content/layout.h"
#include "core/content/piece_set.h"

namespace shoal::swarm {

// Pieces of one run; bit i is piece i of the run. A run has at most 64 pieces.
using RunMask = std::uint64_t;

// The mask of all pieces of `run`.
inline RunMask full_mask(const content::BlobLayout& layout, std::uint32_t run) {
  std::uint32_t count = layout.pieces_of_run(content::RunIndex(run)).count;
  return count >= 64 ? ~0ULL : (1ULL << count) - 1;
}

// Thread: a value, movable only. Ranges and runs passed in must lie within the layout given at
// construction; the same layout must be passed to each call.
class RunSet {
 public:
  RunSet() = default;  // of no blob: nothing may be called but assignment
  explicit RunSet(const content::BlobLayout& layout);

  // Returns how many pieces were not in the set before.
  std::uint32_t add(const content::BlobLayout& layout, content::PieceRange pieces);
  std::uint32_t add(const content::BlobLayout& layout, const content::PieceSet& pieces);
  void add_all(const content::BlobLayout& layout);
  // Returns how many pieces were in the set before.
  std::uint32_t remove(const content::BlobLayout& layout, content::PieceRange pieces);
  void clear(const content::BlobLayout& layout);

  std::uint32_t count() const { return count_; }
  bool complete() const { return complete_; }

  bool any(std::uint32_t run) const { return complete_ || (words_ && bit(run, 0)); }
  bool full(std::uint32_t run) const { return complete_ || (words_ && bit(run, words_per_map_)); }
  RunMask mask(const content::BlobLayout& layout, std::uint32_t run) const {
    if (!any(run)) return 0;
    return full(run) ? full_mask(layout, run) : partial_mask(run);
  }
  bool contains(const content::BlobLayout& layout, content::PieceIndex piece) const;
  bool contains(const content::BlobLayout& layout, content::PieceRange pieces) const;

  // 64 runs at once: bit i of word w is run 64 w + i. Bits beyond the last run may be set when the
  // set is complete, and are clear otherwise.
  std::uint64_t any_word(std::uint32_t word) const {
    return complete_ ? ~0ULL : words_ ? words_[word] : 0;
  }
  std::uint64_t full_word(std::uint32_t word) const {
    return complete_ ? ~0ULL : words_ ? words_[words_per_map_ + word] : 0;
  }

  content::PieceSet pieces(const content::BlobLayout& layout) const;

 private:
  struct Partial {
    std::uint32_t run;
    RunMask mask;
  };
  using Partials = std::vector<Partial>;  // sorted by run

  bool bit(std::uint32_t run, std::uint32_t base) const {
    return (words_[base + run / 64] >> (run % 64)) & 1;
  }
  RunMask partial_mask(std::uint32_t run) const;
  void put(std::uint32_t run, RunMask mask, RunMask all);
  void materialize(const content::BlobLayout& layout);

  // The map of runs with any piece, then the map of full runs.
  std::unique_ptr<std::uint64_t[]> words_;
  std::unique_ptr<Partials> partials_;
  std::uint32_t words_per_map_ = 0;
  std::uint32_t count_ = 0;
  bool complete_ = false;
};

}  // namespace shoal::swarm
