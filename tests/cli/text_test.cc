#include "cli/text.h"

#include <gtest/gtest.h>

namespace shoal::cli {
namespace {

TEST(Text, WhatComesFromElsewhereCannotSteerTheTerminal) {
  EXPECT_EQ(printable("plain üñ €"), "plain üñ €");
  EXPECT_EQ(printable("a\x1b[2Jb\nc\x7f"), "a\\x1b[2Jb\\x0ac\\x7f");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "\\xc2\\x9b31m");  // the one-character form of ESC [
  EXPECT_EQ(printable("\xff\xc3"), "\\xff\\xc3");
  EXPECT_EQ(printable("\xc0\x80\xed\xa0\x80"), "\\xc0\\x80\\xed\\xa0\\x80");
}

TEST(Text, WidthCountsCodePoints) {
  EXPECT_EQ(columns("é€x"), 3u);
  EXPECT_EQ(shortened("éééé", 3), "éé…");
  EXPECT_EQ(shortened("abc", 3), "abc");
  EXPECT_EQ(shortened("abc", 0), "");
  EXPECT_EQ(padded("é", 3), "é  ");
  EXPECT_EQ(padded("é", 3, true), "  é");
  EXPECT_EQ(padded("long", 2), "long");
}

TEST(Text, CountsWithItsNoun) {
  EXPECT_EQ(counted(0, "file"), "0 files");
  EXPECT_EQ(counted(1, "file"), "1 file");
}

}  // namespace
}  // namespace shoal::cli
