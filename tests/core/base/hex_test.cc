#include "core/base/hex.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace shoal {
namespace {

TEST(Hex, EveryByteReadsBack) {
  std::vector<std::byte> bytes;
  for (int i = 0; i < 256; ++i) bytes.push_back(static_cast<std::byte>(i));
  std::string text = to_hex(bytes);
  EXPECT_EQ(text.substr(0, 8), "00010203");
  EXPECT_EQ(text.substr(504), "fcfdfeff");
  std::vector<std::byte> back(256);
  ASSERT_TRUE(from_hex(text, back));
  EXPECT_EQ(back, bytes);
}

TEST(Hex, EmptyIsEmpty) {
  EXPECT_EQ(to_hex({}), "");
  EXPECT_TRUE(from_hex("", {}));
  EXPECT_FALSE(from_hex("00", {}));
}

TEST(Hex, RefusesTheWrongLength) {
  std::array<std::byte, 2> out{};
  for (std::string_view text : {"", "0", "00", "000", "00000", "000000"}) {
    EXPECT_FALSE(from_hex(text, out)) << text;
  }
}

TEST(Hex, RefusesEveryCharacterThatIsNotALowerCaseDigit) {
  std::array<std::byte, 1> out{};
  int accepted = 0;
  for (int c = 0; c < 256; ++c) {
    std::string low{'0', static_cast<char>(c)};
    std::string high{static_cast<char>(c), '0'};
    bool digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
    EXPECT_EQ(from_hex(low, out), digit) << c;
    EXPECT_EQ(from_hex(high, out), digit) << c;
    accepted += digit ? 1 : 0;
  }
  EXPECT_EQ(accepted, 16);
}

}  // namespace
}  // namespace shoal
