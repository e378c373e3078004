#include "cli/target_tree.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/cli/temp_dir.h"

namespace shoal::cli {
namespace {

using Present = TargetTree::Present;

content::RelativePath path(std::string_view text) { return *content::RelativePath::parse(text); }

class TargetTreeTest : public ::testing::Test {
 protected:
  TargetTreeTest() : tree_(*TargetTree::open(dir_ / "out")) {}

  UniqueFd source(std::string_view text) {
    dir_.write("source", text);
    return UniqueFd(::open((dir_ / "source").c_str(), O_RDONLY | O_CLOEXEC));
  }
  Result<Written> write(std::string_view name, std::string_view text) {
    return tree_.write(path(name), source(text).get(), text.size(), go_on_);
  }
  Result<Present> compare(std::string_view name, std::string_view text) {
    return tree_.compare(path(name), source(text).get(), text.size(), go_on_);
  }
  std::vector<std::string> files_in_out() {
    std::vector<std::string> out;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(dir_ / "out")) {
      if (!entry.is_directory()) out.push_back(entry.path().filename());
    }
    return out;
  }

  TempDir dir_;
  TargetTree tree_;
  TargetTree::Advance go_on_ = [](std::uint64_t) { return true; };
};

TEST_F(TargetTreeTest, WritesFilesAndTheirDirectories) {
  ASSERT_TRUE(write("a/b/weights", "content"));
  ASSERT_TRUE(write("empty", ""));
  EXPECT_EQ(dir_.read("out/a/b/weights"), "content");
  EXPECT_EQ(dir_.read("out/empty"), "");
  EXPECT_THAT(files_in_out(), ::testing::UnorderedElementsAre("weights", "empty"));
  struct stat status {};
  ASSERT_EQ(::stat((dir_ / "out/a/b/weights").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0111, 0u) << "nothing is executable";
}

TEST_F(TargetTreeTest, TellsWhatIsThere) {
  EXPECT_EQ(compare("a/b", "content"), Present::kAbsent);
  dir_.write("out/a/b", "content");
  EXPECT_EQ(compare("a/b", "content"), Present::kSame);
  EXPECT_EQ(compare("a/b", "contenT"), Present::kDifferent);
  EXPECT_EQ(compare("a/b", "longer content"), Present::kDifferent);
  EXPECT_EQ(compare("a", "content"), Present::kObstacle);
  EXPECT_EQ(compare("a/b/c", "content"), Present::kObstacle);
}

TEST_F(TargetTreeTest, NeverFollowsALinkOutOfTheTree) {
  dir_.write("elsewhere/victim", "precious");
  std::filesystem::create_directory_symlink("../elsewhere", dir_ / "out/sub");
  std::filesystem::create_symlink("../elsewhere/victim", dir_ / "out/link");
  EXPECT_EQ(compare("sub/victim", "precious"), Present::kObstacle);
  EXPECT_EQ(write("sub/victim", "evil").error().code(), Errc::kConflict);
  EXPECT_EQ(write("sub/new", "evil").error().code(), Errc::kConflict);
  EXPECT_EQ(compare("link", "precious"), Present::kDifferent) << "a link is no file of ours";
  ASSERT_TRUE(write("link", "mine")) << "the link itself is replaced";
  EXPECT_EQ(dir_.read("elsewhere/victim"), "precious");
  EXPECT_FALSE(std::filesystem::is_symlink(dir_ / "out/link"));
  EXPECT_FALSE(std::filesystem::exists(dir_ / "elsewhere/new"));
}

TEST_F(TargetTreeTest, ReplacesAFileWholeOrNotAtAll) {
  dir_.write("out/a", "old");
  TargetTree::Advance stop = [](std::uint64_t) { return false; };
  Result<Written> stopped = tree_.write(path("a"), source("new").get(), 3, stop);
  EXPECT_EQ(stopped.error().code(), Errc::kCancelled);
  EXPECT_EQ(dir_.read("out/a"), "old");
  EXPECT_THAT(files_in_out(), ::testing::ElementsAre("a")) << "no temporary file is left";
  ASSERT_TRUE(write("a", "new"));
  EXPECT_EQ(dir_.read("out/a"), "new");
}

TEST_F(TargetTreeTest, AShortSourceIsCorruptAndLeavesNothing) {
  Result<Written> written = tree_.write(path("a"), source("abc").get(), 10, go_on_);
  EXPECT_EQ(written.error().code(), Errc::kCorrupt);
  EXPECT_TRUE(files_in_out().empty());
}

TEST_F(TargetTreeTest, ADirectoryIsNotReplaced) {
  std::filesystem::create_directories(dir_ / "out/a");
  EXPECT_EQ(write("a", "x").error().code(), Errc::kConflict);
  EXPECT_TRUE(files_in_out().empty());
}

TEST_F(TargetTreeTest, CopiesMoreThanOneStep) {
  std::string big(20 << 20, 'x');
  for (std::size_t i = 0; i < big.size(); i += 4096) big[i] = static_cast<char>(i >> 12);
  std::uint64_t seen = 0;
  TargetTree::Advance count = [&](std::uint64_t bytes) {
    seen += bytes;
    return true;
  };
  ASSERT_TRUE(tree_.write(path("big"), source(big).get(), big.size(), count));
  EXPECT_EQ(seen, big.size());
  EXPECT_TRUE(dir_.read("out/big") == big);
}

}  // namespace
}  // namespace shoal::cli
