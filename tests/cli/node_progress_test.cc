#include "cli/node_progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace shoal::cli {
namespace {

using ::testing::ElementsAre;

TEST(Selector, IsAllOrIdsOrLabels) {
  EXPECT_TRUE(parse_selector({"all"})->all);
  EXPECT_THAT(parse_selector({"gpu-1", "gpu-2"})->ids, ElementsAre("gpu-1", "gpu-2"));
  EXPECT_EQ(parse_selector({"zone=z1", "gpu=h100"})->labels,
            (api::Labels{{"zone", "z1"}, {"gpu", "h100"}}));
  EXPECT_FALSE(parse_selector({}));
  EXPECT_FALSE(parse_selector({"gpu-1", "zone=z1"}));
  EXPECT_FALSE(parse_selector({"zone=a", "zone=b"}));
}

TEST(NodeProgress, EveryUnfinishedNodeHasAReason) {
  for (api::NodePhase phase :
       {api::NodePhase::kAbsent, api::NodePhase::kOrdered, api::NodePhase::kQueued,
        api::NodePhase::kRunning, api::NodePhase::kPartial, api::NodePhase::kFailed,
        api::NodePhase::kCancelled}) {
    api::NodeProgress node;
    node.state = phase;
    EXPECT_FALSE(reason_of(node).empty()) << phase_name(phase);
  }
}

TEST(NodeProgress, TheErrorCountsMoreThanTheWait) {
  api::NodeProgress node;
  node.state = api::NodePhase::kRunning;
  node.waiting_for = "a source of piece 3";
  EXPECT_EQ(reason_of(node), "waiting for a source of piece 3");
  node.waiting_for = "waiting for the disk";
  EXPECT_EQ(reason_of(node), "waiting for the disk");
  node.error = Error(Errc::kNoSpace, "disk full");
  EXPECT_EQ(reason_of(node), "disk full");
}

TEST(NodeProgress, AnAbsentNodeSaysSinceWhen) {
  api::NodeProgress node;
  EXPECT_EQ(reason_of(node), "the tracker has never heard of this node");
  node.last_heard_ms_ago = 65'000;
  EXPECT_EQ(reason_of(node), "not heard for 1m05s");
}

TEST(NodeProgress, PercentIsRoundedDown) {
  EXPECT_EQ(percent_of(999, 1000), "99%");
  EXPECT_EQ(percent_of(0, 0), "-");
}

TEST(NodeProgress, DrawsNodesAsBars) {
  api::NodeProgress node;
  node.node = "gpu-1";
  node.state = api::NodePhase::kRunning;
  node.bytes_total = 100;
  node.bytes_done = 50;
  node.by_source.peers = 30;
  node.rate = 10;
  api::ProgressTotals totals;
  totals.nodes = 1;
  totals.bytes_total = 100;
  totals.bytes_done = 50;
  ProgressView view = view_of("t", totals, {node});
  ASSERT_EQ(view.parts.size(), 1u);
  EXPECT_EQ(view.parts[0].label, "gpu-1");
  EXPECT_EQ(view.parts[0].state, Bar::State::kRunning);
  EXPECT_EQ(view.parts[0].peers, 30u);
  EXPECT_EQ(view.parts[0].eta, std::chrono::milliseconds(5000));
  EXPECT_EQ(view.parts[0].note, "");
  EXPECT_EQ(view.total.state, Bar::State::kRunning);
}

}  // namespace
}  // namespace shoal::cli
