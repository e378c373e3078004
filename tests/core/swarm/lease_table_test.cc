#include "core/swarm/lease_table.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "core/base/random.h"
#include "core/base/units.h"

namespace shoal::swarm {
namespace {

using content::BlobLayout;
using content::PieceIndex;
using content::PieceRange;
using content::PieceSet;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr BlobId kBlob{1};
constexpr OriginId kOrigin{1};

struct LeaseTableTest : ::testing::Test {
  Time now = Time(seconds(1000));
  BlobLayout layout{256 * kMiB};
  LeaseTable table{{}, now - seconds(60)};

  LeaseTableTest() { table.add_blob(kBlob, layout, kOrigin); }
  void up(std::uint32_t node, std::uint32_t rack = 0) { table.node_up(NodeId(node), RackId(rack)); }
  LeaseTable::Answer ask(std::uint32_t node, std::uint64_t bytes,
                         LeaseKind kind = LeaseKind::kOrigin,
                         std::vector<PieceRange> candidates = {}) {
    return table.ask(NodeId(node), {kind, kBlob, bytes, std::move(candidates), false, false}, now);
  }
};

TEST_F(LeaseTableTest, AFlashCrowdLeasesEachPieceOnce) {
  SeededRandom random(3);
  for (std::uint32_t node = 0; node < 40; ++node) up(node, node % 4);
  PieceSet leased(layout.piece_count());
  for (int i = 0; i < 10'000 && !leased.all(); ++i) {
    auto node = static_cast<std::uint32_t>(random.below(40));
    for (PieceRange range : ask(node, 4 * kMiB).granted) {
      ASSERT_EQ(leased.count(range), 0u) << "leased twice";
      leased.set_range(range);
      if (random.below(3) == 0) table.node_has(NodeId(node), kBlob, range, now);
    }
    now += milliseconds(10);
    for (std::uint32_t n = 0; n < 40; ++n) table.node_active(NodeId(n), kBlob, now);
    EXPECT_TRUE(table.tick(now).empty());
  }
  EXPECT_TRUE(leased.all());
  EXPECT_TRUE(ask(0, kMiB).granted.empty());
}

TEST_F(LeaseTableTest, TwoLesseesReadDifferentRuns) {
  up(1), up(2);
  auto first = ask(1, kMiB).granted;
  auto second = ask(2, kMiB).granted;
  ASSERT_EQ(first.size(), 1u);
  ASSERT_EQ(second.size(), 1u);
  EXPECT_NE(layout.run_of(first[0].first), layout.run_of(second[0].first));
  // The first goes on where it stopped.
  EXPECT_EQ(ask(1, kMiB).granted[0].first, first[0].end());
}

TEST_F(LeaseTableTest, WhoReadsARunOrMoreGetsWholeRuns) {
  up(1), up(2, 1), up(3, 1);
  EXPECT_EQ(ask(1, 5 * kMiB).granted.back().end(), PieceIndex(2 * 64));
  PieceRange run{PieceIndex(0), 64};
  PieceRange later{PieceIndex(10 * 64), 64};
  EXPECT_EQ(ask(2, 5 * kMiB, LeaseKind::kRack, {run, later}).granted, (std::vector{run, later}));
  // A slow reader keeps nobody waiting for as much.
  EXPECT_EQ(ask(3, kMiB).granted[0].count, 16u);
}

TEST_F(LeaseTableTest, OnlySoManyReadOneOriginSpreadOverRacks) {
  LeaseTable few({.lessees_per_origin = 4}, now - seconds(60));
  few.add_blob(kBlob, layout, kOrigin);
  for (std::uint32_t node = 0; node < 20; ++node) few.node_up(NodeId(node), RackId(node / 10));
  std::array<int, 2> granted{};
  for (std::uint32_t node = 0; node < 20; ++node) {
    auto answer = few.ask(NodeId(node), {LeaseKind::kOrigin, kBlob, kMiB, {}}, now);
    granted[node / 10] += !answer.granted.empty();
    if (answer.granted.empty()) {
      EXPECT_EQ(answer.refusal, LeaseRefusal::kBusy);
      EXPECT_GT(answer.retry_after, Duration::zero());
    }
  }
  EXPECT_EQ(granted, (std::array<int, 2>{2, 2}));
  EXPECT_EQ(few.lessees(kOrigin), 4u);
  LeaseAsk urgent{LeaseKind::kOrigin, kBlob, kMiB, {{PieceIndex(4000), 1}}, true, false};
  EXPECT_FALSE(few.ask(NodeId(9), urgent, now).granted.empty());
}

TEST_F(LeaseTableTest, AnIdleLeaseEndsAndItsPiecesAreLeasedAgain) {
  up(1), up(2);
  auto granted = ask(1, 4 * kMiB).granted;
  now += seconds(4);
  table.node_active(NodeId(1), kBlob, now);
  now += seconds(4);
  EXPECT_TRUE(table.tick(now).empty()) << "bytes arrived four seconds ago";
  EXPECT_EQ(table.next_wake(), now + seconds(1));
  now += seconds(1);
  auto ended = table.tick(now);
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_EQ(ended[0].node, NodeId(1));
  EXPECT_EQ(ended[0].pieces, 64u);
  EXPECT_EQ(ask(2, 4 * kMiB).granted, granted);
}

TEST_F(LeaseTableTest, WhatOnlyADeadNodeHadCanBeLeasedAgain) {
  up(1), up(2), up(3);
  table.node_has_all(NodeId(1), kBlob, now);
  table.node_has(NodeId(2), kBlob, {PieceIndex(0), 64}, now);
  EXPECT_TRUE(ask(3, kMiB).granted.empty());
  table.node_down(NodeId(1));
  EXPECT_EQ(table.present(kBlob), 64u);
  auto granted = ask(3, kMiB).granted;
  ASSERT_FALSE(granted.empty());
  EXPECT_EQ(granted[0].first, PieceIndex(64));
}

TEST_F(LeaseTableTest, WhatALiarHasDoesNotCount) {
  up(1), up(2);
  table.node_has_all(NodeId(1), kBlob, now);
  table.distrust(NodeId(1));
  EXPECT_EQ(table.present(kBlob), 0u);
  EXPECT_FALSE(ask(2, kMiB).granted.empty());
  EXPECT_TRUE(ask(1, kMiB).granted.empty());
  table.node_has_all(NodeId(1), kBlob, now);
  EXPECT_EQ(table.present(kBlob), 0u);
}

TEST_F(LeaseTableTest, AStarvedNodeMayReadWhatOthersOnlyClaimToHave) {
  up(1), up(2);
  table.node_has_all(NodeId(1), kBlob, now);
  LeaseAsk plea{LeaseKind::kOrigin, kBlob, kMiB, {{PieceIndex(7), 1}}, false, true};
  EXPECT_EQ(table.ask(NodeId(2), plea, now).granted, plea.candidates);
}

TEST_F(LeaseTableTest, ARackImportsAPieceOnce) {
  up(1, 1), up(2, 1), up(3, 2), up(4, 2);
  PieceRange run{PieceIndex(0), 64};
  EXPECT_EQ(ask(1, 4 * kMiB, LeaseKind::kRack, {run}).granted, std::vector{run});
  EXPECT_EQ(ask(2, 4 * kMiB, LeaseKind::kRack, {run}).refusal, LeaseRefusal::kTaken);
  EXPECT_FALSE(ask(3, 4 * kMiB, LeaseKind::kRack, {run}).granted.empty()) << "another rack";
  table.node_has(NodeId(1), kBlob, run, now);
  EXPECT_TRUE(ask(2, 4 * kMiB, LeaseKind::kRack, {run}).granted.empty()) << "it is in the rack";
  table.node_down(NodeId(1));
  EXPECT_FALSE(ask(2, 4 * kMiB, LeaseKind::kRack, {run}).granted.empty());
}

TEST_F(LeaseTableTest, AnOriginLeaseIsAlsoARackLease) {
  up(1, 1), up(2, 1);
  auto granted = ask(1, kMiB).granted;
  EXPECT_TRUE(ask(2, kMiB, LeaseKind::kRack, granted).granted.empty());
}

TEST_F(LeaseTableTest, GrantsShrinkTowardsTheEnd) {
  for (std::uint32_t node = 0; node < 8; ++node) up(node);
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  for (int i = 0; i < 1000; ++i) {
    auto granted = ask(static_cast<std::uint32_t>(i % 8), 2 * kMiB).granted;
    if (granted.empty()) break;
    std::uint64_t bytes = 0;
    for (PieceRange range : granted) bytes += layout.range_of(range).length;
    if (i == 0) first = bytes;
    last = bytes;
  }
  EXPECT_EQ(first, 2 * kMiB);
  EXPECT_LE(last, 256 * kKiB);
}

TEST(LeaseTableStart, GrantsNothingInTheFirstHeartbeatButTakesAnnouncements) {
  Time start(seconds(5));
  LeaseTable table({}, start);
  BlobLayout layout(16 * kMiB);
  table.add_blob(kBlob, layout, kOrigin);
  table.node_up(NodeId(1), RackId(0));
  table.node_up(NodeId(2), RackId(0));
  auto early = table.ask(NodeId(1), {LeaseKind::kOrigin, kBlob, kMiB, {}}, start + seconds(1));
  EXPECT_EQ(early.refusal, LeaseRefusal::kStarting);
  EXPECT_EQ(early.retry_after, seconds(1));
  std::vector<PieceRange> held = {{PieceIndex(0), 64}};
  EXPECT_EQ(table.announce_lease(NodeId(2), LeaseKind::kOrigin, kBlob, held, start), held);
  EXPECT_EQ(table.announce_lease(NodeId(2), LeaseKind::kOrigin, kBlob, held, start), held)
      << "its own";
  EXPECT_TRUE(table.announce_lease(NodeId(1), LeaseKind::kOrigin, kBlob, held, start).empty());
  auto later = table.ask(NodeId(1), {LeaseKind::kOrigin, kBlob, kMiB, {}}, start + seconds(2));
  ASSERT_FALSE(later.granted.empty());
  EXPECT_EQ(later.granted[0].first, PieceIndex(64));
}

TEST_F(LeaseTableTest, TheFirstEtagCountsUntilTheOriginIsReplaced) {
  EXPECT_TRUE(table.report_etag(kBlob, "a"));
  EXPECT_FALSE(table.report_etag(kBlob, "b"));
  up(1);
  EXPECT_EQ(ask(1, kMiB).etag, "a");
  table.add_blob(kBlob, layout, OriginId(2));
  EXPECT_EQ(table.lessees(kOrigin), 0u);
  EXPECT_TRUE(table.report_etag(kBlob, "b"));
}

TEST_F(LeaseTableTest, AnotherEtagCountsWhenAllLesseesHaveGivenUp) {
  up(1), up(2);
  auto first = ask(1, kMiB).granted;
  auto second = ask(2, kMiB).granted;
  ASSERT_FALSE(first.empty() || second.empty());
  EXPECT_TRUE(table.report_etag(kBlob, "a"));
  table.release(NodeId(1), LeaseKind::kOrigin, kBlob, first);
  EXPECT_FALSE(table.report_etag(kBlob, "b")) << "the other still reads the first version";
  now += seconds(6);
  EXPECT_EQ(table.tick(now).size(), 1u);
  EXPECT_TRUE(table.report_etag(kBlob, "b")) << "it may have been put back";
  EXPECT_FALSE(table.report_etag(kBlob, "a"));
}

TEST_F(LeaseTableTest, ReleasedPiecesAreFreeAtOnce) {
  up(1), up(2);
  auto granted = ask(1, kMiB).granted;
  table.release(NodeId(1), LeaseKind::kOrigin, kBlob, granted);
  EXPECT_EQ(table.lessees(kOrigin), 0u);
  EXPECT_EQ(ask(2, kMiB).granted, granted);
}

// All of the blob in one grant to node 1, but for what has been read of it.
struct SlowLessee : LeaseTableTest {
  SlowLessee() {
    up(1), up(2, 1);
    table.node_has(NodeId(1), kBlob, {PieceIndex(0), layout.piece_count() - 16}, now);
    rest = {PieceIndex(layout.piece_count() - 16), 16};
    for (int i = 0; i < 8; ++i) (void)ask(1, 256 * kKiB);
  }
  PieceRange rest;
};

TEST_F(SlowLessee, GivesWayAfterAFairTime) {
  now += milliseconds(1400);
  EXPECT_TRUE(ask(2, kMiB, LeaseKind::kOrigin, {rest}).granted.empty());
  now += milliseconds(100);
  // Only to one who says what it lacks.
  EXPECT_TRUE(ask(2, kMiB).granted.empty());
  auto moved = ask(2, 256 * kKiB, LeaseKind::kOrigin, {rest}).granted;
  ASSERT_EQ(moved.size(), 1u);
  EXPECT_TRUE(rest.contains(moved[0].first));
  // They are node 2's now: they end with it, and nobody else gets them before.
  up(3);
  EXPECT_TRUE(ask(3, kMiB, LeaseKind::kOrigin, {moved[0]}).granted.empty());
  EXPECT_EQ(table.announce_lease(NodeId(1), LeaseKind::kOrigin, kBlob, moved, now).size(), 0u);
  table.node_has(NodeId(2), kBlob, moved[0], now);
  table.node_down(NodeId(2));
  EXPECT_EQ(ask(3, kMiB, LeaseKind::kOrigin, {moved[0]}).granted, moved);
}

TEST_F(SlowLessee, IsReadTwiceOnlyInASmallPart) {
  BlobLayout large{64 * kMiB};
  BlobId blob{2};
  table.add_blob(blob, large, kOrigin);
  auto of = [&](std::uint32_t node, std::vector<PieceRange> candidates) {
    return table.ask(NodeId(node), {LeaseKind::kOrigin, blob, 64 * kMiB, candidates, false, false},
                     now);
  };
  while (!of(1, {}).granted.empty()) continue;
  now += seconds(2);
  table.node_active(NodeId(1), blob, now);
  std::uint32_t moved = 0;
  for (int i = 0; i < 1000; ++i) {
    for (PieceRange range : of(2, {large.all_pieces()}).granted) moved += range.count;
  }
  EXPECT_GT(moved, 0u);
  EXPECT_LE(moved, large.piece_count() / 50);
}

TEST_F(SlowLessee, GetsNoMoreWhileOthersReadSooner) {
  BlobId blob{2};
  table.add_blob(blob, layout, kOrigin);
  auto of = [&](std::uint32_t node) {
    return table.ask(NodeId(node), {LeaseKind::kOrigin, blob, kMiB, {}, false, false}, now).granted;
  };
  auto slow = of(1);
  ASSERT_FALSE(slow.empty());
  now += seconds(2);
  table.node_has(NodeId(1), blob, slow[0], now);
  // Nobody else reads: better slowly than not at all.
  table.release(NodeId(1), LeaseKind::kOrigin, kBlob, {&rest, 1});
  EXPECT_FALSE(of(1).empty());
  EXPECT_FALSE(of(2).empty());
  EXPECT_TRUE(of(1).empty());
  EXPECT_FALSE(of(2).empty());
  // It may try again after a while.
  now += seconds(5);
  EXPECT_FALSE(of(1).empty());
}

TEST_F(LeaseTableTest, AnOriginThatIsSlowForAllMakesNobodyLate) {
  constexpr std::uint32_t kNodes = 4;
  for (std::uint32_t node = 0; node < kNodes; ++node) up(node);
  // Each lease takes two seconds, piece by piece, but node 0 is a little faster.
  for (int round = 0; round < 20; ++round) {
    std::array<std::vector<PieceRange>, kNodes> leased;
    for (std::uint32_t node = 0; node < kNodes; ++node) {
      leased[node] = ask(node, 256 * kKiB).granted;
      EXPECT_TRUE(round < 5 || !leased[node].empty()) << "round " << round << ", node " << node;
    }
    for (std::uint32_t piece = 0; piece < 4; ++piece) {
      now += milliseconds(500);
      for (std::uint32_t node = 0; node < kNodes; ++node) {
        if (leased[node].empty()) continue;
        const PieceRange& range = leased[node][0];
        if (node != 0) table.node_has(NodeId(node), kBlob, {range.first + piece, 1}, now);
        if (node == 0 && piece == 1) table.node_has(NodeId(node), kBlob, range, now);
      }
      if (leased[0].empty() || piece == 1) leased[0] = ask(0, 256 * kKiB).granted;
    }
  }
}

TEST_F(LeaseTableTest, WhereMostAreLateNobodyLeavesTheOriginToTheOthers) {
  constexpr std::uint32_t kNodes = 8;
  for (std::uint32_t node = 0; node < kNodes; ++node) up(node);
  std::array<std::vector<PieceRange>, kNodes> leased;
  // All read quickly, and then, but for one, slowly.
  for (Duration takes : {milliseconds(100), milliseconds(2000)}) {
    for (std::uint32_t node = 0; node < kNodes; ++node) {
      leased[node] = ask(node, 256 * kKiB).granted;
      ASSERT_FALSE(leased[node].empty());
    }
    table.node_has(NodeId(0), kBlob, leased[0][0], now + milliseconds(100));
    now += takes;
    for (std::uint32_t node = 1; node < kNodes; ++node) {
      table.node_has(NodeId(node), kBlob, leased[node][0], now);
    }
  }
  for (std::uint32_t node = 0; node < kNodes; ++node) {
    EXPECT_FALSE(ask(node, 256 * kKiB).granted.empty()) << node;
  }
}

TEST_F(LeaseTableTest, WhoHasMoreToReadMayTakeLonger) {
  for (std::uint32_t node = 1; node <= 8; ++node) up(node);
  auto large = ask(1, 4 * kMiB).granted;
  // The origin is shared by all from now on: to each a piece in 100 ms.
  for (int round = 0; round < 16; ++round) {
    for (std::uint32_t node = 2; node <= 8; ++node) {
      auto granted = ask(node, 256 * kKiB).granted;
      ASSERT_EQ(granted.size(), 1u);
      table.node_has(NodeId(node), kBlob, granted[0], now + milliseconds(100) * granted[0].count);
    }
    now += milliseconds(400);
    table.node_active(NodeId(1), kBlob, now);
  }
  ASSERT_EQ(large[0].count, 64u);
  table.node_has(NodeId(1), kBlob, large[0], now);
  ASSERT_FALSE(ask(2, 256 * kKiB).granted.empty());
  EXPECT_FALSE(ask(1, 256 * kKiB).granted.empty());
}

TEST_F(LeaseTableTest, WhatOnlyOneNodeHadIsOpenAgainWhenItGoes) {
  for (std::uint32_t node = 1; node <= 4; ++node) up(node, node % 2);
  PieceRange both{PieceIndex(0), 64};
  PieceRange alone{PieceIndex(64), 64};
  table.node_has(NodeId(1), kBlob, both, now);
  table.node_has(NodeId(1), kBlob, alone, now);
  table.node_has(NodeId(2), kBlob, both, now);  // in the other rack
  table.node_down(NodeId(1));
  EXPECT_EQ(table.present(kBlob), both.count);
  EXPECT_TRUE(ask(3, 64 * kMiB, LeaseKind::kOrigin, {both}).granted.empty());
  EXPECT_EQ(ask(3, 64 * kMiB, LeaseKind::kOrigin, {alone}).granted, std::vector{alone});
  // Nobody in the rack of node 1 has them now.
  EXPECT_EQ(ask(3, 64 * kMiB, LeaseKind::kRack, {both}).granted, std::vector{both});
}

}  // namespace
}  // namespace shoal::swarm
