#include "core/base/log.h"

#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

namespace shoal::log {
namespace {

using nlohmann::json;

json as_json(std::string_view message, Fields fields) {
  return json::parse("{" + format_line(Format::kJson, message, fields) + "}");
}

TEST(LogText, WritesFieldsInOrderAndQuotesOnlyWhatIsAmbiguous) {
  EXPECT_EQ(format_line(Format::kText, "registered",
                        {{"node", "n1"}, {"took_ms", 12}, {"ok", true}, {"err", "a b"}}),
            "registered node=n1 took_ms=12 ok=true err=\"a b\"");
  EXPECT_EQ(format_line(Format::kText, "m", {}), "m");
}

TEST(LogText, QuotesEachCharacterThatWouldEndOrSplitAValue) {
  struct Case {
    std::string value;
    std::string written;
  };
  const Case cases[] = {
      {"", "\"\""},
      {"a=b", "\"a=b\""},
      {"say \"x\"", R"("say \"x\"")"},
      {"back\\slash", R"("back\\slash")"},
      {"line\nend", R"("line\u000aend")"},
      {"\x1b[31m", R"("\u001b[31m")"},
      {"\x7f", R"("\u007f")"},
      {"\xc2\x9b", R"("\u009b")"},  // CSI as one character
      {"\xff", R"("\ufffd")"},      // not UTF-8
      {"sha256:ab", "sha256:ab"},
      {"größe", "größe"},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(format_line(Format::kText, "m", {{"k", c.value}}), "m k=" + c.written);
  }
}

TEST(LogText, AForeignValueCannotForgeALine) {
  for (int c = 0; c < 256; ++c) {
    std::string line = format_line(Format::kText, "m", {{"k", std::string(1, char(c))}});
    EXPECT_EQ(line.find_first_of("\n\r\x1b"), std::string::npos) << c;
  }
}

TEST(LogJson, IsValidForEveryByteAndReadsBackWhatIsUtf8) {
  for (int c = 0; c < 256; ++c) {
    std::string value = "a" + std::string(1, char(c)) + "z";
    json line = as_json("m", {{"k", value}});
    EXPECT_EQ(line["k"], c < 0x80 ? value : "a\xef\xbf\xbdz") << c;
  }
}

TEST(LogJson, ReplacesExactlyTheBytesThatAreNotUtf8) {
  const std::string replaced = "\xef\xbf\xbd";
  struct Case {
    std::string value;
    std::string read;
  };
  const Case cases[] = {
      {"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x9f", "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x9f"},
      {"\xed\x9f\xbf\xee\x80\x80", "\xed\x9f\xbf\xee\x80\x80"},  // around the surrogates
      {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},                  // U+10FFFF
      {"\xe2\x82", replaced + replaced},                         // cut short
      {"\xc0\xaf", replaced + replaced},                         // overlong
      {"\xe0\x80\x80", replaced + replaced + replaced},
      {"\xf0\x80\x80\x80", replaced + replaced + replaced + replaced},
      {"\xed\xa0\x80", replaced + replaced + replaced},  // a surrogate
      {"\xf4\x90\x80\x80", replaced + replaced + replaced + replaced},
  };
  for (const Case& c : cases) EXPECT_EQ(as_json("m", {{"k", c.value}})["k"], c.read);
}

TEST(LogJson, KeepsNumbersAndBooleansBare) {
  json line = as_json("m", {{"n", std::numeric_limits<std::uint64_t>::max()},
                            {"i", -3},
                            {"d", 0.1},
                            {"tiny", 1e-9},
                            {"f", 2.5f},
                            {"b", false},
                            {"e", Error(Errc::kNotFound, "gone")}});
  EXPECT_EQ(line["msg"], "m");
  EXPECT_EQ(line["n"], std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(line["i"], -3);
  EXPECT_EQ(line["d"], 0.1);
  EXPECT_EQ(line["tiny"], 1e-9);
  EXPECT_EQ(line["f"], 2.5);
  EXPECT_EQ(line["b"], false);
  EXPECT_EQ(line["e"], "not_found: gone");
}

TEST(LogJson, QuotesNumbersThatJsonDoesNotHave) {
  EXPECT_EQ(as_json("m", {{"k", std::numeric_limits<double>::quiet_NaN()}})["k"], "nan");
  EXPECT_EQ(as_json("m", {{"k", std::numeric_limits<double>::infinity()}})["k"], "inf");
}

TEST(LogNames, ParseWhatIsDocumentedAndNothingElse) {
  EXPECT_EQ(parse_level("trace").value(), Level::kTrace);
  EXPECT_EQ(parse_level("debug").value(), Level::kDebug);
  EXPECT_EQ(parse_level("info").value(), Level::kInfo);
  EXPECT_EQ(parse_level("warn").value(), Level::kWarn);
  EXPECT_EQ(parse_level("error").value(), Level::kError);
  EXPECT_EQ(parse_format("text").value(), Format::kText);
  EXPECT_EQ(parse_format("json").value(), Format::kJson);
  for (std::string_view name : {"", "Info", "warning", "info ", "xml"}) {
    EXPECT_EQ(parse_level(name).error().code(), Errc::kInvalid) << name;
    EXPECT_EQ(parse_format(name).error().code(), Errc::kInvalid) << name;
  }
}

// What write() sent to standard error, line by line.
template <typename Fn>
std::vector<std::string> captured(Fn fn) {
  testing::internal::CaptureStderr();
  fn();
  std::istringstream text(testing::internal::GetCapturedStderr());
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  return lines;
}

TEST(LogWrite, LinesBelowTheLevelAreNotWritten) {
  auto lines = captured([] {
    configure(Level::kWarn, Format::kText);
    EXPECT_FALSE(enabled(Level::kInfo));
    info("level test below");
    warn("level test at", {{"k", 1}});
    error("level test above");
  });
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_TRUE(lines[0].ends_with(" level test at k=1")) << lines[0];
  EXPECT_TRUE(lines[1].ends_with(" level test above")) << lines[1];
}

TEST(LogWrite, AJsonLineIsOneObjectWithTimeAndLevel) {
  auto lines = captured([] {
    configure(Level::kInfo, Format::kJson);
    info("json test {}", {{"path", "a {} %v \"b\""}});
  });
  ASSERT_EQ(lines.size(), 1u);
  json line = json::parse(lines[0]);
  EXPECT_EQ(line["level"], "info");
  EXPECT_EQ(line["msg"], "json test {}");
  EXPECT_EQ(line["path"], "a {} %v \"b\"");
  EXPECT_EQ(line["time"].get<std::string>().size(), std::string("2026-01-02T03:04:05.678Z").size());
}

TEST(LogWrite, ARepeatingMessageIsCutOffAndOthersAreNot) {
  auto lines = captured([] {
    configure(Level::kInfo, Format::kText);
    for (int i = 0; i < 25; ++i) info("repeat test", {{"i", i}});
    info("repeat test other");
  });
  ASSERT_EQ(lines.size(), 21u);
  EXPECT_TRUE(lines[19].ends_with("repeat test i=19")) << lines[19];
  EXPECT_TRUE(lines[20].ends_with("repeat test other")) << lines[20];
}

}  // namespace
}  // namespace shoal::log
