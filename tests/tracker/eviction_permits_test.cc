#include "tracker/fleet/eviction_permits.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <vector>

#include "core/base/random.h"
#include "tests/fakes/test_seed.h"

namespace shoal::tracker {
namespace {

using std::chrono::seconds;

constexpr swarm::Time kStart{seconds(1000)};
constexpr swarm::Time kLater = kStart + seconds(60);
const swarm::BlobId kBlob(7);

std::vector<swarm::NodeId> nodes(std::uint32_t count) {
  std::vector<swarm::NodeId> out;
  for (std::uint32_t i = 0; i < count; ++i) out.emplace_back(i);
  return out;
}

TEST(EvictionPermits, LeavesSoManyCopies) {
  EvictionPermits permits({}, kStart);
  EXPECT_TRUE(permits.may(swarm::NodeId(0), kBlob, nodes(3), 2, kLater));
  EXPECT_FALSE(permits.may(swarm::NodeId(0), kBlob, nodes(2), 2, kLater));
  // Whose own part is no copy takes none away.
  EXPECT_TRUE(permits.may(swarm::NodeId(9), kBlob, nodes(1), 1, kLater));
  EXPECT_FALSE(permits.may(swarm::NodeId(9), kBlob, {}, 1, kLater));
}

TEST(EvictionPermits, TwoAtTheSameTimeDoNotDropTheLastCopiesTogether) {
  EvictionPermits permits({}, kStart);
  ASSERT_TRUE(permits.may(swarm::NodeId(0), kBlob, nodes(3), 2, kLater));
  permits.grant(swarm::NodeId(0), kBlob, kLater);
  EXPECT_FALSE(permits.may(swarm::NodeId(1), kBlob, nodes(3), 2, kLater));
  EXPECT_TRUE(permits.may(swarm::NodeId(1), swarm::BlobId(8), nodes(3), 2, kLater));
  // Who has been allowed may be allowed again: its answer was lost.
  EXPECT_TRUE(permits.may(swarm::NodeId(0), kBlob, nodes(3), 2, kLater));
}

TEST(EvictionPermits, APermitThatWasNotUsedLapses) {
  EvictionPermits permits({.valid = seconds(5), .hold = seconds(30)}, kStart);
  permits.grant(swarm::NodeId(0), kBlob, kLater);
  EXPECT_FALSE(permits.may(swarm::NodeId(1), kBlob, nodes(3), 2, kLater + seconds(29)));
  EXPECT_TRUE(permits.may(swarm::NodeId(1), kBlob, nodes(3), 2, kLater + seconds(30)));
  EXPECT_EQ(permits.held(kBlob), 1u);
  permits.tick(kLater + seconds(30));
  EXPECT_EQ(permits.held(kBlob), 0u);
}

TEST(EvictionPermits, GrantsNothingWhilePermitsOfAnEarlierTrackerMayBeUsed) {
  EvictionPermits permits({.valid = seconds(5)}, kStart);
  EXPECT_TRUE(permits.starting(kStart + seconds(4)));
  EXPECT_FALSE(permits.starting(kStart + seconds(5)));
}

// Agents that ask, unlink late or never, tell late and fetch again: at no moment are fewer than
// `keep` copies left by evictions alone.
TEST(EvictionPermits, WhateverTheOrderTheCopiesStay) {
  SeededRandom random(fakes::test_seed());
  for (int round = 0; round < 200; ++round) {
    EvictionPermits permits({.valid = seconds(5), .hold = seconds(30)}, kStart);
    const std::size_t keep = 1 + random.below(3);
    const auto count = static_cast<std::uint32_t>(keep + random.below(5));
    std::set<swarm::NodeId> have;  // the truth
    std::set<swarm::NodeId> told;  // what the tracker knows
    for (swarm::NodeId node : nodes(count)) {
      have.insert(node);
      told.insert(node);
    }
    std::map<swarm::NodeId, swarm::Time> allowed;  // until when
    std::map<swarm::NodeId, swarm::Time> tell_at;
    swarm::Time now = kLater;
    for (int step = 0; step < 100; ++step) {
      now += std::chrono::milliseconds(random.below(3000));
      const swarm::NodeId node(static_cast<std::uint32_t>(random.below(count)));
      for (auto it = tell_at.begin(); it != tell_at.end();) {
        if (it->second > now) {
          ++it;
          continue;
        }
        told.erase(it->first);
        permits.dropped(it->first, kBlob);
        it = tell_at.erase(it);
      }
      if (auto it = allowed.find(node); it != allowed.end()) {
        if (now < it->second && have.erase(node) != 0) {
          tell_at[node] = now + std::chrono::milliseconds(random.below(8000));
        }
        allowed.erase(it);
      } else if (have.contains(node)) {
        const std::vector<swarm::NodeId> whole(told.begin(), told.end());
        if (permits.may(node, kBlob, whole, keep, now)) {
          permits.grant(node, kBlob, now);
          allowed[node] = now + seconds(5);
        }
      } else if (!tell_at.contains(node) && random.below(4) == 0) {
        have.insert(node);
        told.insert(node);
      }
      ASSERT_GE(have.size(), keep);
      permits.tick(now);
    }
  }
}

}  // namespace
}  // namespace shoal::tracker
