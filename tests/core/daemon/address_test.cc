#include "core/daemon/address.h"

#include <gtest/gtest.h>

namespace shoal::daemon {
namespace {

TEST(Address, ParsesNamesAndBothKindsOfNumericAddress) {
  EXPECT_EQ(parse_address("0.0.0.0:6970"), (Address{"0.0.0.0", 6970}));
  EXPECT_EQ(parse_address("[::1]:0"), (Address{"::1", 0}));
  EXPECT_EQ(parse_address("gpu-17.cluster:65535"), (Address{"gpu-17.cluster", 65535}));
}

TEST(Address, RefusesWhatCouldBeReadInTwoWays) {
  for (const char* text : {"", ":6970", "host", "host:", "host:65536", "host:-1", "host:6970x",
                           "::1:6970", "[::1]", "[]:1", "http://host:1", "a b:1", "user@host:1"}) {
    EXPECT_FALSE(parse_address(text)) << text;
  }
}

TEST(Address, IsWrittenAsItIsRead) {
  for (const char* text : {"127.0.0.1:6970", "[fe80::1]:1", "name:2"}) {
    EXPECT_EQ(parse_address(text)->str(), text);
  }
}

TEST(Address, KnowsLoopback) {
  EXPECT_TRUE(is_loopback({"127.8.0.1", 1}));
  EXPECT_TRUE(is_loopback({"::1", 1}));
  EXPECT_TRUE(is_loopback({"localhost", 1}));
  EXPECT_FALSE(is_loopback({"0.0.0.0", 1}));
  EXPECT_FALSE(is_loopback({"::", 1}));
}

}  // namespace
}  // namespace shoal::daemon
