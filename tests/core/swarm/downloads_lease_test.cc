// Downloads and its leases: the origin, racks, plans that cross them, and a fleet without a
// tracker.
#include <algorithm>
#include <array>

#include "tests/core/swarm/agent_by_hand.h"

namespace shoal::swarm {
namespace {

using content::BlobLayout;
using content::PieceIndex;
using content::PieceRange;
using content::PieceSet;
using std::chrono::milliseconds;
using std::chrono::seconds;

// A peer in this rack has nothing, one in another rack everything.
void all_is_in_another_rack(Agent& agent) {
  agent.downloads.peer_up(PeerId(0), kNear, agent.now);
  agent.downloads.peer_up(PeerId(1), kFarAway, agent.now);
  agent.downloads.peer_has_all(PeerId(1), kBlob, agent.now);
}

// What the last decision gave back.
std::vector<PieceRange> given_back(const Agent& agent) {
  std::vector<PieceRange> pieces;
  for (const Action& action : agent.last) {
    const auto* release = std::get_if<ReleaseLease>(&action);
    if (release) pieces.insert(pieces.end(), release->pieces.begin(), release->pieces.end());
  }
  return pieces;
}

TEST(Downloads, ReadsTheOriginOnlyUnderALease) {
  Agent agent(64 * kMiB);
  agent.downloads.tracker_up(agent.now);
  agent.want_all();
  EXPECT_TRUE(agent.decide().empty());
  ASSERT_EQ(agent.asked.size(), 1u);
  EXPECT_EQ(agent.asked[0].kind, LeaseKind::kOrigin);
  EXPECT_EQ(agent.explain().wait, Explanation::Wait::kLease);
  EXPECT_TRUE(agent.decide_after(milliseconds(50)).empty());
  EXPECT_TRUE(agent.asked.empty()) << "one ask at a time";
  PieceRange lease{PieceIndex(128), 16};
  agent.downloads.lease_granted(LeaseKind::kOrigin, kBlob, {&lease, 1}, agent.now);
  PieceSet read(agent.layout.piece_count());
  for (int i = 0; i < 10; ++i) {
    for (const StartRequest& request : agent.decide_after(milliseconds(5))) {
      EXPECT_TRUE(request.source.is_origin());
      read.set_range(request.pieces);
      agent.finish(request);
    }
  }
  EXPECT_EQ(read.count(), 16u);
  EXPECT_TRUE(read.contains(lease));
  EXPECT_TRUE(agent.downloads.leases().empty()) << "what is read is no longer held";
}

TEST(Downloads, ARefusedLeaseIsAskedForAgainAfterTheRetryTime) {
  Agent agent(64 * kMiB);
  agent.downloads.tracker_up(agent.now);
  agent.want_all();
  agent.decide();
  agent.downloads.lease_denied(LeaseKind::kOrigin, kBlob, LeaseRefusal::kBusy, seconds(3),
                               agent.now);
  agent.decide_after(milliseconds(2900));
  EXPECT_TRUE(agent.asked.empty());
  agent.decide_after(milliseconds(200));
  EXPECT_EQ(agent.asked.size(), 1u);
}

// What cannot be read now, because the origin's file is another one or the origin backs off, is not
// counted as work at hand: the other blobs go on.
TEST(Downloads, ABlobWithoutAReadableOriginKeepsNoOtherWaiting) {
  constexpr BlobId kOther{1};
  for (Outcome outcome : {Outcome::kCorrupt, Outcome::kChanged, Outcome::kDisconnected}) {
    Agent agent(64 * kMiB);
    agent.downloads.add_blob(kOther, agent.layout, 78, PieceSet(agent.layout.piece_count()), true,
                             agent.now);
    agent.downloads.tracker_up(agent.now);
    agent.want_all();
    agent.downloads.want(kOther, agent.layout.all_pieces(), Class::kPrefetch, kNever, agent.now);
    agent.decide();
    ASSERT_EQ(agent.asked.size(), 1u);
    ASSERT_EQ(agent.asked[0].blob, kBlob);
    PieceRange all = agent.layout.all_pieces();
    agent.downloads.lease_granted(LeaseKind::kOrigin, kBlob, {&all, 1}, agent.now);
    auto started = agent.decide_after(milliseconds(5));
    ASSERT_FALSE(started.empty());
    ASSERT_TRUE(agent.asked.empty()) << "enough to read";
    for (const StartRequest& request : started) agent.end(request, outcome, seconds(5));
    agent.decide_after(milliseconds(100));
    ASSERT_EQ(agent.asked.size(), 1u);
    EXPECT_EQ(agent.asked[0].blob, kOther);
  }
}

TEST(Downloads, WhatIsNotReadFromAChangedOriginIsGivenBack) {
  Agent agent(64 * kMiB);
  agent.downloads.tracker_up(agent.now);
  agent.want_all();
  agent.decide();
  PieceRange lease{PieceIndex(0), 64};
  agent.downloads.lease_granted(LeaseKind::kOrigin, kBlob, {&lease, 1}, agent.now);
  agent.decide();
  agent.downloads.set_has_origin(kBlob, false, agent.now);
  agent.decide();
  EXPECT_TRUE(agent.downloads.leases().empty());
  EXPECT_EQ(given_back(agent), std::vector<PieceRange>{lease});
}

TEST(Downloads, AGrantThatComesAfterTheOriginWasGivenUpIsGivenBack) {
  Agent agent(64 * kMiB);
  agent.downloads.tracker_up(agent.now);
  agent.want_all();
  agent.decide();
  ASSERT_EQ(agent.asked.size(), 1u);
  agent.downloads.set_has_origin(kBlob, false, agent.now);
  PieceRange lease{PieceIndex(0), 64};
  agent.downloads.lease_granted(LeaseKind::kOrigin, kBlob, {&lease, 1}, agent.now);
  EXPECT_TRUE(agent.decide().empty());
  EXPECT_TRUE(agent.downloads.leases().empty());
  EXPECT_EQ(given_back(agent), std::vector<PieceRange>{lease});
  // Once it can be read again it is asked for again.
  agent.downloads.set_has_origin(kBlob, true, agent.now);
  agent.decide_after(milliseconds(50));
  EXPECT_EQ(agent.asked.size(), 1u);
}

TEST(Downloads, ABlobThatIsRemovedWhileItAsksForALeaseKeepsNoOtherWaiting) {
  constexpr BlobId kOther{1};
  for (LeaseKind kind : {LeaseKind::kOrigin, LeaseKind::kRack}) {
    Agent agent(64 * kMiB);
    agent.downloads.add_blob(kOther, agent.layout, 78, PieceSet(agent.layout.piece_count()), true,
                             agent.now);
    agent.downloads.tracker_up(agent.now);
    agent.want_all();
    if (kind == LeaseKind::kRack) {
      all_is_in_another_rack(agent);
      agent.downloads.peer_has_all(PeerId(1), kOther, agent.now);
    }
    agent.decide();
    ASSERT_EQ(agent.asked.size(), 1u);
    ASSERT_EQ(agent.asked[0].kind, kind);
    agent.downloads.remove_blob(kBlob, agent.now);
    agent.downloads.want(kOther, agent.layout.all_pieces(), Class::kPrefetch, kNever, agent.now);
    agent.decide_after(milliseconds(50));
    ASSERT_EQ(agent.asked.size(), 1u);
    EXPECT_EQ(agent.asked[0].kind, kind);
    EXPECT_EQ(agent.asked[0].blob, kOther);
  }
}

TEST(Downloads, PiecesEnterARackOnlyUnderARackLease) {
  Agent agent(64 * kMiB);
  agent.downloads.tracker_up(agent.now);
  agent.want_all();
  all_is_in_another_rack(agent);
  EXPECT_TRUE(agent.decide().empty());
  auto ask = std::find_if(agent.asked.begin(), agent.asked.end(),
                          [](const LeaseAsk& a) { return a.kind == LeaseKind::kRack; });
  ASSERT_NE(ask, agent.asked.end());
  ASSERT_FALSE(ask->candidates.empty());
  EXPECT_EQ(agent.explain().wait, Explanation::Wait::kRack);
  std::vector<PieceRange> granted = {ask->candidates.front()};
  agent.downloads.lease_granted(LeaseKind::kRack, kBlob, granted, agent.now);
  auto started = agent.decide();
  ASSERT_FALSE(started.empty());
  for (const StartRequest& request : started) {
    EXPECT_EQ(request.source, Source::of(PeerId(1)));
    EXPECT_GE(request.pieces.first, granted[0].first);
    EXPECT_LE(request.pieces.end(), granted[0].end());
  }
}

TEST(Downloads, ARackRuleThatStarvesTheDownloadIsLifted) {
  Agent agent(8 * kMiB);
  agent.downloads.tracker_up(agent.now);
  agent.want_all();
  all_is_in_another_rack(agent);
  for (int i = 0; i < 45; ++i) EXPECT_TRUE(agent.decide_after(milliseconds(100)).empty());
  std::size_t started = 0;
  for (int i = 0; i < 10; ++i) started += agent.decide_after(milliseconds(100)).size();
  EXPECT_GT(started, 0u);
}

TEST(Downloads, WithoutNearPeersTheRackRuleDoesNotApply) {
  Agent agent(8 * kMiB);
  agent.downloads.tracker_up(agent.now);
  agent.want_all();
  agent.downloads.peer_up(PeerId(1), kFarAway, agent.now);
  agent.downloads.peer_has_all(PeerId(1), kBlob, agent.now);
  EXPECT_TRUE(fetch_all(agent));
}

TEST(Downloads, WithoutATrackerOneNodeAtATimeReadsTheOrigin) {
  // Three agents that know one another; each run has one of rank 0.
  std::array<std::uint64_t, 3> keys = {node_key("a"), node_key("b"), node_key("c")};
  PieceSet read(BlobLayout(256 * kMiB).piece_count());
  for (std::size_t self = 0; self < 3; ++self) {
    Agent agent(256 * kMiB, {.node_key = keys[self]});
    agent.downloads.tracker_up(agent.now);
    agent.want_all();
    for (std::uint32_t i = 0; i < 3; ++i) {
      if (i != self) agent.downloads.peer_up(PeerId(i), {Locality::kRack, keys[i]}, agent.now);
    }
    agent.decide();
    agent.downloads.tracker_down(agent.now);
    for (int i = 0; i < 18; ++i) {
      for (const StartRequest& request : agent.decide_after(milliseconds(100))) {
        EXPECT_EQ(read.count(request.pieces), 0u) << "read by two nodes";
        read.set_range(request.pieces);
        agent.finish(request);
      }
    }
    EXPECT_GT(agent.downloads.counters().bytes_origin, 0u);
  }
}

TEST(Downloads, APlanIsFetchedInItsOrderWithinAWindow) {
  Agent agent(8 * kGiB, {.plan_window = 8});
  agent.want_all(Class::kPlan);
  agent.downloads.peer_up(PeerId(0), kNear, agent.now);
  agent.downloads.peer_has_all(PeerId(0), kBlob, agent.now);
  std::uint32_t head = 0;
  for (int i = 0; i < 60; ++i) {
    for (const StartRequest& request : agent.decide_after(milliseconds(300))) {
      if (request.source.is_origin()) continue;
      EXPECT_LT(agent.layout.run_of(request.pieces.first).value(), head + 8 + 300);
      agent.finish(request);
    }
    PieceSet have = agent.downloads.pieces(kBlob);
    head = have.all() ? head : agent.layout.run_of(*have.first_missing()).value();
  }
  EXPECT_GT(head, 0u);
}

// Wants a plan of one blob of which a peer in another rack has everything.
struct AgentWithPlan : Agent {
  AgentWithPlan() : Agent(8 * kGiB, {.plan_window = 128}) {
    downloads.tracker_up(now);
    downloads.set_has_origin(kBlob, false, now);
    want_all(Class::kPlan);
    all_is_in_another_rack(*this);
  }
};

TEST(Downloads, OfAPlanImportsAreAskedForWithinTheWindow) {
  AgentWithPlan agent;
  std::size_t asks = 0;
  for (int i = 0; i < 20; ++i) {
    agent.decide_after(milliseconds(300));
    for (const LeaseAsk& ask : agent.asked) {
      ++asks;
      for (PieceRange candidate : ask.candidates) {
        EXPECT_LT(agent.layout.run_of(candidate.first).value(), 128u);
      }
      agent.downloads.lease_denied(LeaseKind::kRack, kBlob, LeaseRefusal::kTaken, {}, agent.now);
    }
  }
  EXPECT_GT(asks, 4u);
}

TEST(Downloads, OfAPlanAnImportIsFetchedWhereverItsLeaseIs) {
  AgentWithPlan agent;
  agent.decide();
  std::vector<PieceRange> far_ahead = {agent.layout.pieces_of_run(content::RunIndex(1000))};
  agent.downloads.lease_granted(LeaseKind::kRack, kBlob, far_ahead, agent.now);
  auto started = agent.decide();
  ASSERT_FALSE(started.empty());
  EXPECT_EQ(started[0].source, Source::of(PeerId(1)));
  EXPECT_EQ(agent.layout.run_of(started[0].pieces.first), content::RunIndex(1000));
}

TEST(Downloads, WhatAGrantDidNotReachIsAskedForAgainWhatItPassedOverIsNot) {
  AgentWithPlan agent;
  agent.decide();
  ASSERT_EQ(agent.asked.size(), 1u);
  std::vector<PieceRange> first = agent.asked[0].candidates;
  ASSERT_GE(first.size(), 4u);
  std::vector<PieceRange> granted = {first[1]};
  agent.downloads.lease_granted(LeaseKind::kRack, kBlob, granted, agent.now);
  bool again = false;
  for (int i = 0; i < 30; ++i) {
    agent.decide_after(milliseconds(10));
    for (const LeaseAsk& ask : agent.asked) {
      for (PieceRange candidate : ask.candidates) {
        EXPECT_NE(candidate, first[0]) << "others bring it";
        again |= candidate == first[2];
      }
      agent.downloads.lease_granted(LeaseKind::kRack, kBlob, std::vector{ask.candidates[0]},
                                    agent.now);
    }
  }
  EXPECT_TRUE(again);
}

TEST(Downloads, AFileThatWaitsForItsTurnIsNotStarved) {
  constexpr BlobId kNext{1};
  Agent agent(64 * kMiB);
  agent.downloads.add_blob(kNext, agent.layout, 78, PieceSet(agent.layout.piece_count()), true,
                           agent.now);
  agent.downloads.tracker_up(agent.now);
  for (BlobId blob : {kBlob, kNext}) {
    agent.downloads.want(blob, agent.layout.all_pieces(), Class::kPrefetch, kNever, agent.now);
  }
  PieceIndex next{0};
  while (next != agent.layout.all_pieces().end()) {
    for (const StartRequest& request : agent.decide_after(milliseconds(500))) {
      agent.finish(request);
    }
    for (const LeaseAsk& ask : agent.asked) {
      ASSERT_EQ(ask.blob, kBlob);
      EXPECT_FALSE(ask.starved);
      std::vector<PieceRange> granted = {{next, 64}};
      next = granted[0].end();
      agent.downloads.lease_granted(LeaseKind::kOrigin, kBlob, granted, agent.now);
    }
  }
  do {
    for (const StartRequest& request : agent.decide_after(milliseconds(500))) {
      agent.finish(request);
    }
  } while (agent.asked.empty());
  EXPECT_GT(agent.now, Time(seconds(1006)));
  EXPECT_EQ(agent.asked[0].blob, kNext);
  EXPECT_FALSE(agent.asked[0].starved);
}
}  // namespace
}  // namespace shoal::swarm
