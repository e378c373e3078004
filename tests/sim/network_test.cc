#include "tests/sim/network.h"

#include <gtest/gtest.h>

#include <map>

namespace shoal::sim {
namespace {

// Bytes that arrived, by tag, after `seconds` in steps of 10 ms from `from` on.
std::map<std::uint64_t, std::uint64_t> run(Network& network, double from, double seconds) {
  std::map<std::uint64_t, std::uint64_t> done;
  for (int i = 0; i < static_cast<int>(seconds * 100 + 0.5); ++i) {
    for (const auto& delivery : network.advance(from + i * 0.01, 0.01)) {
      done[delivery.tag] = delivery.done;
    }
  }
  return done;
}

TEST(Network, ConnectionsShareALinkEqually) {
  Network network;
  LinkId link = network.add_link(1000);
  for (std::uint64_t tag : {1, 2}) network.request(network.connect({link}), tag, 10'000, 0);
  auto done = run(network, 0, 1);
  EXPECT_NEAR(static_cast<double>(done[1]), 500, 5);
  EXPECT_NEAR(static_cast<double>(done[2]), 500, 5);
}

TEST(Network, WhatOneCannotUseIsLeftToTheOthers) {
  Network network;
  LinkId shared = network.add_link(1000);
  LinkId narrow = network.add_link(100);
  network.request(network.connect({shared, narrow}), 1, 10'000, 0);
  network.request(network.connect({shared}), 2, 10'000, 0);
  auto done = run(network, 0, 1);
  EXPECT_NEAR(static_cast<double>(done[1]), 100, 2);
  EXPECT_NEAR(static_cast<double>(done[2]), 900, 10);
  EXPECT_LE(network.bytes_through(shared), 1000.001);
}

TEST(Network, RequestsOfAConnectionAreAnsweredInOrder) {
  Network network;
  ConnectionId connection = network.connect({network.add_link(1000)});
  network.request(connection, 1, 600, 0);
  network.request(connection, 2, 600, 0);
  auto done = run(network, 0, 1);
  EXPECT_EQ(done[1], 600u);
  EXPECT_NEAR(static_cast<double>(done[2]), 400, 2);
}

TEST(Network, NothingMovesBeforeTheRequestArrivesOrWhileBlocked) {
  Network network;
  ConnectionId connection = network.connect({network.add_link(1000)});
  network.request(connection, 1, 600, 0.5);
  EXPECT_TRUE(run(network, 0, 0.5).empty());
  network.block(connection, true);
  EXPECT_TRUE(run(network, 0.5, 0.5).empty());
  network.block(connection, false);
  EXPECT_EQ(run(network, 1, 1)[1], 600u);
}

TEST(Network, ACancelledRequestMakesRoomForTheNext) {
  Network network;
  ConnectionId connection = network.connect({network.add_link(1000)});
  network.request(connection, 1, 1'000'000, 0);
  network.request(connection, 2, 500, 0);
  network.cancel(connection, 1);
  EXPECT_EQ(run(network, 0, 1)[2], 500u);
}

}  // namespace
}  // namespace shoal::sim
