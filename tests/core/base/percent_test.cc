#include "core/base/percent.h"

#include <gtest/gtest.h>

namespace shoal {
namespace {

TEST(Percent, EveryByteReadsBack) {
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
  EXPECT_EQ(percent_decode(percent_encode(bytes)), bytes);
  EXPECT_EQ(percent_encode(std::string_view("\0\xff/a~", 5)), "%00%FF%2Fa~");
  EXPECT_EQ(percent_encode("a/b c", "/"), "a/b%20c");
}

TEST(Percent, BothCasesOfDigitsAreRead) { EXPECT_EQ(percent_decode("%2f%2F+"), "//+"); }

TEST(Percent, APercentSignNeedsTwoDigits) {
  for (const char* text : {"%", "%2", "a%", "%2g", "%g2", "%%20"}) {
    EXPECT_FALSE(percent_decode(text)) << text;
  }
}

}  // namespace
}  // namespace shoal
