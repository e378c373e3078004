#include "core/content/piece_set.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/core/content/test_seed.h"

namespace shoal::content {
namespace {

using Reference = std::vector<bool>;

PieceSet from_reference(const Reference& bits) {
  PieceSet set(static_cast<std::uint32_t>(bits.size()));
  for (std::uint32_t i = 0; i < bits.size(); ++i) {
    if (bits[i]) set.set(PieceIndex(i));
  }
  return set;
}

Reference random_reference(SeededRandom& random, std::size_t size) {
  // From nearly empty to nearly full, so that both long runs and long gaps come up.
  std::uint64_t density = random.below(101);
  Reference bits(size);
  for (std::size_t i = 0; i < size; ++i) bits[i] = random.below(100) < density;
  return bits;
}

void expect_same(const PieceSet& set, const Reference& bits) {
  ASSERT_EQ(set.size(), bits.size());
  for (std::uint32_t i = 0; i < bits.size(); ++i) ASSERT_EQ(set.test(PieceIndex(i)), bits[i]) << i;
  auto count = static_cast<std::uint32_t>(std::count(bits.begin(), bits.end(), true));
  ASSERT_EQ(set.count(), count);
  ASSERT_EQ(set.none(), count == 0);
  ASSERT_EQ(set.all(), count == bits.size());
}

constexpr std::uint32_t kSizes[] = {0, 1, 7, 8, 9, 63, 64, 65, 127, 128, 129, 200, 1000};

TEST(PieceSet, CountsWhatIsAddedOnce) {
  PieceSet set(70);
  EXPECT_TRUE(set.none());
  EXPECT_TRUE(set.set(PieceIndex(69)));
  EXPECT_FALSE(set.set(PieceIndex(69)));
  EXPECT_EQ(set.count(), 1u);
  EXPECT_TRUE(set.reset(PieceIndex(69)));
  EXPECT_FALSE(set.reset(PieceIndex(69)));
  EXPECT_TRUE(set.none());
}

TEST(PieceSet, OfAnEmptyBlobIsNoneAndAll) {
  EXPECT_TRUE(PieceSet(0).none());
  EXPECT_TRUE(PieceSet(0).all());
  EXPECT_TRUE(PieceSet(0).next_run(PieceIndex(0)).empty());
  EXPECT_FALSE(PieceSet(0).first_missing());
}

TEST(PieceSet, RangesAgreeWithSingleBits) {
  SeededRandom random(test_seed());
  for (std::uint32_t size : kSizes) {
    for (int round = 0; round < 50; ++round) {
      Reference bits = random_reference(random, size);
      PieceSet set = from_reference(bits);
      std::uint32_t first = static_cast<std::uint32_t>(random.below(size + 1));
      PieceRange range{PieceIndex(first),
                       static_cast<std::uint32_t>(random.below(size - first + 1))};
      auto begin = bits.begin() + first;
      auto expected = static_cast<std::uint32_t>(std::count(begin, begin + range.count, true));
      ASSERT_EQ(set.count(range), expected);
      ASSERT_EQ(set.contains(range), expected == range.count);
      bool value = random.below(2) == 0;
      value ? set.set_range(range) : set.reset_range(range);
      std::fill(begin, begin + range.count, value);
      expect_same(set, bits);
    }
  }
}

TEST(PieceSet, FindsRunsAndGapsFromEveryStart) {
  SeededRandom random(test_seed());
  for (std::uint32_t size : kSizes) {
    Reference bits = random_reference(random, size);
    PieceSet set = from_reference(bits);
    for (std::uint32_t from = 0; from <= size; ++from) {
      for (bool value : {true, false}) {
        auto first = std::find(bits.begin() + from, bits.end(), value);
        auto last = std::find(first, bits.end(), !value);
        PieceRange expected{PieceIndex(static_cast<std::uint32_t>(first - bits.begin())),
                            static_cast<std::uint32_t>(last - first)};
        PieceRange got = value ? set.next_run(PieceIndex(from)) : set.next_gap(PieceIndex(from));
        ASSERT_EQ(got, expected) << size << " " << from << " " << value;
        auto piece = value ? set.first_set(PieceIndex(from)) : set.first_missing(PieceIndex(from));
        ASSERT_EQ(piece.has_value(), first != bits.end());
        if (piece) {
          ASSERT_EQ(*piece, expected.first);
        }
      }
    }
  }
}

TEST(PieceSet, CombinesBitByBit) {
  SeededRandom random(test_seed());
  for (std::uint32_t size : kSizes) {
    Reference a = random_reference(random, size), b = random_reference(random, size);
    Reference both(size), either(size), only(size);
    for (std::uint32_t i = 0; i < size; ++i) {
      both[i] = a[i] && b[i];
      either[i] = a[i] || b[i];
      only[i] = a[i] && !b[i];
    }
    PieceSet x = from_reference(a), y = from_reference(b);
    expect_same(x & y, both);
    expect_same(x | y, either);
    expect_same(x - y, only);
    EXPECT_EQ(x.count_common(y), (x & y).count());
    EXPECT_EQ(x.intersects(y), !(x & y).none());
    expect_same(x, a);
  }
}

TEST(PieceSet, FullHasEveryPiece) {
  for (std::uint32_t size : kSizes) expect_same(PieceSet::full(size), Reference(size, true));
  EXPECT_TRUE(PieceSet::full(kMaxPieces).all());
}

TEST(PieceSet, ReadsTheBytesItWrites) {
  SeededRandom random(test_seed());
  for (std::uint32_t size : kSizes) {
    PieceSet set = from_reference(random_reference(random, size));
    std::vector<std::byte> bytes = set.to_bytes();
    Result<PieceSet> read = PieceSet::from_bytes(size, bytes);
    ASSERT_TRUE(read);
    EXPECT_EQ(*read, set);
    for (std::size_t length = 0; length < bytes.size(); ++length) {
      EXPECT_FALSE(PieceSet::from_bytes(size, std::span(bytes).first(length)));
    }
    bytes.push_back(std::byte{0});
    EXPECT_FALSE(PieceSet::from_bytes(size, bytes));
  }
}

TEST(PieceSet, PutsPieceZeroIntoTheLowestBit) {
  PieceSet set(10);
  set.set(PieceIndex(0));
  set.set(PieceIndex(9));
  EXPECT_EQ(set.to_bytes(), (std::vector<std::byte>{std::byte{1}, std::byte{2}}));
}

TEST(PieceSet, RefusesSpareBitsAndTooManyPieces) {
  std::vector<std::byte> bytes{std::byte{0xff}, std::byte{0x04}};
  EXPECT_FALSE(PieceSet::from_bytes(10, bytes));
  bytes[1] = std::byte{0x03};
  EXPECT_TRUE(PieceSet::from_bytes(10, bytes));
  Result<PieceSet> large = PieceSet::from_bytes(kMaxPieces + 1, std::vector<std::byte>(8193));
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().code(), Errc::kInvalid);
}

}  // namespace
}  // namespace shoal::content
