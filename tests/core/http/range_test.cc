#include "core/http/range.h"

#include <gtest/gtest.h>

namespace shoal::http {
namespace {

TEST(Range, ParsesTheThreeForms) {
  EXPECT_EQ(parse_range("bytes=0-0").value(), (RangeRequest{0, 0}));
  EXPECT_EQ(parse_range("bytes=5-").value(), (RangeRequest{5, std::nullopt}));
  EXPECT_EQ(parse_range("bytes=-7").value(), (RangeRequest{std::nullopt, 7}));
  EXPECT_TRUE(parse_range("bytes=0-9223372036854775807"));
}

TEST(Range, RefusesEverythingElse) {
  for (const char* text : {"",
                           "bytes",
                           "bytes=",
                           "bytes=-",
                           "bytes=1",
                           "bytes=2-1",
                           "bytes=-0",
                           "bytes=0-1,3-4",
                           "items=0-1",
                           "bytes=0-1 ",
                           "bytes= 0-1",
                           "bytes=+0-1",
                           "bytes=0x0-1",
                           "bytes=a-b",
                           "bytes=1-b",
                           "bytes=b-1",
                           "bytes=1--2",
                           "bytes=--1",
                           "bytes=9223372036854775808-",
                           "bytes=0-99999999999999999999",
                           "Bytes=0-1"}) {
    EXPECT_EQ(parse_range(text).error().code(), Errc::kInvalid) << text;
  }
}

TEST(Range, ResolvesAgainstTheSize) {
  EXPECT_EQ(resolve_range({0, 9}, 10), (ByteRange{0, 10}));
  EXPECT_EQ(resolve_range({0, 99}, 10), (ByteRange{0, 10}));
  EXPECT_EQ(resolve_range({9, std::nullopt}, 10), (ByteRange{9, 1}));
  EXPECT_EQ(resolve_range({10, std::nullopt}, 10), std::nullopt);
  EXPECT_EQ(resolve_range({std::nullopt, 3}, 10), (ByteRange{7, 3}));
  EXPECT_EQ(resolve_range({std::nullopt, 30}, 10), (ByteRange{0, 10}));
  EXPECT_EQ(resolve_range({std::nullopt, 3}, 0), std::nullopt);
  EXPECT_EQ(resolve_range({0, 0}, 0), std::nullopt);
}

TEST(ContentRange, RoundTrips) {
  for (const ContentRange& value : {ContentRange{ByteRange{0, 10}, 10},
                                    ContentRange{ByteRange{3, 4}, {}}, ContentRange{{}, 12}}) {
    EXPECT_EQ(parse_content_range(format_content_range(value)).value(), value);
  }
  EXPECT_EQ(format_content_range({ByteRange{0, 10}, 10}), "bytes 0-9/10");
  EXPECT_EQ(format_range({5, 1}), "bytes=5-5");
}

TEST(ContentRange, RefusesEverythingElse) {
  for (const char* text : {"", "bytes", "bytes 0-9", "bytes */*", "bytes 0-10/10", "bytes 5-4/10",
                           "bytes=0-9/10", "bytes 0-9/ten", "bytes -9/10", "bytes 0-9/10 "}) {
    EXPECT_EQ(parse_content_range(text).error().code(), Errc::kCorrupt) << text;
  }
}

}  // namespace
}  // namespace shoal::http
