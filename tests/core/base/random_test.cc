#include "core/base/random.h"

#include <gtest/gtest.h>

#include <array>
#include <set>
#include <string>

namespace shoal {
namespace {

TEST(SeededRandom, GivesThePublishedSequence) {
  // The reference values of SplitMix64 for seed 1234567.
  SeededRandom random(1234567);
  for (std::uint64_t expected : {6457827717110365317u, 3203168211198807973u, 9817491932198370423u,
                                 4593380528125082431u, 16408922859458223821u}) {
    EXPECT_EQ(random.next(), expected);
  }
}

TEST(SeededRandom, ACopyRepeatsAndAnotherSeedDiffers) {
  SeededRandom a(1);
  a.next();
  SeededRandom copy = a;
  SeededRandom other(2);
  int equal = 0;
  for (int i = 0; i < 100; ++i) {
    std::uint64_t value = a.next();
    EXPECT_EQ(value, copy.next());
    equal += value == other.next() ? 1 : 0;
  }
  EXPECT_EQ(equal, 0);
}

TEST(SeededRandom, BelowCoversItsRangeEvenly) {
  SeededRandom random(42);
  std::array<int, 7> counts{};
  for (int i = 0; i < 70'000; ++i) {
    std::uint64_t value = random.below(7);
    ASSERT_LT(value, 7u);
    ++counts[value];
  }
  for (int count : counts) EXPECT_NEAR(count, 10'000, 500);  // five standard deviations
}

TEST(SeededRandom, BelowWorksAtBothEndsOfTheRange) {
  SeededRandom random(7);
  std::uint64_t largest = 0;
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(random.below(1), 0u);
    std::uint64_t value = random.below(~std::uint64_t{0});
    EXPECT_LT(value, ~std::uint64_t{0});
    largest = std::max(largest, value);
  }
  EXPECT_GT(largest, ~std::uint64_t{0} / 2);
}

TEST(SeededRandom, UnitStaysInItsHalfOpenRange) {
  SeededRandom random(3);
  double sum = 0;
  for (int i = 0; i < 10'000; ++i) {
    double value = random.unit();
    ASSERT_GE(value, 0);
    ASSERT_LT(value, 1);
    sum += value;
  }
  EXPECT_NEAR(sum / 10'000, 0.5, 0.02);
}

TEST(RandomBytes, HaveTheAskedLengthAndDoNotRepeat) {
  EXPECT_EQ(random_hex(0), "");
  EXPECT_EQ(random_hex(1).size(), 2u);
  std::set<std::string> seen;
  std::set<std::uint64_t> numbers;
  for (int i = 0; i < 100; ++i) {
    std::string text = random_hex(16);
    EXPECT_EQ(text.size(), 32u);
    EXPECT_EQ(text.find_first_not_of("0123456789abcdef"), std::string::npos);
    EXPECT_TRUE(seen.insert(text).second);
    EXPECT_TRUE(numbers.insert(random_u64()).second);
  }
}

}  // namespace
}  // namespace shoal
