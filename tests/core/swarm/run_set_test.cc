#include "core/swarm/run_set.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "core/base/random.h"
#include "core/base/units.h"

namespace shoal::swarm {
namespace {

using content::BlobLayout;
using content::PieceIndex;
using content::PieceRange;
using content::PieceSet;

std::uint64_t test_seed() {
  const char* text = std::getenv("SHOAL_TEST_SEED");
  std::uint64_t seed = text ? std::strtoull(text, nullptr, 10) : 20'250'101;
  ::testing::Test::RecordProperty("seed", std::to_string(seed));
  return seed;
}

TEST(RunSet, BehavesLikeAPieceSet) {
  std::uint64_t seed = test_seed();
  SCOPED_TRACE("SHOAL_TEST_SEED=" + std::to_string(seed));
  SeededRandom random(seed);
  for (std::uint64_t size : {64 * kKiB, 4 * kMiB, 4 * kMiB + 1, 333 * kMiB + 7, 9 * kGiB + 3}) {
    BlobLayout layout(size);
    RunSet runs(layout);
    PieceSet pieces(layout.piece_count());
    for (int i = 0; i < 400; ++i) {
      PieceIndex first(static_cast<std::uint32_t>(random.below(layout.piece_count())));
      auto most = std::min<std::uint64_t>(layout.piece_count() - first.value(),
                                          i % 3 == 0 ? 1 : layout.pieces_per_run() * 3);
      PieceRange range{first, static_cast<std::uint32_t>(1 + random.below(most))};
      std::uint32_t before = pieces.count();
      if (random.below(4) == 0) {
        pieces.reset_range(range);
        EXPECT_EQ(runs.remove(layout, range), before - pieces.count());
      } else {
        pieces.set_range(range);
        EXPECT_EQ(runs.add(layout, range), pieces.count() - before);
      }
      ASSERT_EQ(runs.count(), pieces.count());
      ASSERT_EQ(runs.complete(), pieces.all());
      ASSERT_EQ(runs.contains(layout, range), pieces.contains(range));
      auto run = static_cast<std::uint32_t>(random.below(layout.run_count()));
      PieceRange of_run = layout.pieces_of_run(content::RunIndex(run));
      ASSERT_EQ(runs.any(run), pieces.count(of_run) != 0);
      ASSERT_EQ(runs.full(run), pieces.contains(of_run));
      ASSERT_EQ(static_cast<std::uint32_t>(std::popcount(runs.mask(layout, run))),
                pieces.count(of_run));
    }
    EXPECT_EQ(runs.pieces(layout), pieces);
  }
}

TEST(RunSet, ACompleteSetCanLosePiecesAgain) {
  BlobLayout layout(10 * kMiB);
  RunSet set(layout);
  set.add_all(layout);
  EXPECT_TRUE(set.complete());
  EXPECT_EQ(set.remove(layout, {PieceIndex(70), 2}), 2u);
  EXPECT_FALSE(set.complete());
  EXPECT_FALSE(set.full(1));
  EXPECT_TRUE(set.full(0));
  EXPECT_EQ(set.add(layout, {PieceIndex(64), 64}), 2u);
  EXPECT_TRUE(set.complete());
}

TEST(RunSet, AnEmptyBlobIsCompleteFromTheStart) { EXPECT_TRUE(RunSet(BlobLayout(0)).complete()); }

}  // namespace
}  // namespace shoal::swarm
