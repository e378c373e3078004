// Small fleets with every kind of fault, over the code that ships.
#include "tests/sim/simulation.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "core/base/units.h"

namespace shoal::sim {
namespace {

// SHOAL_TEST_SEED repeats a failed run; otherwise the seeds are fixed.
std::uint64_t seed_or(std::uint64_t fallback) {
  const char* text = std::getenv("SHOAL_TEST_SEED");
  return text ? std::strtoull(text, nullptr, 10) : fallback;
}

Scenario sixteen_nodes(std::uint64_t seed) {
  Scenario s;
  s.agents = 16;
  s.size = 64 * kMiB;
  s.origin_rate = s.node_rate = 25e6;
  s.step = 0.004;
  s.seed = seed_or(seed);
  return s;
}

// A scale model of a large fleet: the origin slower than the nodes, racks with uplinks.
Scenario racks(std::uint64_t seed) {
  Scenario s;
  s.agents = 24;
  s.racks = 3;
  s.size = 300 * kMiB;
  s.files = 3;
  s.origin_rate = 100e6;
  s.node_rate = 250e6;
  s.rack_rate = 1e9;
  s.step = 0.008;
  s.have_interval = 0.04;
  s.seed = seed_or(seed);
  return s;
}

// What must hold whatever happens.
void expect_sound(const Scenario& s, const Report& r) {
  SCOPED_TRACE("seed " + std::to_string(s.seed));
  EXPECT_EQ(r.unfinished, 0u) << r.first_unfinished;
  auto delivered = static_cast<double>(r.sum.bytes_peers + r.sum.bytes_origin);
  EXPECT_LE(static_cast<double>(r.sum.bytes_duplicate), 0.05 * delivered);
  EXPECT_LE(static_cast<double>(r.sum.hedges),
            0.05 * static_cast<double>(r.sum.requests) + 2 * static_cast<double>(s.agents));
  EXPECT_EQ(r.banned_honest, 0u);
}

TEST(SixteenNodes, AllFinishNearTheIdealAndTheOriginIsReadOnce) {
  for (std::uint64_t seed : {1, 2, 3}) {
    Scenario s = sixteen_nodes(seed);
    s.size = 128 * kMiB;
    Report r = simulate(s);
    expect_sound(s, r);
    EXPECT_LE(r.slowest(), 1.15);
    EXPECT_LE(r.origin_ratio, 1.05);
    EXPECT_EQ(r.sum.stalls, 0u);
  }
}

TEST(SixteenNodes, TheSameSeedGivesTheSameRun) {
  Report first = simulate(sixteen_nodes(7));
  Report second = simulate(sixteen_nodes(7));
  EXPECT_EQ(first.vs_ideal, second.vs_ideal);
  EXPECT_EQ(first.sum.requests, second.sum.requests);
}

TEST(SixteenNodes, KilledNodesDoNotHoldUpTheRest) {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    for (bool close : {true, false}) {
      Scenario s = sixteen_nodes(seed);
      s.size = 256 * kMiB;
      s.dead_share = 0.25;
      s.dead_at = 5.4;
      s.dead_close = close;
      Report r = simulate(s);
      expect_sound(s, r);
      EXPECT_EQ(r.vs_ideal.size(), 12u);
      // What only they had is read again when the tracker knows: at once, or, of machines that fall
      // silent, after five missed heartbeats of two seconds.
      EXPECT_LE(r.slowest(), close ? 1.2 : (s.dead_at + 10 + 0.6) / r.ideal);
      EXPECT_LE(r.origin_ratio, 1.05);
    }
  }
}

TEST(SixteenNodes, WithoutATrackerTheOriginIsReadByRank) {
  Scenario s = sixteen_nodes(1);
  s.size = 256 * kMiB;
  s.tracker_lost_at = 0.2;
  Report r = simulate(s);
  expect_sound(s, r);
  EXPECT_LE(r.slowest(), 1.3);
  EXPECT_LE(r.origin_ratio, 1.3);
}

TEST(SixteenNodes, LateJoinersFetchFromTheirPeers) {
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    Scenario s = sixteen_nodes(seed);
    s.size = 256 * kMiB;
    s.join_over = 10;
    Report r = simulate(s);
    expect_sound(s, r);
    EXPECT_LE(r.slowest(), 1.12) << "seed " << seed;
    EXPECT_LE(r.origin_ratio, 1.05);
  }
}

TEST(SixteenNodes, LyingPeersAreBannedAndNobodyElse) {
  Scenario s = sixteen_nodes(1);
  s.liar_share = 0.125;
  Report r = simulate(s);
  expect_sound(s, r);
  EXPECT_GE(r.banned_liars, 14u);
  EXPECT_LE(r.origin_ratio, 1.3);
}

TEST(SixteenNodes, ASlowNodeSlowsNobodyElse) {
  Scenario s = sixteen_nodes(1);
  s.size = 256 * kMiB;
  s.slow_share = 0.0625;
  Report r = simulate(s);
  expect_sound(s, r);
  ASSERT_EQ(r.vs_ideal_healthy.size(), 15u);
  EXPECT_LE(r.vs_ideal_healthy.back(), 1.3);
}

// It is given leases as anybody before it has shown what it can do.
TEST(SixteenNodes, ASlowNodeDoesNotHoldUpAShortDownload) {
  for (std::uint64_t seed : {1, 2, 3}) {
    Scenario s = sixteen_nodes(seed);
    s.slow_share = 0.0625;
    Report r = simulate(s);
    expect_sound(s, r);
    EXPECT_LE(r.slowest(), 1.35);
    EXPECT_LE(r.origin_ratio, 1.05);
  }
}

TEST(SixteenNodes, BothSidesFinishAfterAPartitionHeals) {
  for (double until : {4.0, 15.0}) {  // shorter and longer than it takes to give a peer up
    Scenario s = sixteen_nodes(1);
    s.partition_from = 1;
    s.partition_until = until;
    expect_sound(s, simulate(s));
  }
}

TEST(Racks, EachRackImportsAboutOnce) {
  Scenario s = racks(1);
  Report r = simulate(s);
  expect_sound(s, r);
  EXPECT_LE(r.slowest(), 1.15);
  EXPECT_LE(r.origin_ratio, 1.02);
  EXPECT_LE(r.cross_rack_ratio, 1.3);
}

TEST(Racks, StreamingReadersKeepUpWithTheOrigin) {
  Scenario s = racks(2);
  s.streaming = true;
  Report r = simulate(s);
  expect_sound(s, r);
  EXPECT_LE(r.slowest(), 1.15);
  EXPECT_LE(r.first_percent_lag, 3.0);
  EXPECT_LE(r.origin_ratio, 1.02);
}

TEST(Racks, AllFaultsAtOnce) {
  for (std::uint64_t seed : {3}) {
    Scenario s = racks(seed);
    s.dead_share = 0.05;
    s.slow_share = 0.05;
    s.liar_share = 0.05;
    s.join_over = 2;
    s.partition_from = 3;
    s.partition_until = 5;
    expect_sound(s, simulate(s));
  }
}

}  // namespace
}  // namespace shoal::sim
