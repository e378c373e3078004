// A set of pieces of one blob: what is ready, what a peer has, what is wanted. Hides 64-bit words
// and their bit tricks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "core/base/result.h"
#include "core/content/layout.h"

namespace shoal::content {

// Thread: a value. Every PieceIndex and PieceRange passed in must lie within [0, size()) (checked);
// sets that are combined must have the same size() (checked).
class PieceSet {
 public:
  PieceSet() = default;
  // None of `size` pieces (at most kMaxPieces, checked).
  explicit PieceSet(std::uint32_t size);
  static PieceSet full(std::uint32_t size);

  // The number of pieces the blob has.
  std::uint32_t size() const { return size_; }
  // The number of pieces in the set. Constant time.
  std::uint32_t count() const { return count_; }
  bool none() const { return count_ == 0; }
  bool all() const { return count_ == size_; }

  bool test(PieceIndex piece) const;
  // True if the piece was not in the set before.
  bool set(PieceIndex piece);
  // True if the piece was in the set before.
  bool reset(PieceIndex piece);
  void set_range(PieceRange pieces);
  void reset_range(PieceRange pieces);

  // How many pieces of the range are in the set.
  std::uint32_t count(PieceRange pieces) const;
  bool contains(PieceRange pieces) const { return count(pieces) == pieces.count; }
  bool intersects(const PieceSet& other) const;

  // The first piece at or after `from` (<= size()) that is, or is not, in the set.
  std::optional<PieceIndex> first_set(PieceIndex from = PieceIndex(0)) const;
  std::optional<PieceIndex> first_missing(PieceIndex from = PieceIndex(0)) const;
  // The next stretch of adjacent pieces in (or not in) the set that starts at or after `from`
  // (<= size()); empty when there is none.
  //   for (auto run = set.next_run(PieceIndex(0)); !run.empty(); run = set.next_run(run.end()))
  PieceRange next_run(PieceIndex from) const;
  PieceRange next_gap(PieceIndex from) const;

  PieceSet& operator|=(const PieceSet& other);
  PieceSet& operator&=(const PieceSet& other);
  // Takes out what is in `other`.
  PieceSet& operator-=(const PieceSet& other);
  friend PieceSet operator|(PieceSet a, const PieceSet& b) { return std::move(a |= b); }
  friend PieceSet operator&(PieceSet a, const PieceSet& b) { return std::move(a &= b); }
  friend PieceSet operator-(PieceSet a, const PieceSet& b) { return std::move(a -= b); }
  // How many pieces are in both, without building the set.
  std::uint32_t count_common(const PieceSet& other) const;

  // Bit i % 64 of word i / 64 is piece i; bits beyond size() are 0.
  std::span<const std::uint64_t> words() const { return words_; }

  // ceil(size / 8) bytes; bit i % 8 (least significant first) of byte i / 8 is piece i; spare bits
  // are 0.
  std::vector<std::byte> to_bytes() const;
  // Errors: invalid when `size` exceeds kMaxPieces, the length differs or a spare bit is set.
  static Result<PieceSet> from_bytes(std::uint32_t size, std::span<const std::byte> bytes);

  friend bool operator==(const PieceSet&, const PieceSet&) = default;

 private:
  void check(PieceRange pieces) const;
  void recount();
  std::uint32_t find(std::uint32_t from, std::uint64_t flip) const;

  std::uint32_t size_ = 0;
  std::uint32_t count_ = 0;
  std::vector<std::uint64_t> words_;
};

}  // namespace shoal::content
