#include "core/swarm/run_set.h"

#include <algorithm>

namespace shoal::swarm {
namespace {

struct RunShape {
  unsigned shift;  // of pieces per run, a power of two
  explicit RunShape(const content::BlobLayout& layout)
      : shift(static_cast<unsigned>(std::countr_zero(layout.pieces_per_run()))) {}
};

constexpr RunMask low_bits(std::uint32_t count) {
  return count >= 64 ? ~0ULL : (1ULL << count) - 1;
}

// Calls visit(run, mask, all) for each run that `pieces` touch.
template <typename Visit>
void for_each_run(const content::BlobLayout& layout, content::PieceRange pieces, Visit visit) {
  RunShape shape(layout);
  std::uint32_t total = layout.piece_count();
  std::uint32_t piece = pieces.first.value();
  std::uint32_t end = pieces.end().value();
  SHOAL_CHECK(end <= total && piece <= end, "pieces beyond the blob's end");
  while (piece < end) {
    std::uint32_t run = piece >> shape.shift;
    std::uint32_t run_first = run << shape.shift;
    std::uint32_t run_end = std::min(total, run_first + (1u << shape.shift));
    std::uint32_t stop = std::min(end, run_end);
    RunMask mask = low_bits(stop - piece) << (piece - run_first);
    visit(run, mask, low_bits(run_end - run_first));
    piece = stop;
  }
}

constexpr std::uint32_t popcount(RunMask mask) {
  return static_cast<std::uint32_t>(std::popcount(mask));
}

}  // namespace

RunSet::RunSet(const content::BlobLayout& layout)
    : words_per_map_((layout.run_count() + 63) / 64), complete_(layout.empty()) {}

void RunSet::put(std::uint32_t run, RunMask mask, RunMask all) {
  if (full(run)) return;
  std::uint64_t& any_word = words_[run / 64];
  std::uint64_t bit = 1ULL << (run % 64);
  if ((any_word & bit) == 0 && mask == all) {
    any_word |= bit;
    words_[words_per_map_ + run / 64] |= bit;
    count_ += popcount(all);
    return;
  }
  if (!partials_) partials_ = std::make_unique<Partials>();
  auto it = std::lower_bound(partials_->begin(), partials_->end(), run,
                             [](const Partial& p, std::uint32_t r) { return p.run < r; });
  if ((any_word & bit) == 0) {
    any_word |= bit;
    partials_->insert(it, {run, mask});
    count_ += popcount(mask);
    return;
  }
  count_ += popcount(mask & ~it->mask);
  it->mask |= mask;
  if (it->mask == all) {
    partials_->erase(it);
    words_[words_per_map_ + run / 64] |= bit;
  }
}

std::uint32_t RunSet::add(const content::BlobLayout& layout, content::PieceRange pieces) {
  if (complete_) return 0;
  std::uint32_t before = count_;
  if (!words_) words_ = std::make_unique<std::uint64_t[]>(std::size_t{2} * words_per_map_);
  for_each_run(layout, pieces,
               [&](std::uint32_t run, RunMask mask, RunMask all) { put(run, mask, all); });
  std::uint32_t added = count_ - before;
  if (count_ == layout.piece_count()) add_all(layout);
  return added;
}

std::uint32_t RunSet::add(const content::BlobLayout& layout, const content::PieceSet& pieces) {
  std::uint32_t added = 0;
  using content::PieceIndex;
  for (auto run = pieces.next_run(PieceIndex(0)); !run.empty(); run = pieces.next_run(run.end())) {
    added += add(layout, run);
  }
  return added;
}

void RunSet::add_all(const content::BlobLayout& layout) {
  words_.reset();
  partials_.reset();
  complete_ = true;
  count_ = layout.piece_count();
}

void RunSet::materialize(const content::BlobLayout& layout) {
  if (!complete_) return;
  words_ = std::make_unique<std::uint64_t[]>(std::size_t{2} * words_per_map_);
  std::uint32_t runs = layout.run_count();
  for (std::uint32_t run = 0; run < runs; ++run) {
    words_[run / 64] |= 1ULL << (run % 64);
    words_[words_per_map_ + run / 64] |= 1ULL << (run % 64);
  }
  complete_ = false;
}

std::uint32_t RunSet::remove(const content::BlobLayout& layout, content::PieceRange pieces) {
  if (pieces.empty() || count_ == 0) return 0;
  materialize(layout);
  std::uint32_t before = count_;
  for_each_run(layout, pieces, [&](std::uint32_t run, RunMask gone, RunMask all) {
    std::uint64_t bit = 1ULL << (run % 64);
    std::uint64_t& any_word = words_[run / 64];
    std::uint64_t& full_word = words_[words_per_map_ + run / 64];
    if ((any_word & bit) == 0) return;
    if ((full_word & bit) != 0) {
      full_word &= ~bit;
      count_ -= popcount(gone);
      RunMask left = all & ~gone;
      if (left == 0) {
        any_word &= ~bit;
        return;
      }
      if (!partials_) partials_ = std::make_unique<Partials>();
      auto it = std::lower_bound(partials_->begin(), partials_->end(), run,
                                 [](const Partial& p, std::uint32_t r) { return p.run < r; });
      partials_->insert(it, {run, left});
      return;
    }
    auto it = std::lower_bound(partials_->begin(), partials_->end(), run,
                               [](const Partial& p, std::uint32_t r) { return p.run < r; });
    count_ -= popcount(it->mask & gone);
    it->mask &= ~gone;
    if (it->mask == 0) {
      partials_->erase(it);
      any_word &= ~bit;
    }
  });
  return before - count_;
}

void RunSet::clear(const content::BlobLayout& layout) { *this = RunSet(layout); }

RunMask RunSet::partial_mask(std::uint32_t run) const {
  auto it = std::lower_bound(partials_->begin(), partials_->end(), run,
                             [](const Partial& p, std::uint32_t r) { return p.run < r; });
  return it->mask;
}

bool RunSet::contains(const content::BlobLayout& layout, content::PieceIndex piece) const {
  return contains(layout, content::PieceRange{piece, 1});
}

bool RunSet::contains(const content::BlobLayout& layout, content::PieceRange pieces) const {
  if (complete_) return true;
  bool all_there = true;
  for_each_run(layout, pieces, [&](std::uint32_t run, RunMask want, RunMask) {
    if (all_there && (mask(layout, run) & want) != want) all_there = false;
  });
  return all_there;
}

content::PieceSet RunSet::pieces(const content::BlobLayout& layout) const {
  if (complete_) return content::PieceSet::full(layout.piece_count());
  content::PieceSet out(layout.piece_count());
  if (!words_) return out;
  std::uint32_t runs = layout.run_count();
  for (std::uint32_t run = 0; run < runs; ++run) {
    if (full(run)) {
      out.set_range(layout.pieces_of_run(content::RunIndex(run)));
      continue;
    }
    RunMask left = mask(layout, run);
    std::uint32_t first = layout.pieces_of_run(content::RunIndex(run)).first.value();
    for (; left != 0; left &= left - 1) {
      out.set(content::PieceIndex(first + static_cast<std::uint32_t>(std::countr_zero(left))));
    }
  }
  return out;
}

}  // namespace shoal::swarm
