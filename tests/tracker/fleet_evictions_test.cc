// Which copies agents may give up.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/tracker/fleet_fixture.h"

namespace shoal::tracker {
namespace {

using api::EvictionReason;
using std::chrono::seconds;
using ::testing::ElementsAre;

class FleetEvictionsTest : public FleetTest {
 protected:
  FleetEvictionsTest() { now_ += seconds(6); }  // past the tracker's start

  std::vector<EvictionReason> ask(const std::string& id, std::vector<content::Digest> blobs,
                                  std::uint64_t bytes = 1 << 30, bool dry_run = false,
                                  std::uint64_t replicas = 2) {
    api::EvictionRequest request{
        .epoch = "1", .replicas = replicas, .bytes = bytes, .dry_run = dry_run};
    for (const content::Digest& blob : blobs) request.blobs.push_back({blob, kSize});
    auto response = fleet_.evictions(id, request, now_);
    EXPECT_TRUE(response) << response.error().str();
    std::vector<EvictionReason> reasons;
    for (const api::EvictionAnswer& answer : response->answers) reasons.push_back(answer.reason);
    return reasons;
  }
  void drop(const std::string& id, const content::Digest& blob) {
    auto request = beat(id);
    request.removed = {blob};
    send(id, request);
  }
};

TEST_F(FleetEvictionsTest, TheLastCopiesOfWhatNoOriginHasStay) {
  for (const char* id : {"n1", "n2", "n3"}) join(id, {complete(a_)});
  EXPECT_THAT(ask("n1", {a_}), ElementsAre(EvictionReason::kGranted));
  // n1 has not said yet that it has it no more.
  EXPECT_THAT(ask("n2", {a_}), ElementsAre(EvictionReason::kLastCopies));
  drop("n1", a_);
  EXPECT_THAT(ask("n2", {a_}), ElementsAre(EvictionReason::kLastCopies));
  join("n4", {complete(a_)});
  EXPECT_THAT(ask("n2", {a_}), ElementsAre(EvictionReason::kGranted));
}

TEST_F(FleetEvictionsTest, ADryRunGrantsNothing) {
  for (const char* id : {"n1", "n2", "n3"}) join(id, {complete(a_)});
  EXPECT_THAT(ask("n1", {a_}, kSize, true), ElementsAre(EvictionReason::kGranted));
  EXPECT_THAT(ask("n2", {a_}), ElementsAre(EvictionReason::kGranted));
}

TEST_F(FleetEvictionsTest, OnlyWhatIsNeededIsGranted) {
  for (const char* id : {"n1", "n2", "n3"}) join(id, {complete(a_), complete(b_)});
  EXPECT_THAT(ask("n1", {a_, b_}, kSize),
              ElementsAre(EvictionReason::kGranted, EvictionReason::kNotNeeded));
  EXPECT_THAT(ask("n2", {a_, b_}, kSize),
              ElementsAre(EvictionReason::kLastCopies, EvictionReason::kGranted));
}

TEST_F(FleetEvictionsTest, WhatAnOriginHasMayGo) {
  join("n1", {complete(a_)});
  EXPECT_THAT(ask("n1", {a_}), ElementsAre(EvictionReason::kLastCopies));
  give_origin(a_);
  EXPECT_THAT(ask("n1", {a_}), ElementsAre(EvictionReason::kGranted));
}

TEST_F(FleetEvictionsTest, AnOriginThatNobodyHereCanReadDoesNotCount) {
  join("n1", {complete(a_)});
  join("n2", {});
  give_origin(a_, {.kind = "dir", .url = "file:///x", .nodes = {"n9"}});
  EXPECT_THAT(ask("n1", {a_}), ElementsAre(EvictionReason::kLastCopies));
  join("n9", {});
  EXPECT_THAT(ask("n1", {a_}), ElementsAre(EvictionReason::kGranted));
  fleet_.declare_dead("n9", "1", now_ + seconds(1));
  EXPECT_THAT(ask("n1", {a_}), ElementsAre(EvictionReason::kLastCopies));
}

TEST_F(FleetEvictionsTest, AnOriginThatChangedDoesNotCount) {
  join("n1", {complete(a_)});
  give_origin(a_);
  for (const char* etag : {"\"v1\"", "\"v2\""}) {
    api::LeaseRequest seen{.epoch = "1"};
    seen.seen = {{a_, etag}};
    ASSERT_TRUE(fleet_.leases("n1", seen, now_));
  }
  EXPECT_THAT(ask("n1", {a_}), ElementsAre(EvictionReason::kLastCopies));
  give_origin(a_, {.kind = "http", .url = "http://o/new", .etag = "\"v3\""});
  EXPECT_THAT(ask("n1", {a_}), ElementsAre(EvictionReason::kGranted));
}

TEST_F(FleetEvictionsTest, WhatNoReferenceNamesAnyMoreMayGo) {
  join("n1", {complete(a_)});
  fleet_.set_named(model_, false);
  EXPECT_THAT(ask("n1", {a_}), ElementsAre(EvictionReason::kGranted));
  fleet_.set_named(model_, true);
  EXPECT_THAT(ask("n1", {a_}), ElementsAre(EvictionReason::kLastCopies));
  EXPECT_THAT(ask("n1", {digest("nobody's")}), ElementsAre(EvictionReason::kGranted));
}

TEST_F(FleetEvictionsTest, DeadAndDistrustedNodesHoldNoCopies) {
  for (const char* id : {"n1", "n2", "n3"}) join(id, {complete(a_)});
  fleet_.declare_dead("n3", "1", now_ + seconds(1));
  EXPECT_THAT(ask("n1", {a_}), ElementsAre(EvictionReason::kLastCopies));
}

TEST_F(FleetEvictionsTest, APartMayGoOnceSomebodyHasTheWhole) {
  join("n1", {{.digest = a_, .size = kSize, .pieces_have = 3, .have = {pieces(0, 3)}}});
  EXPECT_THAT(ask("n1", {a_}), ElementsAre(EvictionReason::kLastCopies));
  join("n2", {complete(a_)});
  EXPECT_THAT(ask("n1", {a_}), ElementsAre(EvictionReason::kGranted));
  EXPECT_THAT(ask("n2", {a_}), ElementsAre(EvictionReason::kLastCopies));
}

TEST_F(FleetEvictionsTest, WithoutReplicasEverythingMayGo) {
  join("n1", {complete(a_)});
  EXPECT_THAT(ask("n1", {a_}, 1, false, 0), ElementsAre(EvictionReason::kGranted));
}

TEST_F(FleetEvictionsTest, ATrackerThatJustStartedWaits) {
  Fleet young({}, "cd", now_, 1);
  ManifestBlobs manifest;
  manifest.manifest = model_;
  manifest.blobs = {{a_, kSize}};
  young.set_manifest(manifest);
  api::RegisterRequest request{.epoch = "1"};
  young.register_node("n1", request, "n1:6970", "", now_);
  api::EvictionRequest ask{.epoch = "1", .replicas = 2, .bytes = 1, .blobs = {{a_, kSize}}};
  EXPECT_EQ(young.evictions("n1", ask, now_)->answers[0].reason, EvictionReason::kStarting);
}

TEST_F(FleetEvictionsTest, AForeignEpochIsRefused) {
  join("n1", {});
  api::EvictionRequest request{.epoch = "2"};
  EXPECT_EQ(fleet_.evictions("n1", request, now_).error().code(), Errc::kConflict);
}

}  // namespace
}  // namespace shoal::tracker
