#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "core/base/random.h"
#include "tests/tracker/fleet_fixture.h"

namespace shoal::tracker {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

TEST_F(FleetTest, KnowsANodeOnlyUnderItsEpoch) {
  EXPECT_EQ(fleet_.heartbeat("n", {.epoch = "1"}, now_).error().code(), Errc::kNotFound);
  register_node("n", "1");
  EXPECT_EQ(fleet_.heartbeat("n", {.epoch = "2"}, now_).error().code(), Errc::kConflict);
  EXPECT_EQ(fleet_.leases("n", {.epoch = "2"}, now_).error().code(), Errc::kConflict);
  EXPECT_TRUE(fleet_.registered("n", "1"));
}

TEST_F(FleetTest, AsksForAFullHeartbeatUntilItHasOne) {
  register_node("n");
  EXPECT_TRUE(send("n", beat("n")).resync);
  EXPECT_FALSE(send("n", beat("n", true)).resync);
  EXPECT_FALSE(send("n", beat("n")).resync);
  --seq_["n"];  // the answer was lost, so the same number comes again
  EXPECT_FALSE(send("n", beat("n")).resync);
  ++seq_["n"];  // one is missing
  EXPECT_TRUE(send("n", beat("n")).resync);
}

TEST_F(FleetTest, AFullHeartbeatReplacesWhatWasKnown) {
  join("n", {complete(a_), complete(b_)});
  auto request = beat("n", true);
  request.blobs = {complete(b_)};
  send("n", request);
  auto list = fleet_.list(now_);
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0].blobs, 1u);
  EXPECT_EQ(list[0].complete, 1u);
}

TEST_F(FleetTest, IntroducesThoseWhoWantToThoseWhoHave) {
  join("seed", {complete(a_), complete(b_)});
  EXPECT_THAT(fleet_.take_news(), IsEmpty());
  join("reader", {wanted(a_)});
  EXPECT_THAT(fleet_.take_news(), ElementsAre("reader"));
  auto list = fleet_.neighbours("reader");
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0].node, "seed");
  EXPECT_EQ(list[0].address, "seed:6970");
  EXPECT_EQ(list[0].holds, std::vector{a_});
  EXPECT_THAT(list[0].wants, IsEmpty());
  EXPECT_THAT(neighbours("seed"), IsEmpty());  // it wants nothing

  join("second", {wanted(a_), wanted(b_)});
  EXPECT_THAT(fleet_.take_news(), UnorderedElementsAre("reader", "second"));
  EXPECT_THAT(neighbours("second"), UnorderedElementsAre("seed", "reader"));
  EXPECT_FALSE(fleet_.has_news());
}

TEST_F(FleetTest, TellsNothingNewWhenABlobIsDone) {
  join("seed", {complete(a_), complete(b_)});
  join("reader", {wanted(a_), wanted(b_)});
  fleet_.take_news();
  auto request = beat("reader");
  request.blobs = {complete(a_)};
  send("reader", request);
  EXPECT_THAT(fleet_.take_news(), IsEmpty());
  request = beat("reader");
  request.blobs = {complete(b_)};
  send("reader", request);
  fleet_.take_news();
  EXPECT_THAT(neighbours("reader"), IsEmpty());
}

TEST_F(FleetTest, IntroducesTheOnlyHolderOfASharedBlob) {
  // It holds a small part of the model only, so it is not in the model's graph.
  content::Digest shared = digest("tokenizer");
  ManifestBlobs manifest;
  manifest.manifest = digest("other");
  manifest.blobs = {{shared, 1000}, {b_, kSize}};
  fleet_.set_manifest(manifest);
  join("holder",
       {{.digest = shared, .size = 1000, .pieces_have = 1, .state = api::BlobState::kComplete}});
  join("reader", {{.digest = shared, .size = 1000, .wanted = true}});
  fleet_.take_news();
  EXPECT_THAT(neighbours("reader"), ElementsAre("holder"));
}

TEST_F(FleetTest, IntroducesHoldersOfABlobThatNoManifestNames) {
  content::Digest stray = digest("stray");
  join("holder", {complete(stray)});
  join("reader", {wanted(stray)});
  fleet_.take_news();
  EXPECT_THAT(neighbours("reader"), ElementsAre("holder"));
  // The manifest comes afterwards, as when publishing.
  ManifestBlobs manifest;
  manifest.manifest = digest("late");
  manifest.blobs = {{stray, kSize}};
  fleet_.set_manifest(manifest);
  fleet_.take_news();
  EXPECT_THAT(neighbours("reader"), ElementsAre("holder"));
  fleet_.forget_manifest(manifest.manifest);
  fleet_.take_news();
  EXPECT_THAT(neighbours("reader"), ElementsAre("holder"));
}

TEST_F(FleetTest, DropsANodeThatMissedThreeHeartbeats) {
  join("seed", {complete(a_)});
  join("reader", {wanted(a_)});
  fleet_.take_news();
  now_ += seconds(6);
  send("reader", beat("reader"));
  EXPECT_THAT(fleet_.tick(now_), IsEmpty());
  now_ += milliseconds(1);
  auto died = fleet_.tick(now_);
  ASSERT_EQ(died.size(), 1u);
  EXPECT_EQ(died[0].node, "seed");
  EXPECT_THAT(fleet_.take_news(), ElementsAre("reader"));
  EXPECT_THAT(neighbours("reader"), IsEmpty());
  EXPECT_EQ(fleet_.live_nodes(), 1u);

  EXPECT_TRUE(send("seed", beat("seed")).resync);  // heard again
  EXPECT_EQ(fleet_.live_nodes(), 2u);
  auto request = beat("seed", true);
  request.blobs = {complete(a_)};
  send("seed", request);
  EXPECT_THAT(fleet_.take_news(), ElementsAre("reader"));
  EXPECT_THAT(neighbours("reader"), ElementsAre("seed"));
}

TEST_F(FleetTest, ForgetsANodeLongDead) {
  join("n", {complete(digest("stray"))});
  now_ += seconds(7);
  EXPECT_EQ(fleet_.tick(now_).size(), 1u);
  EXPECT_EQ(fleet_.list(now_).at(0).state, "dead");
  now_ += std::chrono::hours(1);
  fleet_.tick(now_);
  EXPECT_THAT(fleet_.list(now_), IsEmpty());
  EXPECT_EQ(fleet_.node("n"), nullptr);
}

TEST_F(FleetTest, ANewEpochStartsFromNothing) {
  join("seed", {complete(a_)});
  join("reader", {wanted(a_)});
  fleet_.take_news();
  register_node("seed", "2");
  fleet_.take_news();
  EXPECT_THAT(neighbours("reader"), IsEmpty());
  auto request = beat("seed", true);
  request.blobs = {complete(a_)};
  send("seed", request);
  EXPECT_THAT(fleet_.take_news(), ElementsAre("reader"));
  EXPECT_EQ(fleet_.neighbours("reader").at(0).epoch, "2");
}

TEST_F(FleetTest, ChecksANodeThatThreePeersCannotReach) {
  join("lost", {complete(a_)});
  for (const char* id : {"a", "b", "c", "d"}) join(id, {wanted(a_)});
  auto complaint = [&](const char* from, const char* epoch = "1") {
    auto request = beat(from);
    request.peers = {{"lost", epoch, api::PeerFault::kUnreachable, "refused"}};
    return send(from, request).suspects;
  };
  EXPECT_THAT(complaint("a"), IsEmpty());
  EXPECT_THAT(complaint("a"), IsEmpty());       // the same one does not count twice
  EXPECT_THAT(complaint("b", "0"), IsEmpty());  // about an earlier life
  EXPECT_THAT(complaint("b"), IsEmpty());
  now_ += seconds(11);
  beat_all({"lost"});
  EXPECT_THAT(complaint("c"), IsEmpty());  // the others are too long ago
  EXPECT_THAT(complaint("d"), IsEmpty());
  auto suspects = complaint("a");
  ASSERT_EQ(suspects.size(), 1u);
  EXPECT_EQ(suspects[0].address, "lost:6970");

  EXPECT_FALSE(fleet_.declare_dead("lost", "0", now_));
  EXPECT_FALSE(fleet_.declare_dead("lost", "1", now_ - seconds(1)));  // heard since it was asked
  EXPECT_TRUE(fleet_.declare_dead("lost", "1", now_));
  fleet_.take_news();
  EXPECT_THAT(neighbours("a"), ::testing::Not(::testing::Contains("lost")));
}

TEST_F(FleetTest, OnePeerIsEnoughWhereThereAreTwoNodes) {
  join("lost", {complete(a_)});
  join("reader", {wanted(a_)});
  auto request = beat("reader");
  request.peers = {{"lost", "1", api::PeerFault::kUnreachable, "refused"}};
  EXPECT_EQ(send("reader", request).suspects.size(), 1u);
}

TEST_F(FleetTest, ANodeThatGivesBadBytesToThreeIsNobodysNeighbour) {
  join("liar", {complete(a_)});
  for (const char* id : {"a", "b", "c"}) {
    join(id, {wanted(a_)});
    auto request = beat(id);
    request.peers = {{"liar", "1", api::PeerFault::kBadBytes, "piece 3"}};
    send(id, request);
  }
  fleet_.take_news();
  EXPECT_THAT(neighbours("a"), UnorderedElementsAre("b", "c"));
  auto request = beat("liar", true);
  request.blobs = {complete(a_)};
  send("liar", request);
  fleet_.take_news();
  EXPECT_THAT(neighbours("a"), UnorderedElementsAre("b", "c"));
  EXPECT_EQ(fleet_.list(now_).back().state, "distrusted");
  register_node("liar", "2");  // somebody looked after it
  request = beat("liar", true);
  request.blobs = {complete(a_)};
  send("liar", request);
  fleet_.take_news();
  EXPECT_THAT(neighbours("a"), ::testing::Contains("liar"));
}

TEST_F(FleetTest, RefusesAReportWhoseSizeIsNotTheManifests) {
  join("liar", {{.digest = a_, .size = 5, .pieces_have = 1, .state = api::BlobState::kComplete}});
  join("reader", {wanted(a_)});
  fleet_.take_news();
  EXPECT_THAT(neighbours("reader"), IsEmpty());
}

TEST_F(FleetTest, GrantsNoLeasesInItsFirstHeartbeat) {
  give_origin(a_);
  join("n", {wanted(a_)});
  EXPECT_EQ(ask("n", a_).reason, api::LeaseReason::kStarting);
  now_ += seconds(2);
  auto answer = ask("n", a_);
  EXPECT_EQ(answer.reason, api::LeaseReason::kGranted);
  EXPECT_THAT(answer.pieces, ::testing::Not(IsEmpty()));
}

TEST_F(FleetTest, NeverGrantsAPieceTwice) {
  give_origin(a_);
  now_ += seconds(2);
  const char* ids[] = {"n1", "n2", "n3"};
  for (const char* id : ids) join(id, {wanted(a_)});
  content::PieceSet seen(1024);
  for (int round = 0; round < 2000 && !seen.all(); ++round) {
    const char* id = ids[round % 3];
    for (const content::PieceRange& range : ask(id, a_).pieces) {
      EXPECT_EQ(seen.count(range), 0u) << range.first.value();
      seen.set_range(range);
      api::LeaseRequest done{.epoch = "1", .progress = {{a_, {range}}}};
      ASSERT_TRUE(fleet_.leases(id, done, now_));
    }
  }
  EXPECT_TRUE(seen.all());
  EXPECT_EQ(ask("n1", a_).reason, api::LeaseReason::kTaken);
}

TEST_F(FleetTest, LeasesOnlyToNodesThatCanReadTheOrigin) {
  now_ += seconds(2);
  give_origin(a_, {.kind = "dir", .url = "file:///m/a", .nodes = {"n1"}});
  give_origin(b_, {.kind = "http", .url = "http://o/b", .labels = {{"rack", "r2"}}});
  join("n1", {wanted(a_), wanted(b_)}, {.rack = "r1"});
  join("n2", {wanted(a_), wanted(b_)}, {.rack = "r2"});
  EXPECT_EQ(ask("n1", a_).reason, api::LeaseReason::kGranted);
  EXPECT_EQ(ask("n2", a_).reason, api::LeaseReason::kNoOrigin);
  EXPECT_EQ(ask("n1", b_).reason, api::LeaseReason::kNoOrigin);
  EXPECT_EQ(ask("n2", b_).reason, api::LeaseReason::kGranted);
  EXPECT_EQ(ask("n1", digest("unheard of")).reason, api::LeaseReason::kNoOrigin);
}

TEST_F(FleetTest, ALeaseWithoutBytesForFiveSecondsEnds) {
  give_origin(a_, {.kind = "http", .url = "http://o/a"});
  now_ += seconds(2);
  join("n1", {wanted(a_)});
  join("n2", {wanted(a_)});
  std::uint32_t held = 0;
  for (auto answer = ask("n1", a_); !answer.pieces.empty(); answer = ask("n1", a_)) {
    for (const auto& range : answer.pieces) held += range.count;
  }
  EXPECT_EQ(held, 1024u);
  EXPECT_EQ(ask("n2", a_).reason, api::LeaseReason::kTaken);
  for (int i = 0; i < 2; ++i) {
    now_ += seconds(3);
    beat_all({"n1", "n2"});
    ASSERT_TRUE(fleet_.leases("n1", {.epoch = "1", .progress = {{a_, {}}}}, now_));
    fleet_.tick(now_);
    EXPECT_EQ(ask("n2", a_).reason, api::LeaseReason::kTaken);
  }
  now_ += seconds(5) + milliseconds(1);
  beat_all({"n1", "n2"});
  fleet_.tick(now_);
  EXPECT_EQ(ask("n2", a_).reason, api::LeaseReason::kGranted);
}

TEST_F(FleetTest, LeasesSurviveARestartOfTheTrackerBecauseTheyAreSaidAgain) {
  give_origin(a_);
  register_node("n1");
  auto request = beat("n1", true);
  request.blobs = {wanted(a_)};
  request.leases = {{api::LeaseKind::kOrigin, a_, "\"v1\"", {pieces(0, 512)}}};
  EXPECT_THAT(send("n1", request).lost, IsEmpty());
  register_node("n2");
  request = beat("n2", true);
  request.blobs = {wanted(a_)};
  request.leases = {{api::LeaseKind::kOrigin, a_, "\"v1\"", {pieces(256, 512)}}};
  auto lost = send("n2", request).lost;
  ASSERT_EQ(lost.size(), 1u);
  EXPECT_THAT(lost[0].pieces, ElementsAre(pieces(256, 256)));

  register_node("n3");
  request = beat("n3", true);
  request.blobs = {wanted(a_)};
  request.leases = {{api::LeaseKind::kOrigin, a_, "\"v2\"", {pieces(900, 1)}}};
  EXPECT_EQ(send("n3", request).lost.size(), 1u);  // of an origin that was another one

  now_ += seconds(2);
  beat_all({"n1", "n2", "n3"});
  content::PieceSet granted(1024);
  for (auto answer = ask("n3", a_); !answer.pieces.empty(); answer = ask("n3", a_)) {
    EXPECT_EQ(answer.etag, "\"v1\"");
    for (const auto& range : answer.pieces) granted.set_range(range);
  }
  EXPECT_EQ(granted.count(pieces(0, 768)), 0u);
  EXPECT_EQ(granted.count(), 256u);
}

TEST_F(FleetTest, SaysThatTheOriginChangedUntilItIsPublishedAgain) {
  give_origin(a_, {.kind = "http", .url = "http://o/a", .etag = "\"v1\""});
  now_ += seconds(2);
  join("n1", {wanted(a_)});
  auto seen = [&](const char* etag) {
    api::LeaseRequest request{.epoch = "1", .seen = {{a_, etag}}};
    return fleet_.leases("n1", request, now_)->origin_changed;
  };
  EXPECT_THAT(seen("\"v1\""), IsEmpty());
  EXPECT_THAT(seen("\"v2\""), ElementsAre(a_));
  give_origin(a_, {.kind = "http", .url = "http://o/a", .etag = "\"v2\""});
  EXPECT_THAT(seen("\"v2\""), IsEmpty());
}

TEST_F(FleetTest, IgnoresPiecesBeyondABlobsEnd) {
  give_origin(a_);
  now_ += seconds(2);
  join("n1", {wanted(a_)});
  auto request = beat("n1");
  request.blobs = {{.digest = a_,
                    .size = kSize,
                    .pieces_have = 60'000,
                    .have = {pieces(1000, 100), pieces(65'535, 1)},
                    .wanted = true}};
  send("n1", request);
  api::LeaseRequest leases{.epoch = "1",
                           .progress = {{a_, {pieces(1024, 1), pieces(60'000, 9)}}},
                           .releases = {{api::LeaseKind::kRack, a_, {pieces(2000, 1)}}},
                           .asks = {{.blob = a_, .bytes = 1, .candidates = {pieces(1024, 5)}}}};
  auto response = fleet_.leases("n1", leases, now_);
  ASSERT_TRUE(response);
  EXPECT_THAT(response->answers[0].pieces, IsEmpty());
  api::HeldLease held{api::LeaseKind::kOrigin, a_, "", {pieces(1020, 100)}};
  request = beat("n1", true);
  request.blobs = {wanted(a_)};
  request.leases = {held};
  send("n1", request);
}

TEST_F(FleetTest, ShowsWhoHasHowMuchOfAManifest) {
  join("empty", {});
  join("half", {{.digest = a_, .size = kSize, .pieces_have = 512, .have = {pieces(0, 512)}}});
  join("whole", {complete(a_), complete(b_)});
  register_node("puller");
  auto request = beat("puller", true);
  request.blobs = {wanted(a_)};
  request.pulls = {{.id = "p",
                    .manifest = model_,
                    .state = api::PullState::kRunning,
                    .by_source = {.peers = 7},
                    .waiting_for = "a lease"}};
  send("puller", request);
  now_ += milliseconds(30);
  auto progress = fleet_.progress(model_, now_);
  ASSERT_EQ(progress.size(), 3u);
  EXPECT_EQ(progress[0].node, "half");
  EXPECT_EQ(progress[0].state, api::NodePhase::kPartial);
  EXPECT_EQ(progress[0].bytes_done, kSize / 2);
  EXPECT_EQ(progress[0].bytes_total, 2 * kSize);
  EXPECT_EQ(progress[0].last_heard_ms_ago, 30);
  EXPECT_EQ(progress[1].node, "puller");
  EXPECT_EQ(progress[1].state, api::NodePhase::kRunning);
  EXPECT_EQ(progress[1].waiting_for, "a lease");
  EXPECT_EQ(progress[2].node, "whole");
  EXPECT_EQ(progress[2].state, api::NodePhase::kComplete);
  EXPECT_THAT(fleet_.progress(digest("unknown"), now_), IsEmpty());
}

// Whatever nodes say and whenever they die: nobody is given itself, a dead node or one that has
// nothing to do with what it wants, and every reader has a way to a holder.
TEST_F(FleetTest, KeepsItsPromisesWhileNodesComeAndGo) {
  std::uint64_t seed = random_u64();
  if (const char* given = std::getenv("SHOAL_TEST_SEED")) seed = std::strtoull(given, nullptr, 10);
  SCOPED_TRACE("SHOAL_TEST_SEED=" + std::to_string(seed));
  SeededRandom random(seed);
  const content::Digest blobs[] = {a_, b_, digest("stray"), digest("stray2")};
  for (int step = 0; step < 3000; ++step) {
    now_ += milliseconds(random.below(100));
    std::string id = "n" + std::to_string(random.below(40));
    const Node* node = fleet_.node(id);
    switch (random.below(node && node->live ? 6 : 1)) {
      case 0:
        register_node(id, std::to_string(1 + random.below(3)),
                      {.zone = "z" + std::to_string(random.below(2)),
                       .rack = "r" + std::to_string(random.below(4))});
        [[fallthrough]];
      case 1:
      case 2: {
        auto request = beat(id, true);
        for (const content::Digest& blob : blobs) {
          if (random.below(2))
            request.blobs.push_back(random.below(2) ? complete(blob) : wanted(blob));
        }
        send(id, request);
        break;
      }
      case 3: {
        auto request = beat(id);
        request.removed = {blobs[random.below(4)]};
        request.blobs = {wanted(blobs[random.below(4)])};
        send(id, request);
        break;
      }
      case 4: {
        auto request = beat(id);
        request.peers = {
            {"n" + std::to_string(random.below(40)), "1",
             random.below(8) ? api::PeerFault::kUnreachable : api::PeerFault::kBadBytes, ""}};
        for (const auto& suspect : send(id, request).suspects) {
          if (random.below(2)) fleet_.declare_dead(suspect.node, suspect.epoch, now_);
        }
        break;
      }
      case 5:
        fleet_.tick(now_);
        break;
    }
    if (random.below(4)) continue;
    fleet_.take_news();
    ASSERT_FALSE(fleet_.has_news());
    fleet_.for_each_live([&](const Node& reader) {
      bool wants = false;
      for (const auto& [blob, part] : reader.blobs) wants |= part.wanted;
      auto list = fleet_.neighbours(reader.id);
      if (!wants) {
        EXPECT_THAT(list, IsEmpty());
      }
      std::set<content::Digest> reachable;
      for (const api::Neighbour& neighbour : list) {
        const Node* other = fleet_.node(neighbour.node);
        ASSERT_NE(other, nullptr);
        EXPECT_TRUE(other->in_fleet());
        EXPECT_EQ(other->epoch, neighbour.epoch);
        EXPECT_NE(neighbour.node, reader.id);
        EXPECT_FALSE(neighbour.holds.empty() && neighbour.wants.empty());
        reachable.insert(neighbour.holds.begin(), neighbour.holds.end());
        reachable.insert(neighbour.wants.begin(), neighbour.wants.end());
      }
      for (const auto& [blob, part] : reader.blobs) {
        if (!part.wanted) continue;
        bool held = false;
        fleet_.for_each_live([&](const Node& holder) {
          auto theirs = holder.blobs.find(blob);
          held |= holder.id != reader.id && holder.in_fleet() && theirs != holder.blobs.end() &&
                  theirs->second.serves();
        });
        if (!held || !reader.in_fleet()) continue;
        EXPECT_TRUE(std::any_of(std::begin(blobs), std::end(blobs), [&](const auto& digest) {
          return fleet_.blob_id(digest) == blob && reachable.contains(digest);
        }));
      }
    });
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace shoal::tracker
