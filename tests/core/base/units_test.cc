#include "core/base/units.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <string>

#include "core/base/random.h"

namespace shoal {
namespace {

using std::chrono::milliseconds;

struct Good {
  std::string_view text;
  std::uint64_t value;
};

TEST(ParseByteCount, AcceptsEveryDocumentedForm) {
  const Good cases[] = {
      {"0", 0},
      {"4096", 4096},
      {"640B", 640},
      {"640 b", 640},
      {"1KiB", 1024},
      {"64KiB", 65536},
      {"64kib", 65536},
      {"64 KiB", 65536},
      {"64Ki", 65536},
      {"1MiB", 1048576},
      {"1Mi", 1048576},
      {"1.5GiB", 1610612736},
      {"1Gi", 1073741824},
      {"2TiB", 2199023255552},
      {"2Ti", 2199023255552},
      {"1PiB", 1125899906842624},
      {"1kB", 1000},
      {"1MB", 1000000},
      {"10GB", 10000000000},
      {"10 GB", 10000000000},
      {"3TB", 3000000000000},
      {"1PB", 1000000000000000},
      {"0.5KiB", 512},
      {".5KiB", 512},
      {"1.KiB", 1024},
      {"0.6", 1},                                    // rounded to whole bytes
      {"9007199254740993", 9007199254740993},        // 2^53 + 1: no double holds it
      {"9223372036854774784", 9223372036854774784},  // the last double below 2^63
      {"8191PiB", 9222246136947933184},
  };
  for (const Good& c : cases) {
    Result<ByteCount> parsed = parse_byte_count(c.text);
    ASSERT_TRUE(parsed) << c.text << ": " << parsed.error().message();
    EXPECT_EQ(parsed->value(), c.value) << c.text;
  }
}

TEST(ParseByteCount, RefusesEverythingElseAndShowsTheForms) {
  for (std::string_view text : {"",
                                " ",
                                "-1",
                                "+1",
                                "KiB",
                                "1XiB",
                                "1 K",
                                "1k",
                                "64KiBs",
                                "1e3",
                                "0x10",
                                "1..5",
                                "1.5.2GiB",
                                ".",
                                "inf",
                                "nan",
                                " 4096",
                                "4096 ",
                                "1 024",
                                "1,5GiB",
                                "8192PiB",
                                "9223372036854775808",
                                "99999999999999999999",
                                "10GB/s",
                                "1Gbit"}) {
    Result<ByteCount> parsed = parse_byte_count(text);
    ASSERT_FALSE(parsed) << "'" << text << "' gave " << parsed->value();
    EXPECT_EQ(parsed.error().code(), Errc::kInvalid);
    EXPECT_NE(parsed.error().message().find("64MiB"), std::string::npos);
  }
}

TEST(ParseRate, AcceptsEveryDocumentedForm) {
  const Good cases[] = {
      {"0", 0},
      {"unlimited", 0},
      {"Unlimited", 0},
      {"0MB/s", 0},
      {"0bit", 0},
      {"1Gbit/s", 125000000},
      {"1gbit", 125000000},
      {"200mbit", 25000000},
      {"200 Mbit/s", 25000000},
      {"8kbit", 1000},
      {"1Tbit/s", 125000000000},
      {"8bit/s", 1},
      {"2.5Gbit/s", 312500000},
      {"100B/s", 100},
      {"5kB/s", 5000},
      {"100MB/s", 100000000},
      {"1.5GB/s", 1500000000},
      {"1TB/s", 1000000000000},
      {"50KiB/s", 51200},
      {"50MiB/s", 52428800},
      {"1GiB/s", 1073741824},
      {"1TiB/s", 1099511627776},
      {"9007199254740993B/s", 9007199254740993},
  };
  for (const Good& c : cases) {
    Result<Rate> parsed = parse_rate(c.text);
    ASSERT_TRUE(parsed) << c.text << ": " << parsed.error().message();
    EXPECT_EQ(parsed->bytes_per_second(), c.value) << c.text;
    EXPECT_EQ(parsed->unlimited(), c.value == 0) << c.text;
  }
}

TEST(ParseRate, RefusesAmountsAmbiguousUnitsAndNonsense) {
  for (std::string_view text : {"",
                                "1",
                                "100",
                                "100MB",
                                "100MiB",
                                "100/s",
                                "/s",
                                "100Mb/s",
                                "100mb/s",
                                "1b/s",
                                "-1MB/s",
                                "1Gbps",
                                "1Gbit/m",
                                "0.5B/s",
                                "1bit/s",
                                "7bit",
                                "1e9B/s",
                                "inf",
                                "unlimited/s",
                                " 1Gbit",
                                "1Gbit/s ",
                                "99999999999999TB/s",
                                "none"}) {
    Result<Rate> parsed = parse_rate(text);
    ASSERT_FALSE(parsed) << "'" << text << "' gave " << parsed->bytes_per_second();
    EXPECT_EQ(parsed.error().code(), Errc::kInvalid);
    EXPECT_NE(parsed.error().message().find("1Gbit/s"), std::string::npos);
  }
}

TEST(ParseDuration, AcceptsEveryDocumentedForm) {
  const Good cases[] = {
      {"0s", 0},          {"1ms", 1},
      {"1500ms", 1500},   {"30s", 30'000},
      {"30S", 30'000},    {"1.5s", 1500},
      {"5m", 300'000},    {"2h", 7'200'000},
      {"1d", 86'400'000}, {"1h30m", 5'400'000},
      {"1m30s", 90'000},  {"1d2h3m4s5ms", 93'784'005},
      {"0.001s", 1},      {"36500d", 3'153'600'000'000},
  };
  for (const Good& c : cases) {
    Result<milliseconds> parsed = parse_duration(c.text);
    ASSERT_TRUE(parsed) << c.text << ": " << parsed.error().message();
    EXPECT_EQ(parsed->count(), static_cast<std::int64_t>(c.value)) << c.text;
  }
}

TEST(ParseDuration, RefusesBareNumbersAndNonsense) {
  for (std::string_view text : {"",
                                "0",
                                "30",
                                "s",
                                "-1s",
                                "+1s",
                                "1h30",
                                "30 s",
                                "1h 30m",
                                "1w",
                                "1us",
                                "1ns",
                                "1.2.3s",
                                "0.1ms",
                                "0.0001s",
                                "36501d",
                                "1e3s",
                                "inf",
                                "99999999999999999999d",
                                " 1s",
                                "1s ",
                                "1:30"}) {
    Result<milliseconds> parsed = parse_duration(text);
    ASSERT_FALSE(parsed) << "'" << text << "' gave " << parsed->count();
    EXPECT_EQ(parsed.error().code(), Errc::kInvalid);
    EXPECT_NE(parsed.error().message().find("1h30m"), std::string::npos);
  }
}

TEST(ParseDuration, TheLongestCanBeAddedToAClock) {
  auto longest = parse_duration("36500d");
  ASSERT_TRUE(longest);
  EXPECT_GT(std::chrono::steady_clock::time_point(std::chrono::hours(24 * 365)) + *longest,
            std::chrono::steady_clock::time_point());
}

TEST(FormatBytes, ChangesUnitWhereRoundingWould) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(640), "640 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1024), "1.0 KiB");
  EXPECT_EQ(format_bytes(12'800), "12.5 KiB");
  EXPECT_EQ(format_bytes(102'300), "99.9 KiB");
  EXPECT_EQ(format_bytes(102'380), "100 KiB");
  EXPECT_EQ(format_bytes(1'047'552), "1023 KiB");
  EXPECT_EQ(format_bytes(1'048'100), "1.0 MiB");  // 1023.54 KiB
  EXPECT_EQ(format_bytes(3 * kGiB), "3.0 GiB");
  EXPECT_EQ(format_bytes(140 * kGiB), "140 GiB");
  EXPECT_EQ(format_bytes(5 * kTiB), "5.0 TiB");
  EXPECT_EQ(format_bytes(~std::uint64_t{0}), "16384 PiB");
}

TEST(FormatRate, ChangesUnitWhereRoundingWould) {
  EXPECT_EQ(format_rate(0), "0.0 B/s");
  EXPECT_EQ(format_rate(999.4), "999 B/s");
  EXPECT_EQ(format_rate(999.7), "1.0 kB/s");
  EXPECT_EQ(format_rate(200e6), "200 MB/s");
  EXPECT_EQ(format_rate(999.7e6), "1.0 GB/s");
  EXPECT_EQ(format_rate(1.25e9), "1.2 GB/s");
}

TEST(FormatDuration, ShowsTwoUnitsAtMost) {
  EXPECT_EQ(format_duration(milliseconds(0)), "0ms");
  EXPECT_EQ(format_duration(milliseconds(350)), "350ms");
  EXPECT_EQ(format_duration(milliseconds(4'200)), "4.2s");
  EXPECT_EQ(format_duration(milliseconds(59'999)), "59.9s");
  EXPECT_EQ(format_duration(milliseconds(185'000)), "3m05s");
  EXPECT_EQ(format_duration(milliseconds(3'599'999)), "59m59s");
  EXPECT_EQ(format_duration(milliseconds(7'620'000)), "2h07m");
}

TEST(ToSetting, PrefersTheUnitsThatPeopleWrite) {
  EXPECT_EQ(to_setting(ByteCount(0)), "0");
  EXPECT_EQ(to_setting(ByteCount(64 * kMiB)), "64MiB");
  EXPECT_EQ(to_setting(ByteCount(1536 * kMiB)), "1536MiB");
  EXPECT_EQ(to_setting(ByteCount(10'000'000'001)), "10000000001");
  EXPECT_EQ(to_setting(Rate()), "unlimited");
  EXPECT_EQ(to_setting(Rate(125'000'000)), "1Gbit/s");
  EXPECT_EQ(to_setting(Rate(25'000'000)), "200Mbit/s");
  EXPECT_EQ(to_setting(Rate(25'000'001)), "25000001B/s");
  EXPECT_EQ(to_setting(milliseconds(0)), "0s");
  EXPECT_EQ(to_setting(milliseconds(90'000)), "90s");
  EXPECT_EQ(to_setting(milliseconds(120'000)), "2m");
  EXPECT_EQ(to_setting(milliseconds(7'200'000)), "2h");
  EXPECT_EQ(to_setting(milliseconds(1'500)), "1500ms");
}

TEST(ToSetting, LosesNothing) {
  const char* given = std::getenv("SHOAL_TEST_SEED");
  std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : random_u64();
  std::cout << "SHOAL_TEST_SEED=" << seed << "\n";
  SeededRandom random(seed);
  for (int i = 0; i < 2000; ++i) {
    std::uint64_t value = random.next() >> (1 + random.below(63));
    if (value >= 0x7ffffffffffffc00) continue;  // rounds up to 2^63 as a double, which is refused
    ByteCount size(value);
    EXPECT_EQ(parse_byte_count(to_setting(size)).value(), size);
    Rate rate(value);
    EXPECT_EQ(parse_rate(to_setting(rate)).value(), rate);
    milliseconds duration(value % 3'000'000'000'000);
    EXPECT_EQ(parse_duration(to_setting(duration)).value(), duration);
  }
}

}  // namespace
}  // namespace shoal
