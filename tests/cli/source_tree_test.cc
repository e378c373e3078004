#include "cli/source_tree.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/cli/temp_dir.h"

namespace shoal::cli {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<std::string> paths(const SourceTree& tree) {
  std::vector<std::string> out;
  for (const SourceFile& file : tree.files()) out.push_back(file.path.str());
  return out;
}

TEST(SourceTree, FindsEveryFileAlsoHiddenOnes) {
  TempDir dir;
  dir.write("model/b.safetensors", "bb");
  dir.write("model/.gitattributes", "a");
  dir.write("model/sub/deep/c", "");
  std::filesystem::create_directories(dir / "model/empty");
  Result<SourceTree> tree = SourceTree::scan(dir / "model");
  ASSERT_TRUE(tree) << tree.error().str();
  EXPECT_THAT(paths(*tree), ElementsAre(".gitattributes", "b.safetensors", "sub/deep/c"));
  EXPECT_EQ(tree->total_size(), 3u);
}

TEST(SourceTree, ADirectoryWithoutFilesIsAnError) {
  TempDir dir;
  std::filesystem::create_directories(dir / "model/sub");
  EXPECT_THAT(SourceTree::scan(dir / "model").error().message(), HasSubstr("has no files"));
}

TEST(SourceTree, SaysWhatIsNoDirectory) {
  TempDir dir;
  dir.write("file", "x");
  EXPECT_THAT(SourceTree::scan(dir / "file").error().message(), HasSubstr("is not a directory"));
  EXPECT_EQ(SourceTree::scan(dir / "none").error().code(), Errc::kNotFound);
}

TEST(SourceTree, FollowsLinksToFilesInsideAndRefusesAllOthers) {
  TempDir dir;
  dir.write("outside", "secret");
  dir.write("model/blobs/x", "weights");
  std::filesystem::create_symlink("blobs/x", dir / "model/weights");
  Result<SourceTree> good = SourceTree::scan(dir / "model");
  ASSERT_TRUE(good) << good.error().str();
  EXPECT_THAT(paths(*good), ElementsAre("blobs/x", "weights"));
  EXPECT_EQ(good->files()[1].stamp.size, 7u);
  Result<OpenedFile> opened = good->open(good->files()[1]);
  ASSERT_TRUE(opened);
  EXPECT_EQ(opened->real_path, std::filesystem::canonical(dir / "model/blobs/x"));

  std::filesystem::create_symlink("../outside", dir / "model/a-relative");
  std::filesystem::create_symlink(dir / "outside", dir / "model/b-absolute");
  std::filesystem::create_symlink("blobs", dir / "model/c-directory");
  std::filesystem::create_symlink("nowhere", dir / "model/d-dangling");
  std::filesystem::create_symlink("e-loop", dir / "model/e-loop");
  Result<SourceTree> bad = SourceTree::scan(dir / "model");
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().code(), Errc::kInvalid);
  EXPECT_THAT(bad.error().message(),
              AllOf(HasSubstr("'a-relative' is a link that leads out"),
                    HasSubstr("'b-absolute' is a link that leads out"),
                    HasSubstr("'c-directory' is a link to something that is no file"),
                    HasSubstr("'d-dangling' is a link that cannot be followed"),
                    HasSubstr("'e-loop' is a link that cannot be followed")));
}

TEST(SourceTree, RefusesSpecialFilesWithoutOpeningThem) {
  TempDir dir;
  dir.write("model/a", "x");
  ASSERT_EQ(::mkfifo((dir / "model/pipe").c_str(), 0600), 0);
  EXPECT_THAT(SourceTree::scan(dir / "model").error().message(),
              HasSubstr("'pipe' is neither a file, a directory nor a link"));
}

TEST(SourceTree, RefusesNamesThatAModelCannotHaveAndEscapesThem) {
  TempDir dir;
  dir.write("model/new\nline", "x");
  dir.write("model/\xff", "x");
  Result<SourceTree> tree = SourceTree::scan(dir / "model");
  ASSERT_FALSE(tree);
  EXPECT_THAT(tree.error().message(),
              AllOf(HasSubstr("new\\x0aline"), HasSubstr("\\xff"), Not(HasSubstr("\n"))));
}

TEST(SourceTree, RefusesPathsThatAreTooLong) {
  TempDir dir;
  std::filesystem::path deep = dir / "model";
  std::filesystem::create_directories(deep);
  int fd = ::open(deep.c_str(), O_RDONLY | O_DIRECTORY);
  std::string name(250, 'd');
  for (int i = 0; i < 17; ++i) {  // 17 × 251 > 4096
    ASSERT_EQ(::mkdirat(fd, name.c_str(), 0700), 0);
    int next = ::openat(fd, name.c_str(), O_RDONLY | O_DIRECTORY);
    ::close(fd);
    fd = next;
  }
  ::close(::openat(fd, "file", O_CREAT | O_WRONLY, 0600));
  ::close(fd);
  EXPECT_EQ(SourceTree::scan(deep).error().code(), Errc::kInvalid);
}

TEST(SourceTree, CountsTheProblemsItDoesNotShow) {
  TempDir dir;
  for (int i = 0; i < 20; ++i) {
    std::filesystem::create_directories(dir / "model");
    std::filesystem::create_symlink("/etc", dir / ("model/link" + std::to_string(i)));
  }
  EXPECT_THAT(SourceTree::scan(dir / "model").error().message(), HasSubstr("and 15 more"));
}

TEST(SourceTree, NoticesThatAFileChanged) {
  TempDir dir;
  std::filesystem::path path = dir.write("model/a", "one");
  Result<SourceTree> tree = SourceTree::scan(dir / "model");
  ASSERT_TRUE(tree);
  const SourceFile& file = tree->files()[0];
  Result<OpenedFile> opened = tree->open(file);
  ASSERT_TRUE(opened);
  EXPECT_TRUE(SourceTree::check_unchanged(file, opened->fd.get()));
  dir.write("model/a", "two");  // same size, same inode
  struct timespec times[2] = {{1, 0}, {1, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  EXPECT_EQ(SourceTree::check_unchanged(file, opened->fd.get()).error().code(), Errc::kConflict);
  EXPECT_THAT(tree->open(file).error().message(), HasSubstr("'a' changed"));
  std::filesystem::remove(path);
  EXPECT_FALSE(tree->open(file));
}

}  // namespace
}  // namespace shoal::cli
