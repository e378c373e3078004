#include "tracker/prefetch/prefetch_book.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace shoal::tracker {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

class PrefetchBookTest : public ::testing::Test {
 protected:
  using Candidate = PrefetchBook::Candidate;

  static Candidate node(const std::string& id, api::Topology topology = {},
                        api::Labels labels = {}) {
    return {id, topology, labels};
  }
  StoredPrefetch order(api::NodeSelector nodes, milliseconds timeout = milliseconds(0)) {
    return {.id = "p1",
            .manifest = model_,
            .request = {.reference = "m:1", .nodes = nodes, .pin = true, .timeout = timeout},
            .created_unix_ms = 7};
  }
  static api::NodeSelector all() { return {.all = true}; }
  static api::NodeSelector ids(std::vector<std::string> names) { return {.ids = names}; }

  void come(const std::string& id) { book_.node_came(node(id), now_); }
  void report(const std::string& id, api::PullState state, std::uint64_t done = 0,
              std::string prefetch = "p1") {
    api::PullReport pull{.id = prefetch,
                         .manifest = model_,
                         .state = state,
                         .bytes_total = 100,
                         .bytes_done = done,
                         .by_source = {.peers = done},
                         .rate = 5};
    if (state == api::PullState::kFailed) pull.error = Error(Errc::kNoSpace, "full");
    book_.report(id, {pull}, now_);
  }
  api::PrefetchStatus status(std::string id = "p1") { return *book_.status(id, now_); }
  api::NodePhase phase(const std::string& id) {
    for (const auto& progress : status().nodes) {
      if (progress.node == id) return progress.state;
    }
    ADD_FAILURE() << id << " is not selected";
    return {};
  }
  std::vector<std::string> orders_of(const std::string& id) {
    std::vector<std::string> out;
    for (const auto& told : book_.orders(id, now_).orders) out.push_back(told.id);
    return out;
  }

  swarm::Time now_{seconds(1000)};
  const content::Digest model_ = content::digest_of("model");
  PrefetchBook book_{{}};
};

TEST_F(PrefetchBookTest, SelectsByIdByLabelAndByPlace) {
  Candidate n = node("n1", {.zone = "z1", .rack = "r1"}, {{"pool", "a"}, {"zone", "mine"}});
  EXPECT_TRUE(PrefetchBook::selects(all(), n));
  EXPECT_TRUE(PrefetchBook::selects(ids({"n0", "n1"}), n));
  EXPECT_FALSE(PrefetchBook::selects(ids({"n0"}), n));
  EXPECT_TRUE(PrefetchBook::selects({.labels = {{"pool", "a"}, {"rack", "r1"}}}, n));
  EXPECT_FALSE(PrefetchBook::selects({.labels = {{"pool", "a"}, {"rack", "r2"}}}, n));
  EXPECT_TRUE(PrefetchBook::selects({.labels = {{"zone", "mine"}}}, n));
  EXPECT_FALSE(PrefetchBook::selects({.labels = {{"zone", "z1"}}}, n));  // its label says otherwise
  EXPECT_FALSE(PrefetchBook::selects({.labels = {{"gpu", "h100"}}}, n));
}

TEST_F(PrefetchBookTest, TellsTheSelectedNodesAndNobodyElse) {
  come("n1");
  come("n2");
  book_.take_changed_nodes();
  EXPECT_THAT(
      book_.add(order(ids({"n1", "away"}), seconds(60)), 100, {node("n1"), node("n2")}, now_),
      ElementsAre("away", "n1"));
  EXPECT_THAT(book_.take_changed_nodes(), ElementsAre("n1"));
  EXPECT_THAT(book_.take_changed_nodes(), IsEmpty());
  now_ += seconds(1);
  auto told = book_.orders("n1", now_);
  ASSERT_EQ(told.orders.size(), 1u);
  EXPECT_EQ(told.orders[0].reference, "m:1");
  EXPECT_EQ(told.orders[0].manifest, model_);
  EXPECT_TRUE(told.orders[0].pin);
  EXPECT_EQ(told.orders[0].remaining, seconds(59));
  EXPECT_THAT(orders_of("n2"), IsEmpty());
}

TEST_F(PrefetchBookTest, IsCompleteWhenEverySelectedNodeIs) {
  book_.add(order(all()), 100, {node("n1"), node("n2")}, now_);
  EXPECT_EQ(phase("n1"), api::NodePhase::kOrdered);
  report("n1", api::PullState::kRunning, 40);
  auto before = book_.version("p1");
  report("n2", api::PullState::kComplete, 100);
  EXPECT_GT(book_.version("p1"), before);
  EXPECT_EQ(status().state, api::PrefetchState::kRunning);
  EXPECT_EQ(status().totals.bytes_done, 140u);
  EXPECT_EQ(status().totals.bytes_total, 200u);
  EXPECT_EQ(status().totals.complete, 1u);
  EXPECT_EQ(status().totals.rate, 5u);
  EXPECT_THAT(orders_of("n2"), IsEmpty());
  EXPECT_THAT(book_.take_ended(), IsEmpty());
  report("n1", api::PullState::kComplete, 100);
  EXPECT_EQ(status().state, api::PrefetchState::kComplete);
  auto ended = book_.take_ended();
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_EQ(ended[0].state, api::PrefetchState::kComplete);
  EXPECT_EQ(book_.running(), 0u);
}

TEST_F(PrefetchBookTest, ANodeThatHasEndedSaysHowFastItWas) {
  book_.add(order(all()), 100, {node("n1"), node("n2")}, now_);
  now_ += seconds(4);
  report("n1", api::PullState::kComplete, 100);
  now_ += seconds(4);
  EXPECT_EQ(status().nodes[0].rate, 25u);
  EXPECT_EQ(status().totals.rate, 0u);
  report("n2", api::PullState::kRunning, 10);
  EXPECT_EQ(status().totals.rate, 5u);
}

TEST_F(PrefetchBookTest, FailsWhenANodeFailedAndNoneIsLeft) {
  book_.add(order(all()), 100, {node("n1"), node("n2")}, now_);
  report("n1", api::PullState::kFailed);
  EXPECT_EQ(status().state, api::PrefetchState::kRunning);
  report("n2", api::PullState::kComplete, 100);
  EXPECT_EQ(status().state, api::PrefetchState::kFailed);
  EXPECT_EQ(status().nodes[0].error->message(), "full");
  EXPECT_EQ(status().totals.failed, 1u);
  EXPECT_THAT(book_.orders("n1", now_).cancelled, IsEmpty());
}

TEST_F(PrefetchBookTest, IgnoresWhatItDidNotOrder) {
  book_.add(order(ids({"n1"})), 100, {node("n1")}, now_);
  report("stranger", api::PullState::kComplete, 100);
  report("n1", api::PullState::kComplete, 100, "somebody's own pull");
  EXPECT_EQ(status().state, api::PrefetchState::kRunning);
  EXPECT_EQ(status().nodes.size(), 1u);
}

TEST_F(PrefetchBookTest, AddsNodesThatJoinWhileItRuns) {
  book_.add(order({.labels = {{"rack", "r1"}}}), 100, {node("n1", {.rack = "r1"})}, now_);
  book_.node_came(node("n2", {.rack = "r2"}), now_);
  book_.node_came(node("n3", {.rack = "r1"}), now_);
  EXPECT_THAT(orders_of("n2"), IsEmpty());
  EXPECT_THAT(orders_of("n3"), ElementsAre("p1"));
  report("n1", api::PullState::kComplete, 100);
  EXPECT_EQ(status().state, api::PrefetchState::kRunning);
  report("n3", api::PullState::kComplete, 100);
  EXPECT_EQ(status().state, api::PrefetchState::kComplete);
  book_.node_came(node("n4", {.rack = "r1"}), now_);  // too late
  EXPECT_THAT(orders_of("n4"), IsEmpty());
}

TEST_F(PrefetchBookTest, WaitsAMinuteForANodeThatIsNotThere) {
  book_.add(order(all()), 100, {node("n1"), node("n2")}, now_);
  report("n1", api::PullState::kComplete, 100);
  report("n2", api::PullState::kRunning, 50);
  book_.node_left("n2", now_);
  EXPECT_EQ(phase("n2"), api::NodePhase::kAbsent);
  now_ += seconds(60);
  book_.tick(now_);
  EXPECT_EQ(status().state, api::PrefetchState::kRunning);
  now_ += milliseconds(1);
  book_.tick(now_);
  EXPECT_EQ(status().state, api::PrefetchState::kFailed);
  EXPECT_EQ(status().nodes[1].error->message(), "the node is not there, for 60 s");
}

TEST_F(PrefetchBookTest, GivesTheOrderAgainToANodeThatComesBack) {
  book_.add(order(ids({"n1", "n2"})), 100, {node("n1"), node("n2")}, now_);
  report("n1", api::PullState::kRunning, 50);
  book_.node_left("n1", now_);
  now_ += seconds(61);
  book_.tick(now_);
  EXPECT_EQ(phase("n1"), api::NodePhase::kFailed);  // given up, but n2 still runs
  come("n1");
  EXPECT_EQ(phase("n1"), api::NodePhase::kOrdered);
  EXPECT_THAT(orders_of("n1"), ElementsAre("p1"));
  report("n1", api::PullState::kComplete, 100);
  come("n1");  // restarted: what it has it has still
  EXPECT_EQ(phase("n1"), api::NodePhase::kComplete);
}

TEST_F(PrefetchBookTest, TimesOutAndCallsItsNodesOff) {
  book_.add(order(all(), seconds(5)), 100, {node("n1")}, now_);
  now_ += seconds(5) - milliseconds(1);
  book_.tick(now_);
  EXPECT_EQ(status().state, api::PrefetchState::kRunning);
  EXPECT_EQ(status().remaining, milliseconds(1));
  now_ += milliseconds(1);
  book_.take_changed_nodes();
  book_.tick(now_);
  EXPECT_EQ(status().state, api::PrefetchState::kTimedOut);
  EXPECT_THAT(book_.take_changed_nodes(), ElementsAre("n1"));
  EXPECT_THAT(orders_of("n1"), IsEmpty());
  EXPECT_THAT(book_.orders("n1", now_).cancelled, ElementsAre("p1"));
  now_ += std::chrono::hours(1);
  EXPECT_THAT(book_.orders("n1", now_).cancelled, IsEmpty());
}

TEST_F(PrefetchBookTest, IsCancelledOnce) {
  book_.add(order(all()), 100, {node("n1")}, now_);
  EXPECT_EQ(book_.cancel("p2", now_).error().code(), Errc::kNotFound);
  EXPECT_TRUE(book_.cancel("p1", now_));
  EXPECT_EQ(book_.cancel("p1", now_).error().code(), Errc::kConflict);
  EXPECT_EQ(book_.take_ended().at(0).state, api::PrefetchState::kCancelled);
  EXPECT_THAT(book_.orders("n1", now_).cancelled, ElementsAre("p1"));
  report("n1", api::PullState::kComplete, 100);
  EXPECT_EQ(status().state, api::PrefetchState::kCancelled);
}

TEST_F(PrefetchBookTest, IsNotOverBeforeNodesCouldComeBackAfterARestart) {
  book_.restore(order(all()), 100, std::nullopt, now_);
  book_.tick(now_);
  EXPECT_EQ(status().state, api::PrefetchState::kRunning);
  come("n1");
  report("n1", api::PullState::kComplete, 100);
  EXPECT_EQ(status().state, api::PrefetchState::kRunning);  // n2 may be on its way
  now_ += seconds(9);
  come("n2");
  now_ += seconds(2);
  book_.tick(now_);
  EXPECT_EQ(status().state, api::PrefetchState::kRunning);
  report("n2", api::PullState::kComplete, 100);
  EXPECT_EQ(status().state, api::PrefetchState::kComplete);
}

TEST_F(PrefetchBookTest, RestoresWhatIsLeftOfATimeOut) {
  book_.restore(order(all(), seconds(60)), 100, seconds(3), now_);
  EXPECT_EQ(status().remaining, seconds(3));
  now_ += seconds(3);
  book_.tick(now_);
  EXPECT_EQ(status().state, api::PrefetchState::kTimedOut);

  StoredPrefetch late = order(all(), seconds(60));
  late.id = "p2";
  book_.restore(late, 100, -seconds(100), now_);
  book_.tick(now_);
  EXPECT_EQ(status("p2").state, api::PrefetchState::kTimedOut);

  StoredPrefetch over = order(all());
  over.id = "p3";
  over.state = api::PrefetchState::kComplete;
  book_.restore(over, 100, std::nullopt, now_);
  EXPECT_EQ(status("p3").state, api::PrefetchState::kComplete);
  EXPECT_EQ(book_.running(), 0u);
}

TEST_F(PrefetchBookTest, ForgetsWhatEndedADayAgo) {
  book_.add(order(all()), 100, {node("n1")}, now_);
  ASSERT_TRUE(book_.cancel("p1", now_));
  now_ += std::chrono::hours(24);
  book_.tick(now_);
  EXPECT_TRUE(book_.status("p1", now_));
  now_ += milliseconds(1);
  book_.tick(now_);
  EXPECT_EQ(book_.status("p1", now_).error().code(), Errc::kNotFound);
  EXPECT_EQ(book_.version("p1"), 0u);
}

TEST_F(PrefetchBookTest, FollowsWhatItIsForToItsFinalManifest) {
  const content::Digest final = content::digest_of("final");
  come("n1");
  come("n2");
  book_.add(order(all()), 100, {node("n1"), node("n2")}, now_);
  StoredPrefetch other = order(all());
  other.id = "p2";
  other.manifest = content::digest_of("other");
  book_.add(other, 100, {node("n1")}, now_);
  report("n1", api::PullState::kRunning, 40);
  book_.take_changed_nodes();
  const std::uint64_t before = book_.version("p1");
  const std::uint64_t others = book_.version("p2");
  book_.manifest_settled(model_, final, 150);
  EXPECT_GT(book_.version("p1"), before);
  EXPECT_EQ(book_.version("p2"), others);
  EXPECT_THAT(book_.take_changed_nodes(), UnorderedElementsAre("n1", "n2"));
  EXPECT_EQ(status().manifest, final);
  EXPECT_EQ(book_.orders("n2", now_).orders.at(0).manifest, final);
  EXPECT_EQ(status("p2").manifest, other.manifest);
  EXPECT_EQ(status().nodes[0].bytes_done, 40u);    // what it said stays
  EXPECT_EQ(status().nodes[1].bytes_total, 150u);  // it has said nothing
  report("n1", api::PullState::kRunning, 60);      // names the manifest that was
  EXPECT_EQ(status().nodes[0].bytes_done, 60u);
  report("n1", api::PullState::kComplete, 150);
  report("n2", api::PullState::kComplete, 150);
  EXPECT_EQ(status().state, api::PrefetchState::kComplete);
  EXPECT_EQ(book_.take_ended().at(0).manifest, final);
  book_.manifest_settled(final, model_, 1);  // what has ended stays as it is
  EXPECT_EQ(status().manifest, final);
}

TEST_F(PrefetchBookTest, FailsWithWhatItIsFor) {
  book_.add(order(ids({"n1", "n2", "n3", "away"})), 100, {node("n1"), node("n2"), node("n3")},
            now_);
  report("n1", api::PullState::kRunning, 40);
  report("n2", api::PullState::kFailed);
  StoredPrefetch other = order(all());
  other.id = "p2";
  other.manifest = content::digest_of("other");
  book_.add(other, 100, {node("n1")}, now_);
  book_.take_changed_nodes();
  book_.manifest_failed(model_, Error(Errc::kUnavailable, "the publisher is gone"), now_);
  EXPECT_EQ(status().state, api::PrefetchState::kFailed);
  EXPECT_EQ(status().totals.failed, 4u);
  for (const auto& progress : status().nodes) {
    EXPECT_EQ(progress.state, api::NodePhase::kFailed) << progress.node;
    // A node's own failure is the one to know of.
    EXPECT_EQ(progress.error->message(), progress.node == "n2" ? "full" : "the publisher is gone");
    EXPECT_EQ(progress.waiting_for, "");
  }
  EXPECT_EQ(status().nodes[1].bytes_done, 40u);
  EXPECT_THAT(book_.take_changed_nodes(), UnorderedElementsAre("away", "n1", "n2", "n3"));
  EXPECT_THAT(orders_of("n1"), ElementsAre("p2"));
  EXPECT_THAT(book_.orders("n1", now_).cancelled, ElementsAre("p1"));
  EXPECT_EQ(book_.take_ended().at(0).state, api::PrefetchState::kFailed);
  EXPECT_EQ(status("p2").state, api::PrefetchState::kRunning);
}

TEST_F(PrefetchBookTest, ARestoredOrderEndsThoughItsNodesAreNotBack) {
  book_.restore(order(all()), 100, std::nullopt, now_);
  book_.manifest_failed(model_, Error(Errc::kUnavailable, "gone"), now_);
  EXPECT_EQ(status().state, api::PrefetchState::kFailed);
  EXPECT_EQ(book_.take_ended().size(), 1u);
}

TEST_F(PrefetchBookTest, TellsEverybodyOfARemovedManifestForAnHour) {
  come("n1");
  come("n2");
  book_.take_changed_nodes();
  book_.manifest_removed(model_, now_);
  EXPECT_THAT(book_.take_changed_nodes(), UnorderedElementsAre("n1", "n2"));
  EXPECT_THAT(book_.orders("n1", now_).removed, ElementsAre(model_));
  book_.manifest_named(model_);
  EXPECT_THAT(book_.take_changed_nodes(), UnorderedElementsAre("n1", "n2"));
  EXPECT_THAT(book_.orders("n1", now_).removed, IsEmpty());
  book_.manifest_removed(model_, now_);
  now_ += std::chrono::hours(1) + milliseconds(1);
  book_.tick(now_);
  EXPECT_THAT(book_.orders("n1", now_).removed, IsEmpty());
}

}  // namespace
}  // namespace shoal::tracker
