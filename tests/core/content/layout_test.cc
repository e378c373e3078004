#include "core/content/layout.h"

#include <gtest/gtest.h>

#include <vector>

namespace shoal::content {
namespace {

TEST(BlobLayout, OfAnEmptyBlobHasNoPieces) {
  BlobLayout layout(0);
  EXPECT_EQ(layout, BlobLayout());
  EXPECT_TRUE(layout.empty());
  EXPECT_EQ(layout.piece_count(), 0u);
  EXPECT_EQ(layout.leaf_count(), 0u);
  EXPECT_EQ(layout.run_count(), 0u);
  EXPECT_EQ(layout.piece_length(), 64 * kKiB);
  EXPECT_TRUE(layout.all_pieces().empty());
  EXPECT_TRUE(layout.pieces_of({0, 100}).empty());
  EXPECT_EQ(layout.range_of(layout.all_pieces()), (ByteRange{0, 0}));
}

TEST(BlobLayout, CountsPiecesAroundTheirEdges) {
  struct Case {
    std::uint64_t size;
    std::uint32_t pieces;
    std::uint64_t last;
    std::uint64_t leaves;
  };
  for (Case c : {Case{1, 1, 1, 1}, Case{kLeafSize - 1, 1, kLeafSize - 1, 1},
                 Case{kLeafSize, 1, kLeafSize, 1}, Case{kLeafSize + 1, 1, kLeafSize + 1, 2},
                 Case{65'535, 1, 65'535, 4}, Case{65'536, 1, 65'536, 4}, Case{65'537, 2, 1, 5},
                 Case{131'072, 2, 65'536, 8}, Case{131'073, 3, 1, 9}}) {
    BlobLayout layout(c.size);
    EXPECT_EQ(layout.piece_count(), c.pieces) << c.size;
    EXPECT_EQ(layout.piece_size(PieceIndex(c.pieces - 1)), c.last) << c.size;
    EXPECT_EQ(layout.leaf_count(), c.leaves) << c.size;
  }
}

TEST(BlobLayout, DoublesThePieceLengthExactlyAbove65536Pieces) {
  for (std::uint64_t length = kMinPieceLength; length < kMaxBlobSize / kMaxPieces; length *= 2) {
    BlobLayout below(length * kMaxPieces - 1), at(length * kMaxPieces);
    BlobLayout above(length * kMaxPieces + 1);
    EXPECT_EQ(below.piece_length(), length);
    EXPECT_EQ(below.piece_count(), kMaxPieces);
    EXPECT_EQ(below.piece_size(PieceIndex(kMaxPieces - 1)), length - 1);
    EXPECT_EQ(at.piece_length(), length);
    EXPECT_EQ(at.piece_count(), kMaxPieces);
    EXPECT_EQ(above.piece_length(), 2 * length);
    EXPECT_EQ(above.piece_count(), kMaxPieces / 2 + 1);
    EXPECT_EQ(above.piece_size(PieceIndex(kMaxPieces / 2)), 1u);
  }
  EXPECT_EQ(BlobLayout(4 * kGiB).piece_length(), 64 * kKiB);
  EXPECT_EQ(BlobLayout(4 * kGiB + 1).piece_length(), 128 * kKiB);
}

TEST(BlobLayout, EndsAtTheLargestBlob) {
  Result<BlobLayout> largest = BlobLayout::of_size(kMaxBlobSize);
  ASSERT_TRUE(largest);
  EXPECT_EQ(largest->piece_count(), kMaxPieces);
  EXPECT_EQ(largest->piece_length(), 16 * kGiB);
  for (std::uint64_t size : {kMaxBlobSize + 1, ~std::uint64_t{0}}) {
    Result<BlobLayout> refused = BlobLayout::of_size(size);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), Errc::kInvalid);
  }
}

TEST(BlobLayout, PiecesAndRangesAgreeByteForByte) {
  for (std::uint64_t size :
       {std::uint64_t{1}, 3 * kMinPieceLength - 7, 3 * kMinPieceLength, 5 * kGiB + 12'345}) {
    BlobLayout layout(size);
    std::uint64_t total = 0;
    for (PieceIndex piece : layout.all_pieces()) {
      ByteRange range = layout.range_of(piece);
      ASSERT_EQ(range.offset, total);
      ASSERT_EQ(range.length, layout.piece_size(piece));
      ASSERT_EQ(layout.pieces_of(range), (PieceRange{piece, 1}));
      ASSERT_EQ(layout.pieces_of({range.offset, 1}), (PieceRange{piece, 1}));
      ASSERT_EQ(layout.pieces_of({range.end() - 1, 1}), (PieceRange{piece, 1}));
      ASSERT_EQ(layout.piece_at(range.end() - 1), piece);
      total = range.end();
    }
    EXPECT_EQ(total, size);
    EXPECT_EQ(layout.range_of(layout.all_pieces()), (ByteRange{0, size}));
    EXPECT_EQ(layout.pieces_of({0, size}), layout.all_pieces());
  }
}

TEST(BlobLayout, IgnoresWhatLiesBeyondTheEnd) {
  BlobLayout layout(100'000);
  EXPECT_EQ(layout.pieces_of({0, ~std::uint64_t{0}}), layout.all_pieces());
  EXPECT_EQ(layout.pieces_of({99'999, ~std::uint64_t{0}}), (PieceRange{PieceIndex(1), 1}));
  EXPECT_TRUE(layout.pieces_of({100'000, 1}).empty());
  EXPECT_TRUE(layout.pieces_of({~std::uint64_t{0}, ~std::uint64_t{0}}).empty());
  EXPECT_TRUE(layout.pieces_of({5, 0}).empty());
}

TEST(BlobLayout, GroupsPiecesIntoRunsOf4MiB) {
  BlobLayout layout(9 * kMiB + 1);
  EXPECT_EQ(layout.pieces_per_run(), 64u);
  EXPECT_EQ(layout.run_count(), 3u);
  EXPECT_EQ(layout.pieces_of_run(RunIndex(1)), (PieceRange{PieceIndex(64), 64}));
  EXPECT_EQ(layout.pieces_of_run(RunIndex(2)), (PieceRange{PieceIndex(128), 17}));
  EXPECT_EQ(layout.run_of(PieceIndex(127)), RunIndex(1));
  EXPECT_EQ(layout.run_of(PieceIndex(128)), RunIndex(2));

  BlobLayout large(kTiB);  // pieces of 16 MiB: a run each
  EXPECT_EQ(large.pieces_per_run(), 1u);
  EXPECT_EQ(large.run_count(), large.piece_count());
  EXPECT_EQ(large.pieces_of_run(RunIndex(7)), (PieceRange{PieceIndex(7), 1}));
}

TEST(PieceRange, IteratesAndContains) {
  PieceRange range{PieceIndex(3), 3};
  std::vector<std::uint32_t> seen;
  for (PieceIndex piece : range) seen.push_back(piece.value());
  EXPECT_EQ(seen, (std::vector<std::uint32_t>{3, 4, 5}));
  EXPECT_FALSE(range.contains(PieceIndex(2)));
  EXPECT_TRUE(range.contains(PieceIndex(3)));
  EXPECT_TRUE(range.contains(PieceIndex(5)));
  EXPECT_FALSE(range.contains(PieceIndex(6)));
}

}  // namespace
}  // namespace shoal::content
