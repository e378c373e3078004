// How a blob divides into leaves, pieces and runs. A pure function of the blob's size, so that all
// agents agree without exchanging it.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/base/check.h"
#include "core/base/result.h"
#include "core/base/strong_type.h"
#include "core/base/units.h"

namespace shoal::content {

using PieceIndex = Index<struct PieceTag>;
using LeafIndex = Index<struct LeafTag, std::uint64_t>;
using RunIndex = Index<struct RunTag>;

inline constexpr std::uint64_t kLeafSize = 16 * kKiB;  // BEP 52: the unit that is hashed
inline constexpr std::uint64_t kMinPieceLength = 64 * kKiB;
inline constexpr std::uint32_t kMaxPieces = 65'536;
inline constexpr std::uint64_t kRunLength = 4 * kMiB;
// Larger blobs are refused. With 65,536 pieces this is a piece length of 16 GiB.
inline constexpr std::uint64_t kMaxBlobSize = std::uint64_t{1} << 50;

// Pieces [first, first + count). Iterates over its PieceIndexes in a range-for.
struct PieceRange {
  PieceIndex first;
  std::uint32_t count = 0;

  class Iterator {
   public:
    constexpr explicit Iterator(PieceIndex piece) : piece_(piece) {}
    constexpr PieceIndex operator*() const { return piece_; }
    constexpr Iterator& operator++() {
      ++piece_;
      return *this;
    }
    friend constexpr bool operator==(Iterator it, PieceIndex end) { return it.piece_ == end; }

   private:
    PieceIndex piece_;
  };

  constexpr Iterator begin() const { return Iterator(first); }
  constexpr PieceIndex end() const { return first + count; }
  constexpr bool empty() const { return count == 0; }
  constexpr bool contains(PieceIndex piece) const { return piece >= first && piece < end(); }
  friend constexpr bool operator==(const PieceRange&, const PieceRange&) = default;
};

// The pieces in both; empty if there are none.
constexpr PieceRange overlap(PieceRange a, PieceRange b) {
  PieceIndex first = std::max(a.first, b.first);
  PieceIndex end = std::min(a.end(), b.end());
  return first < end ? PieceRange{first, end - first} : PieceRange{};
}

// Thread: a value of one number; all functions are constant time.
class BlobLayout {
 public:
  // The layout of an empty blob.
  constexpr BlobLayout() = default;

  // `size` at most kMaxBlobSize (checked: use of_size() for a number from outside).
  constexpr explicit BlobLayout(std::uint64_t size) : size_(size) {
    SHOAL_CHECK(size <= kMaxBlobSize, "blob too large");
    while (size_ > piece_length() * kMaxPieces) ++piece_shift_;
  }

  // Errors: invalid above kMaxBlobSize.
  static Result<BlobLayout> of_size(std::uint64_t size);

  constexpr std::uint64_t size() const { return size_; }
  constexpr bool empty() const { return size_ == 0; }

  // A power of two, at least kMinPieceLength; also for a blob that is shorter.
  constexpr std::uint64_t piece_length() const { return std::uint64_t{1} << piece_shift_; }
  // 0 for an empty blob, at most kMaxPieces.
  constexpr std::uint32_t piece_count() const {
    return static_cast<std::uint32_t>((size_ + piece_length() - 1) >> piece_shift_);
  }
  // piece_length(), but for the last piece what is left. `piece` < piece_count().
  constexpr std::uint64_t piece_size(PieceIndex piece) const {
    return std::min(piece_length(), size_ - offset_of(piece));
  }
  constexpr std::uint64_t offset_of(PieceIndex piece) const {
    return std::uint64_t{piece.value()} << piece_shift_;
  }
  // The piece that holds byte `offset` < size().
  constexpr PieceIndex piece_at(std::uint64_t offset) const {
    return PieceIndex(static_cast<std::uint32_t>(offset >> piece_shift_));
  }

  constexpr PieceRange all_pieces() const { return {PieceIndex(0), piece_count()}; }
  // The bytes of `pieces`, which must lie within all_pieces().
  constexpr ByteRange range_of(PieceRange pieces) const {
    if (pieces.empty()) return {};
    std::uint64_t offset = offset_of(pieces.first);
    return {offset, std::min(size_, offset_of(pieces.end())) - offset};
  }
  constexpr ByteRange range_of(PieceIndex piece) const { return range_of(PieceRange{piece, 1}); }
  // The pieces that hold at least one byte of `range`. What lies beyond the blob's end is ignored.
  constexpr PieceRange pieces_of(ByteRange range) const {
    if (range.empty() || range.offset >= size_) return {};
    std::uint64_t length = std::min(range.length, size_ - range.offset);
    PieceIndex first = piece_at(range.offset);
    return {first, piece_at(range.offset + length - 1) - first + 1};
  }

  constexpr std::uint64_t leaf_count() const { return (size_ + kLeafSize - 1) / kLeafSize; }
  // Of a full piece.
  constexpr std::uint64_t leaves_per_piece() const { return piece_length() / kLeafSize; }

  // The number of pieces in a full run, at least 1: pieces longer than kRunLength are a run each.
  constexpr std::uint32_t pieces_per_run() const {
    return static_cast<std::uint32_t>(std::max<std::uint64_t>(1, kRunLength >> piece_shift_));
  }
  constexpr RunIndex run_of(PieceIndex piece) const {
    return RunIndex(piece.value() / pieces_per_run());
  }
  constexpr std::uint32_t run_count() const {
    return (piece_count() + pieces_per_run() - 1) / pieces_per_run();
  }
  // `run` < run_count(). The last run may have fewer pieces.
  constexpr PieceRange pieces_of_run(RunIndex run) const {
    std::uint32_t first = run.value() * pieces_per_run();
    return {PieceIndex(first), std::min(pieces_per_run(), piece_count() - first)};
  }

  friend constexpr bool operator==(const BlobLayout&, const BlobLayout&) = default;

 private:
  std::uint64_t size_ = 0;
  unsigned piece_shift_ = 16;
};

static_assert(BlobLayout().piece_length() == kMinPieceLength);

}  // namespace shoal::content
