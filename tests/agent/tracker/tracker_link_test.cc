#include "agent/tracker/tracker_link.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/async/run.h"
#include "tests/fakes/fake_tracker.h"

namespace shoal::agent {
namespace {

using api::BlobState;
using content::Digest;
using content::PieceIndex;
using content::PieceRange;
using content::PieceSet;
using fakes::FakeTracker;
using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using Call = FakeTracker::Call;
using Fault = FakeTracker::Fault;

const Digest some_blob = content::digest_of("a blob");

PieceRange range(std::uint32_t first, std::uint32_t count) { return {PieceIndex(first), count}; }

// Notes what it is told and wakes whoever waits for it.
class Recorder final : public TrackerLink::Listener {
 public:
  explicit Recorder(asio::io_context& io) : progress(io.get_executor()) {}

  void tracker_up(const std::string& epoch) override { note("up " + epoch); }
  void tracker_down(const Error& why) override {
    note("down " + std::string(errc_name(why.code())));
  }
  void orders(const api::EventsResponse::Orders& given) override {
    last_orders = given;
    note("orders");
  }
  void neighbours(const std::vector<api::Neighbour>& given) override {
    last_neighbours = given;
    note("neighbours");
  }
  void leases_lost(const std::vector<api::HeldLease>& given) override {
    lost = given;
    note("lost");
  }
  std::vector<api::HeldLease> held_leases() override { return held; }
  std::vector<api::PullReport> pull_reports(bool full) override {
    return std::exchange(full ? all_pulls : changed_pulls, {});
  }
  api::StoreUsage store_usage() override { return {.used = 1, .capacity = 2, .free = 3}; }

  void note(const std::string& what) {
    heard.push_back(what);
    progress.notify_all();
  }
  int count(const std::string& what) const {
    return static_cast<int>(std::count(heard.begin(), heard.end(), what));
  }

  Condition progress;
  std::vector<std::string> heard;
  std::optional<api::EventsResponse::Orders> last_orders;
  std::vector<api::Neighbour> last_neighbours;
  std::vector<api::HeldLease> held;
  std::vector<api::HeldLease> lost;
  std::vector<api::PullReport> all_pulls;
  std::vector<api::PullReport> changed_pulls;
};

Task<bool> eventually(Condition* progress, std::function<bool()> done) {
  const Deadline deadline = Deadline::after(std::chrono::seconds(30));
  while (!done()) {
    if (!co_await progress->wait(deadline)) co_return false;
  }
  co_return true;
}

class TrackerLinkTest : public testing::Test {
 protected:
  TrackerLinkTest() { start_tracker(0); }
  ~TrackerLinkTest() override {
    if (link_) run_to_end(io_, link_->stop());
    stop_tracker();
  }

  void start_tracker(std::uint16_t port) {
    tracker_ = std::make_unique<FakeTracker>(io_.get_executor(), port);
    const Status started = tracker_->start();
    ASSERT_TRUE(started) << started.error().str();
    url_ = tracker_->url();
  }
  void stop_tracker() {
    if (tracker_) run_to_end(io_, tracker_->stop());
    tracker_.reset();
  }

  TrackerLink::Options options() const {
    TrackerLink::Options options;
    options.tracker.url = url_;
    options.node = "gpu-17";
    options.epoch = "abc1";
    options.advertise = "10.0.0.17:6970";
    options.admin = ":6971";
    options.topology = {"eu", "a", "r1", "h1"};
    options.labels = {{"pool", "train"}};
    options.version = "1.2.3";
    options.store_capacity = 77;
    options.register_timeout = patience_;
    options.heartbeat_timeout = patience_;
    options.beat_coalescing = milliseconds(5);
    options.retry = {.first = milliseconds(2), .longest = milliseconds(10)};
    return options;
  }
  TrackerLink& link() {
    if (!link_) {
      link_ = std::make_unique<TrackerLink>(io_.get_executor(), options(), recorder_);
      link_->start();
    }
    return *link_;
  }

  // Waits for something the listener hears of.
  void hears(std::function<bool()> done) {
    ASSERT_TRUE(run_to_end(io_, eventually(&recorder_.progress, std::move(done))));
  }
  void hears(const std::string& what) {
    hears([this, what] { return recorder_.count(what) > 0; });
  }
  // Waits for something the tracker hears of.
  void tracker_hears(std::function<bool()> done) {
    const Status heard = run_to_end(
        io_, tracker_->until(std::move(done), Deadline::after(std::chrono::seconds(30))));
    ASSERT_TRUE(heard) << heard.error().str();
  }
  void tracker_hears_beats(std::size_t more) {
    const std::size_t target = tracker_->heartbeats.size() + more;
    tracker_hears([this, target] { return tracker_->heartbeats.size() >= target; });
  }
  void be_up() {
    link();
    hears("up " + tracker_->epoch);
  }

  asio::io_context io_;
  milliseconds patience_{20'000};  // with answers
  std::unique_ptr<FakeTracker> tracker_;
  http::Url url_;
  Recorder recorder_{io_};
  std::unique_ptr<TrackerLink> link_;
};

TEST_F(TrackerLinkTest, RegistersAndIsUpAfterAFullHeartbeat) {
  recorder_.held = {{.kind = api::LeaseKind::kRack, .blob = some_blob, .pieces = {range(1, 2)}}};
  recorder_.all_pulls = {{.id = "p1", .manifest = some_blob, .state = api::PullState::kRunning}};
  EXPECT_FALSE(link().connected());
  EXPECT_FALSE(link().error());
  link().report().blob_added(some_blob, content::BlobLayout(100), PieceSet(1), BlobState::kLive);
  be_up();

  ASSERT_THAT(tracker_->registrations, SizeIs(1));
  EXPECT_EQ(tracker_->registrations[0], (api::RegisterRequest{.epoch = "abc1",
                                                              .advertise = "10.0.0.17:6970",
                                                              .admin = ":6971",
                                                              .topology = {"eu", "a", "r1", "h1"},
                                                              .labels = {{"pool", "train"}},
                                                              .version = "1.2.3",
                                                              .store_capacity = 77}));
  ASSERT_FALSE(tracker_->heartbeats.empty());
  const api::HeartbeatRequest& first = tracker_->heartbeats[0];
  EXPECT_EQ(first.epoch, "abc1");
  EXPECT_EQ(first.seq, 1u);
  EXPECT_TRUE(first.full);
  EXPECT_THAT(first.blobs, SizeIs(1));
  EXPECT_EQ(first.leases, recorder_.held);
  EXPECT_THAT(first.pulls, SizeIs(1));
  EXPECT_EQ(first.store, (api::StoreUsage{.used = 1, .capacity = 2, .free = 3}));
  EXPECT_TRUE(link().connected());
  EXPECT_FALSE(link().error());
  EXPECT_EQ(link().tracker_epoch(), tracker_->epoch);
  EXPECT_EQ(link().lane_address(), "10.0.0.17:6970");
}

TEST_F(TrackerLinkTest, GoesOnBeatingWithDifferences) {
  recorder_.held = {{.blob = some_blob}};
  be_up();
  link().report().blob_added(some_blob, content::BlobLayout(100), PieceSet(1), BlobState::kLive);
  recorder_.changed_pulls = {{.id = "p1", .manifest = some_blob}};
  tracker_hears_beats(2);
  const api::HeartbeatRequest& second = tracker_->heartbeats[1];
  EXPECT_EQ(second.seq, 2u);
  EXPECT_FALSE(second.full);
  EXPECT_THAT(second.blobs, SizeIs(1));
  EXPECT_THAT(second.pulls, SizeIs(1));
  EXPECT_THAT(second.leases, IsEmpty()) << "only full ones say them again";
  EXPECT_EQ(tracker_->heartbeats[2].seq, 3u);
  EXPECT_THAT(tracker_->heartbeats[2].blobs, IsEmpty());
  EXPECT_THAT(tracker_->registrations, SizeIs(1));
}

TEST_F(TrackerLinkTest, WishesOfOneTurnAreOneHeartbeatAtOnce) {
  tracker_->heartbeat = milliseconds(60'000);
  be_up();
  for (int i = 0; i < 3; ++i) {
    link().report().blob_wanted(content::digest_of(std::to_string(i)), 1, true);
  }
  tracker_hears_beats(1);
  EXPECT_THAT(tracker_->heartbeats, SizeIs(2));
  EXPECT_THAT(tracker_->heartbeats[1].blobs, SizeIs(3));
}

TEST_F(TrackerLinkTest, WhatDoesNotFitFollowsAtOnce) {
  tracker_->heartbeat = milliseconds(60'000);
  for (std::size_t i = 0; i < api::kMaxBlobReports + 5; ++i) {
    link().report().blob_added(content::digest_of(std::to_string(i)), content::BlobLayout(1),
                               PieceSet(1), BlobState::kLive);
  }
  tracker_hears([&] { return tracker_->blobs.size() == api::kMaxBlobReports + 5; });
  EXPECT_GE(tracker_->heartbeats.size(), 2u);
}

TEST_F(TrackerLinkTest, DeliversOrdersAndNeighbours) {
  be_up();
  tracker_hears([&] { return !tracker_->polls.empty(); });
  EXPECT_EQ(tracker_->polls[0].at("since"), "0");
  EXPECT_EQ(tracker_->polls[0].at("epoch"), "abc1");
  api::EventsResponse::Orders orders;
  orders.orders = {{.id = "o1", .reference = "m:1", .manifest = some_blob}};
  orders.cancelled = {"o0"};
  tracker_->order(orders);
  hears("orders");
  EXPECT_EQ(recorder_.last_orders, orders);
  EXPECT_EQ(recorder_.count("neighbours"), 0);

  tracker_->introduce({{.node = "b", .epoch = "1", .address = "10.0.0.2:1", .holds = {some_blob}}});
  hears("neighbours");
  ASSERT_THAT(recorder_.last_neighbours, SizeIs(1));
  EXPECT_EQ(recorder_.count("orders"), 1) << "only what is new";
}

TEST_F(TrackerLinkTest, ARestartedTrackerIsToldEverythingAgain) {
  link().report().blob_added(some_blob, content::BlobLayout(100), PieceSet(1), BlobState::kLive);
  be_up();
  tracker_->order({});
  hears("orders");
  tracker_hears([&] { return tracker_->polls.size() >= 2; });
  tracker_->restart();
  hears("up " + tracker_->epoch);
  EXPECT_THAT(tracker_->registrations, SizeIs(2));
  EXPECT_THAT(tracker_->blobs, SizeIs(1));
  EXPECT_TRUE(tracker_->heartbeats.back().full);
  EXPECT_EQ(link().tracker_epoch(), tracker_->epoch);
  hears([&] { return recorder_.count("orders") == 2; });
  EXPECT_EQ(tracker_->polls.back().at("since"), "0");
}

TEST_F(TrackerLinkTest, AnswersOfAnotherTrackerLifeMeanRegisteringAgain) {
  be_up();
  const std::string before = tracker_->epoch;
  tracker_->epoch = "feed02";  // still knows us, but is another one
  hears("up feed02");
  EXPECT_THAT(tracker_->registrations, SizeIs(2));
}

TEST_F(TrackerLinkTest, ATrackerThatIsGoneIsReportedOnceAndComesBack) {
  be_up();
  const std::uint16_t port = url_.endpoint.tcp.port;
  stop_tracker();
  hears([&] { return recorder_.count("down unavailable") == 1; });
  EXPECT_FALSE(link().connected());
  ASSERT_TRUE(link().error());
  EXPECT_EQ(link().error()->code(), Errc::kUnavailable);

  start_tracker(port);
  tracker_->epoch = "feed77";
  hears("up feed77");
  EXPECT_TRUE(link().connected());
  EXPECT_FALSE(link().error());
  EXPECT_EQ(recorder_.count("down unavailable"), 1);
}

TEST_F(TrackerLinkTest, AFailureThatIsRepairedWithinAnIntervalIsNoAbsence) {
  tracker_->heartbeat = milliseconds(60'000);
  be_up();
  tracker_->misbehave(Call::kHeartbeat,
                      {.kind = Fault::Kind::kRefuse, .error = {Errc::kOverloaded, "busy"}}, 3);
  link().beat_now();
  tracker_hears_beats(1);
  EXPECT_EQ(tracker_->calls[Call::kHeartbeat], 5);
  EXPECT_THAT(recorder_.heard, ElementsAre("up " + tracker_->epoch));
  EXPECT_THAT(tracker_->registrations, SizeIs(1));
}

TEST_F(TrackerLinkTest, ARefusedIdIsShownAndTriedAgain) {
  const std::string words = "another live agent has this id: 10.0.0.9:6970";
  tracker_->misbehave(Call::kRegister,
                      {.kind = Fault::Kind::kRefuse, .error = {Errc::kConflict, words}}, 1000);
  link();
  tracker_hears([&] { return tracker_->calls[Call::kRegister] >= 3; });
  ASSERT_TRUE(link().error());
  EXPECT_EQ(link().error()->code(), Errc::kConflict);
  EXPECT_THAT(link().error()->message(), HasSubstr(words));
  EXPECT_FALSE(link().connected());
  EXPECT_THAT(recorder_.heard, IsEmpty());
  tracker_->behave();
  be_up();
  EXPECT_FALSE(link().error());
}

TEST_F(TrackerLinkTest, ALostHeartbeatAnswerRepeatsItsNumber) {
  tracker_->heartbeat = milliseconds(60'000);
  be_up();
  tracker_->misbehave(Call::kHeartbeat, {.kind = Fault::Kind::kLoseAnswer});
  link().report().blob_wanted(some_blob, 10, true);
  tracker_hears_beats(2);
  link().beat_now();
  tracker_hears_beats(1);
  const auto& beats = tracker_->heartbeats;
  ASSERT_THAT(beats, SizeIs(4));
  EXPECT_EQ(beats[1].seq, 2u);
  EXPECT_EQ(beats[2].seq, 2u);
  EXPECT_EQ(beats[2].blobs, beats[1].blobs);
  EXPECT_EQ(beats[3].seq, 3u);
  EXPECT_THAT(beats[3].blobs, IsEmpty());
  EXPECT_THAT(tracker_->registrations, SizeIs(1));
}

TEST_F(TrackerLinkTest, GarbageIsAFailureAndIsSurvived) {
  const std::vector<std::string> garbage = {"",
                                            "not json",
                                            "[]",
                                            "{}",
                                            R"({"tracker_epoch":7})",
                                            R"({"tracker_epoch":"feed01","version":-1})"};
  for (const std::string& text : garbage) {
    for (Call call : {Call::kRegister, Call::kHeartbeat, Call::kEvents}) {
      tracker_->misbehave(call, {.kind = Fault::Kind::kAnswer, .text = text});
    }
  }
  tracker_->order({});
  link();
  hears([&] { return recorder_.count("orders") > 0; });
  EXPECT_TRUE(link().connected());
  EXPECT_GT(tracker_->calls[Call::kRegister], 4);
}

TEST_F(TrackerLinkTest, AnswersThatNeverComeAreTimedOut) {
  patience_ = milliseconds(100);
  tracker_->misbehave(Call::kRegister, {.kind = Fault::Kind::kHang});
  be_up();
  EXPECT_GE(tracker_->calls[Call::kRegister], 2);
  const std::size_t registrations = tracker_->registrations.size();
  tracker_->misbehave(Call::kHeartbeat, {.kind = Fault::Kind::kHang}, 3);
  hears("down timed_out");
  hears([&] { return recorder_.count("up " + tracker_->epoch) == 2; });
  EXPECT_THAT(tracker_->registrations, SizeIs(registrations)) << "it still knew us";
}

TEST_F(TrackerLinkTest, ResyncIsAnsweredByAFullHeartbeatAtOnce) {
  tracker_->heartbeat = milliseconds(60'000);
  link().report().blob_added(some_blob, content::BlobLayout(100), PieceSet(1), BlobState::kLive);
  be_up();
  tracker_->resync_once();
  link().beat_now();
  tracker_hears_beats(2);
  const auto& beats = tracker_->heartbeats;
  EXPECT_FALSE(beats[1].full);
  EXPECT_TRUE(beats[2].full);
  EXPECT_EQ(beats[2].seq, beats[1].seq + 1);
  EXPECT_THAT(beats[2].blobs, SizeIs(1));
}

TEST_F(TrackerLinkTest, LostLeasesArePassedOn) {
  const std::vector<api::HeldLease> lost = {{.blob = some_blob, .pieces = {range(0, 4)}}};
  tracker_->lose_leases_once(lost);
  be_up();
  hears("lost");
  EXPECT_EQ(recorder_.lost, lost);
}

Task<Status> ask_leases(TrackerLink* link, api::LeaseRequest request, Deadline deadline,
                        std::optional<Result<api::LeaseResponse>>* out) {
  out->emplace(co_await link->leases(std::move(request), deadline));
  co_return Status();
}

class TrackerLeases : public TrackerLinkTest {
 protected:
  TrackerLeases() {
    request_.asks = {{.blob = some_blob, .bytes = 5, .candidates = {range(3, 2)}}};
  }

  Result<api::LeaseResponse> ask(milliseconds within = std::chrono::seconds(30)) {
    return run_to_end(io_, link().leases(request_, Deadline::after(within)));
  }

  api::LeaseRequest request_;
};

TEST_F(TrackerLeases, AreAskedUnderOurEpoch) {
  be_up();
  Result<api::LeaseResponse> answer = ask();
  ASSERT_TRUE(answer) << answer.error().str();
  EXPECT_THAT(answer->answers.at(0).pieces, ElementsAre(range(3, 2)));
  EXPECT_EQ(tracker_->lease_requests.at(0).epoch, "abc1");
}

TEST_F(TrackerLeases, CannotBeAskedBeforeTheTrackerKnowsUs) {
  EXPECT_EQ(ask().error().code(), Errc::kUnavailable);
  EXPECT_EQ(tracker_->calls[Call::kLeases], 0);
}

TEST_F(TrackerLeases, AnUnknownRegistrationIsRepeated) {
  tracker_->heartbeat = milliseconds(60'000);
  be_up();
  for (Errc code : {Errc::kNotFound, Errc::kConflict}) {
    tracker_->misbehave(Call::kLeases, {.kind = Fault::Kind::kRefuse, .error = {code, "who?"}});
    Result<api::LeaseResponse> answer = ask();
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code(), Errc::kUnavailable);
    const int ups = recorder_.count("up " + tracker_->epoch);
    hears([&] { return recorder_.count("up " + tracker_->epoch) > ups; });
    EXPECT_TRUE(ask());
  }
  EXPECT_THAT(tracker_->registrations, SizeIs(3));
}

TEST_F(TrackerLeases, OtherErrorsAreTheCallersAlone) {
  be_up();
  tracker_->misbehave(Call::kLeases,
                      {.kind = Fault::Kind::kRefuse, .error = {Errc::kOverloaded, "busy"}});
  EXPECT_EQ(ask().error().code(), Errc::kOverloaded);
  EXPECT_TRUE(link().connected());
  EXPECT_THAT(tracker_->registrations, SizeIs(1));
}

TEST_F(TrackerLeases, EveryAskNeedsItsAnswer) {
  be_up();
  tracker_->misbehave(Call::kLeases, {.kind = Fault::Kind::kAnswer,
                                      .text = R"({"tracker_epoch":"feed01","answers":[]})"});
  EXPECT_EQ(ask().error().code(), Errc::kCorrupt);
}

TEST_F(TrackerLeases, EndAtTheirDeadline) {
  be_up();
  tracker_->misbehave(Call::kLeases, {.kind = Fault::Kind::kHang});
  EXPECT_EQ(ask(milliseconds(20)).error().code(), Errc::kTimedOut);
  EXPECT_TRUE(ask()) << "a slow one does not hold up the next";
}

TEST_F(TrackerLeases, StopEndsThemAndEverythingElse) {
  be_up();
  tracker_->misbehave(Call::kLeases, {.kind = Fault::Kind::kHang});
  tracker_->misbehave(Call::kHeartbeat, {.kind = Fault::Kind::kHang}, 100);
  TaskGroup group(io_.get_executor(), "test");
  std::optional<Result<api::LeaseResponse>> answer;
  group.spawn("leases", ask_leases(&link(), request_, Deadline::never(), &answer));
  tracker_hears([&] {
    return tracker_->calls[Call::kLeases] == 1 && tracker_->calls[Call::kHeartbeat] >= 2;
  });
  run_to_end(io_, link().stop());
  run_to_end(io_, group.join());
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->error().code(), Errc::kCancelled);
  EXPECT_FALSE(link().connected());
  EXPECT_EQ(ask().error().code(), Errc::kCancelled);
  run_to_end(io_, link().stop());
}

TEST_F(TrackerLinkTest, StopsWhileRegistering) {
  tracker_->misbehave(Call::kRegister, {.kind = Fault::Kind::kHang}, 100);
  link();
  tracker_hears([&] { return tracker_->calls[Call::kRegister] == 1; });
  run_to_end(io_, link().stop());
  EXPECT_THAT(recorder_.heard, IsEmpty());
}

TEST_F(TrackerLinkTest, StopsWithoutHavingBeenStarted) {
  TrackerLink idle(io_.get_executor(), options(), recorder_);
  run_to_end(io_, idle.stop());
}

}  // namespace
}  // namespace shoal::agent
