#include "core/swarm/downloads.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "core/base/random.h"
#include "core/base/units.h"
#include "tests/core/swarm/agent_by_hand.h"

namespace shoal::swarm {
namespace {

using content::PieceIndex;
using content::PieceRange;
using content::PieceSet;
using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(Downloads, FetchesEachPieceOnceFromPeersThatHaveIt) {
  Agent agent(100 * kMiB + 5);
  agent.downloads.tracker_up(agent.now);
  agent.want_all();
  for (std::uint32_t i = 0; i < 3; ++i) {
    agent.downloads.peer_up(PeerId(i), kNear, agent.now);
    agent.downloads.peer_has_all(PeerId(i), kBlob, agent.now);
  }
  EXPECT_TRUE(fetch_all(agent));
  EXPECT_EQ(agent.downloads.counters().bytes_peers, agent.layout.size());
  EXPECT_EQ(agent.downloads.counters().bytes_duplicate, 0u);
  EXPECT_EQ(agent.downloads.next_wake(), kNever);
  EXPECT_EQ(agent.explain().wait, Explanation::Wait::kNothing);
}

TEST(Downloads, ManyPeersGatherTheirNewsUnlessItIsTheStartOrTheEnd) {
  Agent agent(200 * kMiB);
  agent.want_all();
  for (std::uint32_t i = 0; i < 16; ++i) {
    agent.downloads.peer_up(PeerId(i), kNear, agent.now);
    agent.downloads.peer_has_all(PeerId(i), kBlob, agent.now);
  }
  EXPECT_EQ(agent.downloads.news_interval(), milliseconds(20));
  for (int i = 0; i < 10; ++i) {
    agent.decide_after(milliseconds(100));
    const StartRequest first = agent.running.begin()->second;
    agent.finish(first);
  }
  EXPECT_EQ(agent.downloads.news_interval(), milliseconds(160));
  std::uint32_t last = agent.layout.piece_count() - 1;
  agent.downloads.pieces_added(kBlob, {PieceIndex(0), last}, agent.now);
  EXPECT_EQ(agent.downloads.news_interval(), milliseconds(20));
}

TEST(Downloads, AsksOnlyForWhatThePeerHas) {
  Agent agent(64 * kMiB);
  agent.want_all();
  agent.downloads.peer_up(PeerId(0), kNear, agent.now);
  PieceRange some{PieceIndex(100), 37};
  agent.downloads.peer_has(PeerId(0), kBlob, some, agent.now);
  for (int i = 0; i < 100; ++i) {
    for (const StartRequest& request : agent.decide_after(milliseconds(20))) {
      if (request.source.is_origin()) continue;
      EXPECT_GE(request.pieces.first, some.first);
      EXPECT_LE(request.pieces.end(), some.end());
      agent.finish(request);
    }
  }
  EXPECT_EQ(agent.explain().pieces_have, 37u);
}

TEST(Downloads, TakesTheRarestPartsFirstWhereNobodyHasARunWhole) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    Agent agent(32 * kMiB, {}, seed);
    agent.want_all();
    const std::uint32_t per_run = agent.layout.pieces_per_run();
    const content::RunIndex rare(5);
    for (std::uint32_t peer = 0; peer < 3; ++peer) {
      agent.downloads.peer_up(PeerId(peer), kNear, agent.now);
      for (std::uint32_t run = 0; run < agent.layout.run_count(); ++run) {
        // Half of each run; of the rare one only the first peer.
        if (run == rare.value() && peer != 0) continue;
        PieceRange half = agent.layout.pieces_of_run(content::RunIndex(run));
        half.count = per_run / 2;
        agent.downloads.peer_has(PeerId(peer), kBlob, half, agent.now);
      }
    }
    bool asked = false;
    for (const StartRequest& request : agent.decide()) {
      if (request.source != Source::of(PeerId(0))) continue;
      EXPECT_EQ(agent.layout.run_of(request.pieces.first), rare) << "seed " << seed;
      asked = true;
      break;
    }
    EXPECT_TRUE(asked);
  }
}

class Pipeline : public ::testing::TestWithParam<std::size_t> {};

TEST_P(Pipeline, HoldsNoMoreRequestsThanItIsLongOfAtMostSixteenMebibytes) {
  Agent agent(4 * kGiB, {.pipeline = GetParam()});
  agent.want_all();
  agent.downloads.peer_up(PeerId(0), kNear, agent.now);
  agent.downloads.peer_has_all(PeerId(0), kBlob, agent.now);
  std::uint64_t largest = 0;
  std::size_t most = 0;
  for (int i = 0; i < 200; ++i) {
    agent.decide_after(milliseconds(2));
    most = std::max(most, agent.running.size());
    auto running = agent.running;
    for (const auto& [id, request] : running) {
      largest = std::max(largest, agent.layout.range_of(request.pieces).length);
      agent.finish(request);
    }
  }
  EXPECT_EQ(most, GetParam());
  EXPECT_LE(largest, 16 * kMiB);
  EXPECT_GE(largest, 8 * kMiB) << "a fast source gets large requests";
}

INSTANTIATE_TEST_SUITE_P(, Pipeline, ::testing::Values(4, 8));

TEST(Downloads, TheOriginHasAPipelineOfItsOwn) {
  Agent agent(4 * kGiB, {.pipeline = 8, .origin_pipeline = 2});
  agent.downloads.tracker_up(agent.now);
  agent.want_all();
  agent.decide();
  PieceRange lease = agent.layout.all_pieces();
  agent.downloads.lease_granted(LeaseKind::kOrigin, kBlob, {&lease, 1}, agent.now);
  std::size_t most = 0;
  for (int i = 0; i < 50; ++i) {
    agent.decide_after(milliseconds(2));
    most = std::max(most, agent.running.size());
    auto running = agent.running;
    for (const auto& [id, request] : running) agent.finish(request);
  }
  EXPECT_EQ(most, 2u);
}

TEST(Downloads, APeerThatSendsBadBytesIsBannedAndItsPiecesComeFromOthers) {
  Agent agent(32 * kMiB);
  agent.want_all();
  agent.downloads.peer_up(PeerId(0), kNear, agent.now);
  agent.downloads.peer_has_all(PeerId(0), kBlob, agent.now);
  auto started = agent.decide();
  ASSERT_GE(started.size(), 2u);
  // Two connections may find it at the same time: it is banned once.
  agent.end(started[0], Outcome::kCorrupt);
  agent.end(started[1], Outcome::kCorrupt);
  agent.decide();
  EXPECT_EQ(agent.banned, std::vector{PeerId(0)});
  agent.downloads.peer_down(PeerId(0), agent.now);
  EXPECT_EQ(agent.explain().failures.back().outcome, Outcome::kCorrupt);
  agent.running.clear();
  agent.downloads.peer_up(PeerId(1), kNear, agent.now);
  agent.downloads.peer_has_all(PeerId(1), kBlob, agent.now);
  EXPECT_TRUE(fetch_all(agent));
}

TEST(Downloads, ABusyPeerIsLeftAloneForItsRetryTime) {
  Agent agent(32 * kMiB);
  agent.want_all();
  agent.downloads.peer_up(PeerId(0), kNear, agent.now);
  agent.downloads.peer_has_all(PeerId(0), kBlob, agent.now);
  for (const StartRequest& request : agent.decide()) {
    agent.end(request, Outcome::kBusy, seconds(2));
  }
  EXPECT_TRUE(agent.decide_after(milliseconds(1900)).empty());
  EXPECT_EQ(agent.explain().wait, Explanation::Wait::kPeer);
  EXPECT_FALSE(agent.decide_after(milliseconds(1300)).empty());
}

TEST(Downloads, ASilentRequestIsGivenToOthers) {
  Agent agent(4 * kMiB);
  agent.want_all();
  agent.downloads.peer_up(PeerId(0), kNear, agent.now);
  agent.downloads.peer_has_all(PeerId(0), kBlob, agent.now);
  auto silent = agent.decide();
  ASSERT_FALSE(silent.empty());
  agent.downloads.peer_up(PeerId(1), kNear, agent.now);
  agent.downloads.peer_has_all(PeerId(1), kBlob, agent.now);
  for (int i = 0; i < 400 && !agent.downloads.complete(kBlob); ++i) {
    agent.decide_after(milliseconds(20));
    auto running = agent.running;
    for (const auto& [id, request] : running) {
      if (request.source == Source::of(PeerId(1))) agent.finish(request);
    }
  }
  EXPECT_TRUE(agent.downloads.complete(kBlob));
  EXPECT_EQ(agent.silent, silent.size()) << "the cancellations say why";
}

TEST(Downloads, ADownloadWithoutAByteForTenSecondsIsReportedOnce) {
  Agent agent(4 * kMiB);
  agent.downloads.set_has_origin(kBlob, false, agent.now);
  agent.want_all();
  for (int i = 0; i < 150; ++i) agent.decide_after(milliseconds(100));
  EXPECT_EQ(agent.stalls, 1u);
  Explanation why = agent.explain();
  EXPECT_EQ(why.wait, Explanation::Wait::kSource);
  EXPECT_EQ(why.piece, PieceIndex(0));
  EXPECT_EQ(why.pieces_wanted, agent.layout.piece_count());
}

TEST(Downloads, AFaultGoesFirstAndAloneOnAnUrgentConnection) {
  Agent agent(64 * kMiB);
  agent.downloads.tracker_up(agent.now);
  agent.want_all();
  agent.downloads.peer_up(PeerId(0), kNear, agent.now);
  agent.downloads.peer_has_all(PeerId(0), kBlob, agent.now);
  agent.decide();
  agent.downloads.want(kBlob, {PieceIndex(900), 1}, Class::kFault, agent.now + milliseconds(200),
                       agent.now);
  auto started = agent.decide();
  ASSERT_FALSE(started.empty());
  EXPECT_TRUE(started[0].urgent);
  EXPECT_EQ(started[0].cls, Class::kFault);
  EXPECT_EQ(started[0].pieces, (PieceRange{PieceIndex(900), 1}));
}

TEST(Downloads, AFaultMayCrossRacks) {
  Agent agent(64 * kMiB);
  agent.downloads.tracker_up(agent.now);
  agent.downloads.peer_up(PeerId(0), kNear, agent.now);
  agent.downloads.peer_up(PeerId(1), kFarAway, agent.now);
  agent.downloads.peer_has_all(PeerId(1), kBlob, agent.now);
  agent.downloads.want(kBlob, {PieceIndex(3), 1}, Class::kFault, kNever, agent.now);
  EXPECT_EQ(agent.decide().size(), 1u);
}

TEST(Downloads, HeldBlobsAreNotRequestedExceptForFaults) {
  Agent agent(64 * kMiB);
  agent.want_all();
  agent.downloads.peer_up(PeerId(0), kNear, agent.now);
  agent.downloads.peer_has_all(PeerId(0), kBlob, agent.now);
  agent.downloads.hold(kBlob, true, agent.now);
  EXPECT_TRUE(agent.decide().empty());
  EXPECT_EQ(agent.explain().wait, Explanation::Wait::kHeld);
  agent.downloads.want(kBlob, {PieceIndex(5), 1}, Class::kFault, kNever, agent.now);
  EXPECT_EQ(agent.decide().size(), 1u);
  agent.downloads.hold(kBlob, false, agent.now);
  EXPECT_FALSE(agent.decide().empty());
}

TEST(Downloads, TheDownloadLimitIsKept) {
  Agent agent(256 * kMiB, {.download_limit = Rate(2'000'000)});
  agent.want_all();
  agent.downloads.peer_up(PeerId(0), kNear, agent.now);
  agent.downloads.peer_has_all(PeerId(0), kBlob, agent.now);
  for (int i = 0; i < 1000; ++i) {
    for (const StartRequest& request : agent.decide_after(milliseconds(10))) agent.finish(request);
  }
  EXPECT_NEAR(static_cast<double>(agent.downloads.counters().bytes_peers), 20e6, 3e6);
}

TEST(Downloads, LostPiecesAreFetchedAgain) {
  Agent agent(16 * kMiB);
  agent.want_all();
  agent.downloads.peer_up(PeerId(0), kNear, agent.now);
  agent.downloads.peer_has_all(PeerId(0), kBlob, agent.now);
  ASSERT_TRUE(fetch_all(agent));
  agent.downloads.pieces_lost(kBlob, {PieceIndex(30), 2}, agent.now);
  EXPECT_FALSE(agent.downloads.complete(kBlob));
  EXPECT_TRUE(fetch_all(agent));
}

TEST(Downloads, RemovingABlobCancelsAndReleases) {
  Agent agent(64 * kMiB);
  agent.downloads.tracker_up(agent.now);
  agent.want_all();
  PieceRange lease{PieceIndex(0), 64};
  agent.downloads.lease_granted(LeaseKind::kOrigin, kBlob, {&lease, 1}, agent.now);
  auto started = agent.decide();
  ASSERT_FALSE(started.empty());
  agent.downloads.remove_blob(kBlob, agent.now);
  agent.decide();
  EXPECT_TRUE(agent.running.empty()) << "cancelled";
  EXPECT_TRUE(std::any_of(agent.last.begin(), agent.last.end(), [](const Action& action) {
    return std::holds_alternative<ReleaseLease>(action);
  }));
  EXPECT_FALSE(agent.downloads.contains(kBlob));
  EXPECT_EQ(agent.downloads.next_wake(), kNever);
}

// Anything may happen in any order; what is reported stays consistent and the download ends.
TEST(Downloads, SurvivesAnyOrderOfEvents) {
  const char* text = std::getenv("SHOAL_TEST_SEED");
  std::uint64_t first = text ? std::strtoull(text, nullptr, 10) : 1;
  for (std::uint64_t seed = first; seed < first + (text ? 1 : 8); ++seed) {
    SCOPED_TRACE("SHOAL_TEST_SEED=" + std::to_string(seed));
    SeededRandom random(seed);
    Agent agent(50 * kMiB + 1, {}, seed);
    agent.want_all();
    constexpr Outcome kBad[] = {Outcome::kBusy,         Outcome::kNotHave, Outcome::kShort,
                                Outcome::kTimeout,      Outcome::kLocal,   Outcome::kRefused,
                                Outcome::kDisconnected, Outcome::kCorrupt};
    auto any_peer = [&] { return PeerId(static_cast<std::uint32_t>(random.below(6))); };
    auto any_range = [&] {
      auto at = static_cast<std::uint32_t>(random.below(agent.layout.piece_count()));
      auto most = std::min<std::uint64_t>(agent.layout.piece_count() - at, 100);
      return PieceRange{PieceIndex(at), static_cast<std::uint32_t>(1 + random.below(most))};
    };
    for (int i = 0; i < 3000; ++i) {
      switch (random.below(14)) {
        case 0: {
          PeerId peer = any_peer();
          agent.downloads.peer_up(peer, random.below(2) ? kNear : kFarAway, agent.now);
          agent.downloads.peer_has_all(peer, kBlob, agent.now);
          break;
        }
        case 1:
          agent.downloads.peer_down(any_peer(), agent.now);
          break;
        case 2:
          agent.downloads.peer_has(any_peer(), kBlob, any_range(), agent.now);
          break;
        case 3:
          agent.downloads.tracker_up(agent.now);
          break;
        case 4:
          agent.downloads.tracker_down(agent.now);
          break;
        case 5: {
          PieceRange range = any_range();
          agent.downloads.lease_granted(random.below(2) ? LeaseKind::kOrigin : LeaseKind::kRack,
                                        kBlob, {&range, 1}, agent.now);
          break;
        }
        case 6:
          agent.downloads.want(kBlob, any_range(), static_cast<Class>(random.below(5)),
                               agent.now + seconds(1), agent.now);
          break;
        case 7:
          agent.downloads.pieces_lost(kBlob, any_range(), agent.now);
          break;
        case 8:
          agent.downloads.pieces_added(kBlob, any_range(), agent.now);
          break;
        case 9:
          agent.downloads.peer_has_nothing(any_peer(), kBlob, agent.now);
          break;
        default: {
          agent.decide_after(milliseconds(random.below(60)));
          auto running = agent.running;
          for (const auto& [id, request] : running) {
            std::uint64_t what = random.below(4);
            if (what == 0) agent.finish(request);
            if (what == 1) {
              agent.downloads.pieces_verified(request.id, {request.pieces.first, 1}, agent.now);
              agent.end(request, kBad[random.below(std::size(kBad))], milliseconds(30));
            }
          }
          for (PeerId peer : agent.banned) agent.downloads.peer_down(peer, agent.now);
          agent.banned.clear();
        }
      }
      ASSERT_EQ(agent.explain().pieces_have, agent.downloads.pieces(kBlob).count());
    }
    for (PeerId peer : {PeerId(7), PeerId(8)}) {
      agent.downloads.peer_up(peer, kNear, agent.now);
      agent.downloads.peer_has_all(peer, kBlob, agent.now);
    }
    agent.downloads.tracker_up(agent.now);
    EXPECT_TRUE(fetch_all(agent)) << wait_name(agent.explain().wait);
    auto running = agent.running;
    for (const auto& [id, request] : running) agent.finish(request);
    agent.decide_after(seconds(1));
    for (const SourceStatus& source : agent.downloads.sources()) {
      EXPECT_EQ(source.in_flight, 0u) << "nothing is owed at the end";
    }
  }
}

}  // namespace
}  // namespace shoal::swarm
