#include "core/base/strong_type.h"

#include <gtest/gtest.h>

#include <type_traits>
#include <unordered_set>

namespace shoal {
namespace {

using PieceIndex = Index<struct PieceTag>;
using LeafIndex = Index<struct LeafTag, std::uint64_t>;

// The point of the type: these must not compile.
static_assert(!std::is_convertible_v<std::uint32_t, PieceIndex>);
static_assert(!std::is_convertible_v<PieceIndex, std::uint32_t>);
static_assert(!std::is_constructible_v<PieceIndex, LeafIndex>);
static_assert(!std::is_assignable_v<PieceIndex&, LeafIndex>);

TEST(Index, MovesByCountsAndGivesTheDistance) {
  PieceIndex piece(5);
  EXPECT_EQ((piece + 3).value(), 8u);
  EXPECT_EQ((piece - 5), PieceIndex());
  EXPECT_EQ(PieceIndex(9) - piece, 4u);
  EXPECT_EQ((++piece).value(), 6u);
  EXPECT_LT(PieceIndex(1), PieceIndex(2));
}

TEST(Index, KeepsItsWidth) {
  LeafIndex leaf(std::uint64_t{1} << 40);
  EXPECT_EQ((leaf + 1).value(), (std::uint64_t{1} << 40) + 1);
}

TEST(Index, IsAHashKey) {
  std::unordered_set<PieceIndex> set{PieceIndex(1), PieceIndex(2), PieceIndex(1)};
  EXPECT_EQ(set.size(), 2u);
}

}  // namespace
}  // namespace shoal
