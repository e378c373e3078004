#include "core/content/relative_path.h"

#include <gtest/gtest.h>

#include <vector>

namespace shoal::content {
namespace {

RelativePath path(std::string_view text) {
  Result<RelativePath> parsed = RelativePath::parse(text);
  EXPECT_TRUE(parsed) << text;
  return *parsed;
}

TEST(RelativePath, AcceptsOrdinaryPaths) {
  for (std::string text : {std::string("a"), std::string("model-00001-of-00002.safetensors"),
                           std::string("1_Pooling/config.json"), std::string("...a/..b/.c"),
                           std::string("mit Leerzeichen/größe/模型.bin"), std::string("~/$x;'\"*"),
                           std::string(255, 'x')}) {
    Result<RelativePath> parsed = RelativePath::parse(text);
    ASSERT_TRUE(parsed) << text << ": " << parsed.error().str();
    EXPECT_EQ(parsed->str(), text);
  }
  std::string longest;
  for (int i = 0; i < 16; ++i) longest += std::string(255, 'x') + "/";
  longest.pop_back();
  EXPECT_EQ(longest.size(), 4095u);
  EXPECT_TRUE(RelativePath::parse(longest));
}

TEST(RelativePath, RefusesWhatCouldLeaveTheDirectoryOrConfuseAReader) {
  std::string too_long;
  while (too_long.size() <= kMaxPathLength) too_long += "abc/";
  too_long += "x";
  for (std::string text : {std::string(),
                           std::string("/"),
                           std::string("/etc/passwd"),
                           std::string("."),
                           std::string(".."),
                           std::string("a/../b"),
                           std::string("a/.."),
                           std::string("./a"),
                           std::string("a//b"),
                           std::string("a/"),
                           std::string("a\nb"),
                           std::string("a\tb"),
                           std::string("a\0b", 3),
                           std::string("a\x7f"),
                           std::string("\x1b[31m"),
                           std::string("a\xc2\x85"),
                           std::string("a\\b"),
                           std::string("..\\a"),
                           std::string("\xff"),
                           std::string("a\xc3"),
                           std::string("\xc0\xaf"),
                           std::string("\xed\xa0\x80"),
                           std::string("\xf4\x90\x80\x80"),
                           std::string("\xe0\x80\xaf"),
                           std::string(256, 'x'),
                           too_long}) {
    Result<RelativePath> parsed = RelativePath::parse(text);
    ASSERT_FALSE(parsed) << escape_for_message(text);
    EXPECT_EQ(parsed.error().code(), Errc::kInvalid);
    for (char c : parsed.error().message()) ASSERT_GE(static_cast<unsigned char>(c), 0x20);
    EXPECT_LT(parsed.error().message().size(), 500u);
  }
}

TEST(RelativePath, CutInsideACharacterIsRefused) {
  EXPECT_EQ(RelativePath::parse("gr\xc3").error().message(), "path 'gr\\xc3' is not UTF-8");
}

TEST(EscapeForMessage, KeepsReadableTextAndCutsLongText) {
  EXPECT_EQ(escape_for_message("größe/模型"), "größe/模型");
  EXPECT_EQ(escape_for_message("a'b\"c\\d\n\x01\xff"), "a\\x27b\\x22c\\x5cd\\x0a\\x01\\xff");
  EXPECT_EQ(escape_for_message("abcdef", 3), "abc...");
  EXPECT_EQ(escape_for_message("abc", 3), "abc");
}

TEST(CheckPathsCoexist, AcceptsSiblingsWithCommonPrefixes) {
  std::vector<RelativePath> paths{path("a/b"),   path("a-b"), path("a.b"),
                                  path("a/c/d"), path("ab"),  path("a/c-d")};
  EXPECT_TRUE(check_paths_coexist(paths));
  EXPECT_TRUE(check_paths_coexist({}));
}

TEST(CheckPathsCoexist, RefusesAPathThatIsThereTwice) {
  std::vector<RelativePath> paths{path("x"), path("a/b"), path("x")};
  EXPECT_FALSE(check_paths_coexist(paths));
}

TEST(CheckPathsCoexist, RefusesAFileThatIsADirectoryToo) {
  // "a-b" and "a.b" sort between "a" and "a/b" by bytes.
  std::vector<RelativePath> paths{path("a-b"), path("a/b/c"), path("a.b"), path("a")};
  Status status = check_paths_coexist(paths);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().message(), "path 'a' is a file and the directory of 'a/b/c'");
}

}  // namespace
}  // namespace shoal::content
