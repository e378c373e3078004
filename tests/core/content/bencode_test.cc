#include "core/content/bencode.h"

#include <gtest/gtest.h>

#include <limits>

namespace shoal::content {
namespace {

TEST(BencodeWriter, WritesTheExamplesOfTheSpecification) {
  EXPECT_EQ(BencodeWriter().string("spam").take(), "4:spam");
  EXPECT_EQ(BencodeWriter().string("").take(), "0:");
  EXPECT_EQ(BencodeWriter().integer(3).take(), "i3e");
  EXPECT_EQ(BencodeWriter().integer(-3).take(), "i-3e");
  EXPECT_EQ(BencodeWriter().integer(0).take(), "i0e");
  EXPECT_EQ(BencodeWriter().integer(std::numeric_limits<std::int64_t>::min()).take(),
            "i-9223372036854775808e");
  EXPECT_EQ(BencodeWriter().begin_list().string("spam").string("eggs").end().take(),
            "l4:spam4:eggse");
  BencodeWriter out;
  out.begin_dictionary().key("cow").string("moo").key("spam").begin_list();
  out.string("a").string("b").end().end();
  EXPECT_EQ(out.take(), "d3:cow3:moo4:spaml1:a1:bee");
}

TEST(BencodeWriter, TakesAnyBytesAndWhatIsEncodedAlready) {
  BencodeWriter out;
  out.begin_dictionary().key(std::string_view("\0", 1)).encoded("de").key("\x7f").integer(1);
  out.key("\x80").integer(2).end();  // bytes are unsigned: 80 comes after 7f
  EXPECT_EQ(out.take(), std::string("d1:\0de1:\x7fi1e1:\x80i2ee", 19));
}

TEST(BencodeWriter, StartsAgainAfterTake) {
  BencodeWriter out;
  EXPECT_EQ(out.begin_list().end().take(), "le");
  EXPECT_EQ(out.integer(7).take(), "i7e");
}

using BencodeWriterDeathTest = ::testing::Test;

TEST(BencodeWriterDeathTest, MisuseIsABug) {
  EXPECT_DEATH(BencodeWriter().begin_dictionary().key("b").integer(1).key("a"), "sorted");
  EXPECT_DEATH(BencodeWriter().begin_dictionary().key("a").integer(1).key("a"), "sorted");
  EXPECT_DEATH(BencodeWriter().begin_dictionary().key("\x80").integer(1).key("a"), "sorted");
  EXPECT_DEATH(BencodeWriter().begin_dictionary().integer(1), "key");
  EXPECT_DEATH(BencodeWriter().begin_dictionary().key("a").key("b"), "key");
  EXPECT_DEATH(BencodeWriter().begin_dictionary().key("a").end(), "close");
  EXPECT_DEATH(BencodeWriter().begin_list().key("a"), "key");
  EXPECT_DEATH(BencodeWriter().end(), "close");
  EXPECT_DEATH(BencodeWriter().begin_list().take(), "complete");
  EXPECT_DEATH(BencodeWriter().take(), "complete");
  EXPECT_DEATH(BencodeWriter().integer(1).integer(2), "one value");
}

}  // namespace
}  // namespace shoal::content
