#include "core/swarm/peer_selection.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

namespace shoal::swarm {
namespace {

Topology rack(std::uint32_t number) {
  return {"r", "z" + std::to_string(number / 4), std::to_string(number), ""};
}

struct Fleet {
  PeerSelection selection;
  std::set<std::uint32_t> here;

  explicit Fleet(std::uint64_t seed) : selection({}, seed) {}
  void join(std::uint32_t node, std::uint32_t racks) {
    selection.join(NodeId(node), rack(node % racks), node_key("node-" + std::to_string(node)));
    here.insert(node);
  }
  void leave(std::uint32_t node) {
    selection.leave(NodeId(node));
    here.erase(node);
  }
  std::size_t reachable() const {
    if (here.empty()) return 0;
    std::set<std::uint32_t> seen = {*here.begin()};
    std::vector<std::uint32_t> open = {*here.begin()};
    while (!open.empty()) {
      std::uint32_t node = open.back();
      open.pop_back();
      for (const Neighbour& neighbour : selection.neighbours(NodeId(node))) {
        if (seen.insert(neighbour.node.value()).second) open.push_back(neighbour.node.value());
      }
    }
    return seen.size();
  }
};

TEST(PeerSelection, EveryNodeHasEightNearAndFourFarNeighbours) {
  Fleet fleet(1);
  for (std::uint32_t node = 0; node < 400; ++node) fleet.join(node, 20);
  std::size_t most = 0;
  for (std::uint32_t node = 0; node < 400; ++node) {
    std::size_t near = 0;
    std::size_t far = 0;
    Locality last = Locality::kHost;
    for (const Neighbour& neighbour : fleet.selection.neighbours(NodeId(node))) {
      EXPECT_GE(neighbour.locality, last) << "nearest first";
      last = neighbour.locality;
      ++(same_rack(neighbour.locality) ? near : far);
    }
    EXPECT_GE(near, 8u);
    EXPECT_GE(far, 4u);
    most = std::max(most, near + far);
  }
  EXPECT_LE(most, 2u * 12 + 3) << "nobody is everybody's neighbour";
}

TEST(PeerSelection, SmallFleetsAreFullyLinked) {
  Fleet fleet(1);
  for (std::uint32_t node = 0; node < 8; ++node) fleet.join(node, 3);
  for (std::uint32_t node = 0; node < 8; ++node) {
    EXPECT_EQ(fleet.selection.neighbours(NodeId(node)).size(), 7u);
  }
}

TEST(PeerSelection, ComingsAndGoingsLeaveNoIslandAndMutualLinks) {
  const char* text = std::getenv("SHOAL_TEST_SEED");
  std::uint64_t seed = text ? std::strtoull(text, nullptr, 10) : 5;
  SCOPED_TRACE("SHOAL_TEST_SEED=" + std::to_string(seed));
  SeededRandom random(seed);
  Fleet fleet(seed);
  for (int i = 0; i < 1500; ++i) {
    auto node = static_cast<std::uint32_t>(random.below(120));
    fleet.here.contains(node) ? fleet.leave(node) : fleet.join(node, 9);
    if (i % 10 != 0) continue;
    ASSERT_EQ(fleet.reachable(), fleet.here.size());
    for (std::uint32_t from : fleet.here) {
      for (const Neighbour& neighbour : fleet.selection.neighbours(NodeId(from))) {
        auto back = fleet.selection.neighbours(neighbour.node);
        ASSERT_TRUE(std::any_of(back.begin(), back.end(),
                                [&](const Neighbour& n) { return n.node == NodeId(from); }));
      }
    }
  }
}

TEST(PeerSelection, OneDepartureChangesFewNeighbours) {
  Fleet fleet(3);
  for (std::uint32_t node = 0; node < 300; ++node) fleet.join(node, 6);
  (void)fleet.selection.take_changed();
  fleet.leave(17);
  EXPECT_LE(fleet.selection.take_changed().size(), 60u);
  EXPECT_TRUE(fleet.selection.take_changed().empty());
}

TEST(PeerSelection, TheSameSeedChoosesAlike) {
  Fleet a(9);
  Fleet b(9);
  for (std::uint32_t node = 0; node < 100; ++node) a.join(node, 5), b.join(node, 5);
  for (std::uint32_t node = 0; node < 100; ++node) {
    EXPECT_EQ(a.selection.neighbours(NodeId(node)), b.selection.neighbours(NodeId(node)));
  }
}

TEST(Topology, EmptyPartsAreEqualAndHostsCountOnlyWhenKnown) {
  EXPECT_EQ(locality_between({}, {}), Locality::kRack);
  EXPECT_EQ(locality_between({"r", "z", "k", "h"}, {"r", "z", "k", "h"}), Locality::kHost);
  EXPECT_EQ(locality_between({"r", "z", "k", ""}, {"r", "z", "l", ""}), Locality::kZone);
  EXPECT_EQ(locality_between({"r", "y", "k", ""}, {"r", "z", "k", ""}), Locality::kRegion);
  EXPECT_EQ(locality_between({"q", "z", "k", ""}, {"r", "z", "k", ""}), Locality::kFar);
}

}  // namespace
}  // namespace shoal::swarm
