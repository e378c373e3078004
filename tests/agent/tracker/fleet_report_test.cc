#include "agent/tracker/fleet_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <map>
#include <string>

#include "core/api/message.h"
#include "core/base/random.h"

namespace shoal::agent {
namespace {

using api::BlobState;
using content::BlobLayout;
using content::Digest;
using content::PieceIndex;
using content::PieceRange;
using content::PieceSet;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

constexpr std::size_t kPlenty = 1 << 20;
constexpr std::uint32_t kRun = 64;  // pieces of 64 KiB in a run of 4 MiB

Digest blob(int number) { return content::digest_of("blob " + std::to_string(number)); }

BlobLayout layout_of(std::uint32_t pieces) { return BlobLayout(pieces * 64 * kKiB); }

PieceRange range(std::uint32_t first, std::uint32_t count) { return {PieceIndex(first), count}; }

PieceSet set_of(std::uint32_t size, PieceRange pieces) {
  PieceSet set(size);
  set.set_range(pieces);
  return set;
}

void add(FleetReport& report, const Digest& digest, std::uint32_t pieces) {
  report.blob_added(digest, layout_of(pieces), PieceSet(pieces), BlobState::kLive);
}

// Builds a message that reaches the tracker and is answered.
api::HeartbeatRequest tell(FleetReport& report) {
  api::HeartbeatRequest message = report.build(kPlenty);
  report.acknowledged(message.seq);
  return message;
}

TEST(FleetReport, FirstIsFullAndTheRestAreDifferences) {
  FleetReport report;
  add(report, blob(1), 2 * kRun);
  report.blob_added(blob(2), layout_of(3), PieceSet(3), BlobState::kComplete);

  api::HeartbeatRequest first = tell(report);
  EXPECT_TRUE(first.full);
  EXPECT_EQ(first.seq, 1u);
  EXPECT_THAT(first.blobs, SizeIs(2));

  api::HeartbeatRequest second = tell(report);
  EXPECT_FALSE(second.full);
  EXPECT_EQ(second.seq, 2u);
  EXPECT_THAT(second.blobs, IsEmpty());

  report.pieces_verified(blob(1), range(0, kRun));
  api::HeartbeatRequest third = tell(report);
  EXPECT_THAT(third.blobs, ElementsAre(api::BlobReport{.digest = blob(1),
                                                       .size = 2 * kRun * 64 * kKiB,
                                                       .pieces_have = kRun,
                                                       .have = {range(0, kRun)},
                                                       .state = BlobState::kLive,
                                                       .wanted = false}));
}

TEST(FleetReport, OnlyWholeRunsAreTold) {
  FleetReport report;
  add(report, blob(1), 3 * kRun + 5);
  tell(report);

  report.pieces_verified(blob(1), range(10, kRun + 60));  // the second run, and parts around it
  api::HeartbeatRequest message = tell(report);
  EXPECT_THAT(message.blobs.at(0).have, ElementsAre(range(kRun, kRun)));
  EXPECT_EQ(message.blobs[0].pieces_have, kRun + 60);

  report.pieces_verified(blob(1), range(0, 10));        // completes the first
  report.pieces_verified(blob(1), range(3 * kRun, 5));  // the short last one
  message = tell(report);
  EXPECT_THAT(message.blobs.at(0).have, ElementsAre(range(0, kRun), range(3 * kRun, 5)));
  EXPECT_EQ(message.blobs[0].pieces_have, kRun + 75);
}

TEST(FleetReport, AdjacentRunsAreOneStretch) {
  FleetReport report;
  add(report, blob(1), 10 * kRun);
  report.pieces_verified(blob(1), range(kRun, 3 * kRun));
  EXPECT_THAT(tell(report).blobs.at(0).have, ElementsAre(range(kRun, 3 * kRun)));
}

TEST(FleetReport, ACompleteBlobNeedsNoPieces) {
  FleetReport report;
  add(report, blob(1), 2 * kRun);
  tell(report);
  report.pieces_verified(blob(1), range(0, 2 * kRun));
  report.blob_state(blob(1), BlobState::kComplete);
  api::BlobReport told = tell(report).blobs.at(0);
  EXPECT_EQ(told.state, BlobState::kComplete);
  EXPECT_EQ(told.pieces_have, 2 * kRun);
  EXPECT_THAT(told.have, IsEmpty());

  report.pieces_verified(blob(1), range(0, 1));
  EXPECT_THAT(tell(report).blobs, IsEmpty());
}

TEST(FleetReport, AnEmptyBlobIsTold) {
  FleetReport report;
  report.blob_added(blob(1), BlobLayout(0), PieceSet(0), BlobState::kComplete);
  EXPECT_THAT(tell(report).blobs, SizeIs(1));
}

TEST(FleetReport, ALostAnswerRepeatsTheNumberWithNewerContents) {
  FleetReport report;
  tell(report);
  add(report, blob(1), 4 * kRun);
  report.pieces_verified(blob(1), range(0, kRun));
  api::HeartbeatRequest lost = report.build(kPlenty);
  report.pieces_verified(blob(1), range(2 * kRun, kRun));
  api::HeartbeatRequest again = report.build(kPlenty);
  EXPECT_EQ(again.seq, lost.seq);
  EXPECT_THAT(again.blobs.at(0).have, ElementsAre(range(0, kRun), range(2 * kRun, kRun)));
  report.acknowledged(again.seq);
  api::HeartbeatRequest next = report.build(kPlenty);
  EXPECT_EQ(next.seq, lost.seq + 1);
  EXPECT_THAT(next.blobs, IsEmpty());
}

TEST(FleetReport, WhatChangesBetweenMessageAndAnswerIsNotForgotten) {
  FleetReport report;
  add(report, blob(1), 4 * kRun);
  api::HeartbeatRequest message = report.build(kPlenty);
  report.pieces_verified(blob(1), range(0, kRun));
  report.blob_wanted(blob(1), 0, true);
  report.acknowledged(message.seq);
  api::BlobReport told = tell(report).blobs.at(0);
  EXPECT_THAT(told.have, ElementsAre(range(0, kRun)));
  EXPECT_TRUE(told.wanted);
}

TEST(FleetReport, AnswersToOtherMessagesAreIgnored) {
  FleetReport report;
  add(report, blob(1), 1);
  report.acknowledged(1);  // nothing was sent
  api::HeartbeatRequest message = report.build(kPlenty);
  report.acknowledged(message.seq + 1);
  report.acknowledged(message.seq - 1);
  EXPECT_TRUE(report.full());
  report.acknowledged(message.seq);
  report.acknowledged(message.seq);
  EXPECT_EQ(report.build(kPlenty).seq, message.seq + 1);
}

TEST(FleetReport, StartingOverTellsEverythingAgain) {
  FleetReport report;
  add(report, blob(1), 2 * kRun);
  report.pieces_verified(blob(1), range(0, kRun));
  report.blob_wanted(blob(2), 77, true);
  tell(report);
  report.blob_removed(blob(2));
  report.start_over();
  api::HeartbeatRequest message = report.build(kPlenty);
  EXPECT_TRUE(message.full);
  EXPECT_EQ(message.seq, 2u);
  EXPECT_THAT(message.blobs, SizeIs(2));
  EXPECT_TRUE(report.build(kPlenty).full) << "until it was acknowledged";
  report.acknowledged(message.seq);
  EXPECT_FALSE(report.build(kPlenty).full);
}

TEST(FleetReport, RemovalsAreToldUntilAcknowledged) {
  FleetReport report;
  add(report, blob(1), 1);
  tell(report);
  report.blob_removed(blob(1));
  EXPECT_THAT(report.build(kPlenty).removed, ElementsAre(blob(1)));
  EXPECT_THAT(tell(report).removed, ElementsAre(blob(1)));
  EXPECT_THAT(tell(report).removed, IsEmpty());
}

TEST(FleetReport, ABlobThatNobodyHeardOfIsNotRemoved) {
  FleetReport report;
  tell(report);
  add(report, blob(1), 1);
  report.blob_removed(blob(1));
  api::HeartbeatRequest message = tell(report);
  EXPECT_THAT(message.removed, IsEmpty());
  EXPECT_THAT(message.blobs, IsEmpty());
}

TEST(FleetReport, ABlobThatCameBackIsToldAfterItsRemovalWasHeard) {
  FleetReport report;
  report.blob_added(blob(1), layout_of(kRun), PieceSet::full(kRun), BlobState::kLive);
  tell(report);
  report.blob_removed(blob(1));
  add(report, blob(1), kRun);
  api::HeartbeatRequest first = tell(report);
  EXPECT_THAT(first.removed, ElementsAre(blob(1)));
  EXPECT_THAT(first.blobs, IsEmpty());
  EXPECT_TRUE(report.left_over());
  api::HeartbeatRequest second = tell(report);
  EXPECT_THAT(second.blobs, SizeIs(1));
  EXPECT_THAT(second.removed, IsEmpty());
  EXPECT_FALSE(report.left_over());
}

TEST(FleetReport, PiecesThatWereTakenBackAreToldAsARemoval) {
  FleetReport report;
  report.blob_added(blob(1), layout_of(2 * kRun), PieceSet::full(2 * kRun), BlobState::kLive);
  tell(report);
  report.blob_added(blob(1), layout_of(2 * kRun), set_of(2 * kRun, range(0, kRun)),
                    BlobState::kLive);
  EXPECT_THAT(tell(report).removed, ElementsAre(blob(1)));
  EXPECT_THAT(tell(report).blobs.at(0).have, ElementsAre(range(0, kRun)));
}

TEST(FleetReport, MorePiecesAreNoRemoval) {
  FleetReport report;
  report.blob_added(blob(1), layout_of(2 * kRun), set_of(2 * kRun, range(0, kRun)),
                    BlobState::kLive);
  tell(report);
  report.blob_added(blob(1), layout_of(2 * kRun), PieceSet::full(2 * kRun), BlobState::kLive);
  api::HeartbeatRequest message = tell(report);
  EXPECT_THAT(message.removed, IsEmpty());
  EXPECT_THAT(message.blobs.at(0).have, ElementsAre(range(0, 2 * kRun)));
}

TEST(FleetReport, ACompleteBlobThatIsNoMoreWholeIsToldAnew) {
  FleetReport report;
  report.blob_added(blob(1), layout_of(kRun), PieceSet::full(kRun), BlobState::kComplete);
  tell(report);
  add(report, blob(1), kRun);
  EXPECT_THAT(tell(report).removed, ElementsAre(blob(1)));
  EXPECT_EQ(tell(report).blobs.at(0).pieces_have, 0u);
}

TEST(FleetReport, AWantedBlobNeedsNoTable) {
  FleetReport report;
  tell(report);
  report.blob_wanted(blob(1), 12'345, true);
  EXPECT_THAT(tell(report).blobs, ElementsAre(api::BlobReport{.digest = blob(1),
                                                              .size = 12'345,
                                                              .pieces_have = 0,
                                                              .have = {},
                                                              .state = BlobState::kLive,
                                                              .wanted = true}));
  report.blob_added(blob(1), BlobLayout(12'345), PieceSet(1), BlobState::kLive);
  EXPECT_TRUE(tell(report).blobs.at(0).wanted);

  report.blob_removed(blob(1));
  EXPECT_THAT(tell(report).removed, ElementsAre(blob(1)));
  EXPECT_TRUE(tell(report).blobs.at(0).wanted) << "its pieces went, the wish did not";

  report.blob_wanted(blob(1), 12'345, false);
  api::HeartbeatRequest last = tell(report);
  EXPECT_THAT(last.removed, ElementsAre(blob(1))) << "neither here nor wanted";
  EXPECT_THAT(last.blobs, IsEmpty());
}

TEST(FleetReport, HurriesForWishesAndBadBytesOnly) {
  int hurries = 0;
  FleetReport report([&] { ++hurries; });
  add(report, blob(1), kRun);
  report.pieces_verified(blob(1), range(0, 1));
  report.blob_wanted(blob(2), 1, false);  // it was not
  report.peer_fault("b", "1", api::PeerFault::kUnreachable, "");
  report.pull({.id = "p"});
  EXPECT_EQ(hurries, 0);
  report.blob_wanted(blob(1), 0, true);
  report.blob_wanted(blob(1), 0, true);
  EXPECT_EQ(hurries, 1);
  report.blob_wanted(blob(1), 0, false);
  EXPECT_EQ(hurries, 2);
  report.peer_fault("b", "1", api::PeerFault::kBadBytes, "");
  EXPECT_EQ(hurries, 3);
}

TEST(FleetReport, ReportsOnUnknownBlobsAreIgnored) {
  FleetReport report;
  report.pieces_verified(blob(1), range(0, 1));
  report.blob_state(blob(1), BlobState::kFailed);
  report.blob_removed(blob(1));
  EXPECT_THAT(tell(report).blobs, IsEmpty());
}

TEST(FleetReport, PullsAreKeptUntilAcknowledgedTheNewestOfEach) {
  FleetReport report;
  report.pull({.id = "a", .state = api::PullState::kRunning});
  api::HeartbeatRequest lost = report.build(kPlenty);
  EXPECT_THAT(lost.pulls, SizeIs(1));
  report.pull({.id = "a", .state = api::PullState::kComplete});
  report.acknowledged(lost.seq);  // knows "running"
  api::HeartbeatRequest next = tell(report);
  ASSERT_THAT(next.pulls, SizeIs(1));
  EXPECT_EQ(next.pulls[0].state, api::PullState::kComplete);
  EXPECT_THAT(tell(report).pulls, IsEmpty());
}

TEST(FleetReport, PullsWithTooManyDetailsAreCut) {
  FleetReport report;
  api::PullReport pull{.id = "a"};
  pull.sources.resize(api::kMaxPullSources + 1);
  pull.waits.resize(api::kMaxPullNotes + 1);
  pull.last_errors.resize(api::kMaxPullNotes + 1);
  report.pull(pull);
  api::HeartbeatRequest message = tell(report);
  message.epoch = "1";
  EXPECT_TRUE(api::decode<api::HeartbeatRequest>(api::encode(message)).has_value());
}

TEST(FleetReport, PendingPullsAreBounded) {
  FleetReport report;
  for (std::size_t i = 0; i <= FleetReport::kMaxPendingPulls; ++i) {
    report.pull({.id = std::to_string(i)});
  }
  std::size_t told = 0;
  api::HeartbeatRequest message = tell(report);
  EXPECT_EQ(message.pulls.at(0).id, "1") << "the oldest was dropped";
  while (!message.pulls.empty()) {
    told += message.pulls.size();
    EXPECT_LE(message.pulls.size(), api::kMaxPullReports);
    message = tell(report);
  }
  EXPECT_EQ(told, FleetReport::kMaxPendingPulls);
}

TEST(FleetReport, PeerFaultsAreMergedAndBounded) {
  FleetReport report;
  report.peer_fault("b", "1", api::PeerFault::kUnreachable, "refused");
  report.peer_fault("b", "1", api::PeerFault::kUnreachable, "timed out");
  report.peer_fault("b", "2", api::PeerFault::kUnreachable, "refused");
  api::HeartbeatRequest message = report.build(kPlenty);
  report.peer_fault("c", "1", api::PeerFault::kBadBytes, "piece 3");
  report.acknowledged(message.seq);
  ASSERT_THAT(message.peers, SizeIs(2));
  EXPECT_EQ(message.peers[0].text, "timed out");
  EXPECT_THAT(tell(report).peers, SizeIs(1));

  for (std::size_t i = 0; i < 2 * api::kMaxPeerReports; ++i) {
    report.peer_fault("n" + std::to_string(i), "1", api::PeerFault::kUnreachable, "");
  }
  EXPECT_THAT(tell(report).peers, SizeIs(api::kMaxPeerReports));
  EXPECT_THAT(tell(report).peers, IsEmpty());
}

TEST(FleetReport, WhatDoesNotFitComesNext) {
  FleetReport report;
  constexpr int kBlobs = static_cast<int>(api::kMaxBlobReports) + 10;
  for (int i = 0; i < kBlobs; ++i) add(report, blob(i), 1);
  report.blob_wanted(blob(kBlobs - 1), 0, true);
  api::HeartbeatRequest first = report.build(1u << 30);
  EXPECT_TRUE(first.full);
  EXPECT_THAT(first.blobs, SizeIs(api::kMaxBlobReports));
  EXPECT_EQ(first.blobs[0].digest, blob(kBlobs - 1)) << "wanted ones come first";
  EXPECT_TRUE(report.left_over());
  report.acknowledged(first.seq);
  api::HeartbeatRequest second = report.build(1u << 30);
  EXPECT_FALSE(second.full);
  EXPECT_THAT(second.blobs, SizeIs(10));
  EXPECT_FALSE(report.left_over());
}

TEST(FleetReport, MessagesKeepToTheirBytesButAlwaysSaySomething) {
  FleetReport report;
  for (int i = 0; i < 1000; ++i) add(report, blob(i), 1);
  for (std::size_t budget : {std::size_t{0}, std::size_t{20'000}, std::size_t{100'000}}) {
    api::HeartbeatRequest message = report.build(budget);
    EXPECT_FALSE(message.blobs.empty());
    EXPECT_LE(api::encode(message).size(), budget + 1000);
    EXPECT_TRUE(report.left_over());
  }
}

// What the tracker makes of heartbeats: docs/formats/tracker-api.md.
struct ModelTracker {
  struct Known {
    std::uint64_t size = 0;
    std::uint32_t pieces_have = 0;
    BlobState state = BlobState::kLive;
    bool wanted = false;
    PieceSet have;
    friend bool operator==(const Known&, const Known&) = default;
  };

  void apply(const api::HeartbeatRequest& message) {
    ASSERT_TRUE(message.full || message.seq == seq || message.seq == seq + 1);
    seq = message.seq;
    if (message.full) blobs.clear();
    for (const api::BlobReport& report : message.blobs) {
      Known& known = blobs[report.digest];
      if (known.have.size() == 0) known.have = PieceSet(BlobLayout(report.size).piece_count());
      known.size = report.size;
      known.pieces_have = report.pieces_have;
      known.state = report.state;
      known.wanted = report.wanted;
      for (PieceRange pieces : report.have) known.have.set_range(pieces);
      if (report.state == BlobState::kComplete) known.have.set_range(range(0, known.have.size()));
    }
    for (const Digest& digest : message.removed) blobs.erase(digest);
  }

  std::uint64_t seq = 0;
  std::map<Digest, Known> blobs;
};

// The whole runs of `have`.
PieceSet whole_runs(const BlobLayout& layout, const PieceSet& have) {
  PieceSet runs(have.size());
  for (std::uint32_t run = 0; run < layout.run_count(); ++run) {
    PieceRange pieces = layout.pieces_of_run(content::RunIndex(run));
    if (have.contains(pieces)) runs.set_range(pieces);
  }
  return runs;
}

class Model {
 public:
  explicit Model(std::uint64_t seed) : random_(seed) {}

  void change() {
    const int number = static_cast<int>(random_.below(6));
    const Digest digest = blob(number);
    const BlobLayout layout = layout_of(static_cast<std::uint32_t>(number) * 50);
    const std::uint32_t count = layout.piece_count();
    auto found = truth_.find(digest);
    switch (random_.below(7)) {
      case 0: {
        PieceSet have = random_set(count);
        report.blob_added(digest, layout, have, BlobState::kLive);
        Truth& truth = truth_[digest];
        truth.added = true;
        truth.known.state = BlobState::kLive;
        truth.known.have = have;
        break;
      }
      case 1:
        report.blob_removed(digest);
        if (found == truth_.end()) break;
        found->second.added = false;
        found->second.known.state = BlobState::kLive;
        found->second.known.have = PieceSet(count);
        break;
      case 2: {
        const bool wanted = random_.below(2) == 0;
        report.blob_wanted(digest, layout.size(), wanted);
        truth_[digest].known.wanted = wanted;
        break;
      }
      case 3: {
        const auto state = static_cast<BlobState>(random_.below(4));
        report.blob_state(digest, state);
        if (found == truth_.end() || !found->second.added) break;
        if (state == BlobState::kComplete) found->second.known.have = PieceSet::full(count);
        found->second.known.state = state;
        break;
      }
      default: {
        if (count == 0) break;
        const auto first = static_cast<std::uint32_t>(random_.below(count));
        const auto length = static_cast<std::uint32_t>(1 + random_.below(count - first));
        report.pieces_verified(digest, range(first, length));
        if (found != truth_.end() && found->second.added) {
          found->second.known.have.set_range(range(first, length));
        }
      }
    }
  }

  std::map<Digest, ModelTracker::Known> truth() const {
    std::map<Digest, ModelTracker::Known> all;
    for (int number = 0; number < 6; ++number) {
      auto found = truth_.find(blob(number));
      if (found == truth_.end()) continue;
      const auto& [added, state] = found->second;
      if (!added && !state.wanted) continue;
      const BlobLayout layout = layout_of(static_cast<std::uint32_t>(number) * 50);
      ModelTracker::Known known = state;
      if (!added) known.have = PieceSet(layout.piece_count());
      known.size = layout.size();
      known.pieces_have = known.have.count();
      known.have = whole_runs(layout, known.have);
      all.emplace(blob(number), std::move(known));
    }
    return all;
  }

  FleetReport report;

 private:
  struct Truth {
    bool added = false;
    ModelTracker::Known known;
  };

  PieceSet random_set(std::uint32_t size) {
    PieceSet set(size);
    for (std::uint32_t i = 0; i < size; ++i) {
      if (random_.below(8) != 0) set.set(PieceIndex(i));
    }
    return set;
  }

  SeededRandom random_;
  std::map<Digest, Truth> truth_;
};

TEST(FleetReport, WhateverIsLostTheTrackerKnowsTheTruthInTheEnd) {
  const char* given = std::getenv("SHOAL_TEST_SEED");
  const std::uint64_t seed = given ? std::strtoull(given, nullptr, 10) : random_u64();
  std::cout << "SHOAL_TEST_SEED=" << seed << "\n";
  SeededRandom random(seed);
  for (int round = 0; round < 200; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    Model model(random.next());
    ModelTracker tracker;
    auto beat = [&](bool arrives, bool answered, std::size_t budget) {
      api::HeartbeatRequest message = model.report.build(budget);
      // What is here may change while the message travels.
      const bool late = random.below(3) == 0;
      if (late) model.change();
      if (arrives) tracker.apply(message);
      if (arrives && answered) model.report.acknowledged(message.seq);
    };
    for (int step = 0; step < 60; ++step) {
      for (std::uint64_t i = random.below(4); i > 0; --i) model.change();
      if (random.below(20) == 0) {
        tracker = ModelTracker();
        model.report.start_over();
      }
      beat(random.below(4) != 0, random.below(4) != 0, random.below(3) == 0 ? 0 : kPlenty);
      if (testing::Test::HasFatalFailure()) return;
    }
    for (int i = 0; i < 20; ++i) {
      api::HeartbeatRequest message = model.report.build(kPlenty);
      tracker.apply(message);
      model.report.acknowledged(message.seq);
    }
    ASSERT_EQ(tracker.blobs, model.truth());
    EXPECT_FALSE(model.report.left_over());
  }
}

}  // namespace
}  // namespace shoal::agent
