// One suite for the real file system and its fakes, so that what is proved over a fake holds.
#include "core/store/file_system.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <memory>

#include "core/base/units.h"
#include "tests/core/store/sample_blob.h"
#include "tests/fakes/faulty_file_system.h"
#include "tests/fakes/memory_file_system.h"
#include "tests/fakes/temp_directory.h"

namespace shoal::store {
namespace {

class RealFixture {
 public:
  FileSystem& fs() { return real_file_system(); }
  std::string root() const { return directory_.path(); }

 private:
  fakes::TempDirectory directory_;
};

class MemoryFixture {
 public:
  MemoryFixture() { EXPECT_TRUE(fs_.make_directory("/root", 0700)); }
  FileSystem& fs() { return fs_; }
  std::string root() const { return "/root"; }

 private:
  fakes::MemoryFileSystem fs_;
};

class FaultyFixture {
 public:
  FaultyFixture() { EXPECT_TRUE(memory_.make_directory("/root", 0700)); }
  FileSystem& fs() { return faulty_; }
  std::string root() const { return "/root"; }

 private:
  fakes::MemoryFileSystem memory_;
  fakes::FaultyFileSystem faulty_{memory_};
};

template <typename Fixture>
class AnyFileSystem : public testing::Test {
 protected:
  FileSystem& fs() { return fixture_.fs(); }
  std::string path(const std::string& name) const { return fixture_.root() + "/" + name; }

  UniqueFd make(const std::string& name, std::string_view text) {
    auto fd = fs().open(path(name), OpenMode::kCreate);
    EXPECT_TRUE(fd) << fd.error().str();
    EXPECT_TRUE(fs().pwrite(fd->get(), as_bytes(text), 0));
    return *std::move(fd);
  }
  std::string text_of(const std::string& name) {
    auto bytes = read_file(fs(), path(name), 1000);
    if (!bytes) return bytes.error().str();
    return {reinterpret_cast<const char*>(bytes->data()), bytes->size()};
  }
  Errc code(const Status& status) {
    EXPECT_FALSE(status.has_value());
    return status ? Errc::kInternal : status.error().code();
  }

  Fixture fixture_;
};

using Fixtures = testing::Types<RealFixture, MemoryFixture, FaultyFixture>;
TYPED_TEST_SUITE(AnyFileSystem, Fixtures);

TYPED_TEST(AnyFileSystem, ReadsWhatWasWritten) {
  UniqueFd fd = this->make("a", "hello world");
  std::vector<std::byte> out(100);
  EXPECT_EQ(*this->fs().pread(fd.get(), out, 6), 5u);
  EXPECT_EQ(std::memcmp(out.data(), "world", 5), 0);
  EXPECT_EQ(*this->fs().pread(fd.get(), out, 11), 0u);
  EXPECT_EQ(this->text_of("a"), "hello world");
}

TYPED_TEST(AnyFileSystem, OpensByMode) {
  EXPECT_EQ(this->fs().open(this->path("a"), OpenMode::kRead).error().code(), Errc::kNotFound);
  EXPECT_EQ(this->fs().open(this->path("a"), OpenMode::kReadWrite).error().code(), Errc::kNotFound);
  EXPECT_EQ(this->fs().open(this->path("no/a"), OpenMode::kCreate).error().code(), Errc::kNotFound);
  EXPECT_TRUE(this->fs().open(this->path("a"), OpenMode::kCreateNew));
  EXPECT_EQ(this->fs().open(this->path("a"), OpenMode::kCreateNew).error().code(), Errc::kConflict);
  EXPECT_TRUE(this->fs().open(this->path("a"), OpenMode::kCreate));
  auto reader = this->fs().open(this->path("a"), OpenMode::kRead);
  ASSERT_TRUE(reader);
  EXPECT_LT(::write(reader->get(), "x", 1), 0);
}

TYPED_TEST(AnyFileSystem, ReopensAFileWithoutAName) {
  UniqueFd fd = this->make("a", "still here");
  ASSERT_TRUE(this->fs().unlink(this->path("a")));
  auto copy = this->fs().reopen_read_only(fd.get());
  ASSERT_TRUE(copy) << copy.error().str();
  std::vector<std::byte> out(10);
  EXPECT_EQ(*this->fs().pread(copy->get(), out, 0), 10u);
  EXPECT_LT(::write(copy->get(), "x", 1), 0);
}

TYPED_TEST(AnyFileSystem, MapsDescriptors) {
  UniqueFd fd = this->make("a", "mapped");
  void* base = ::mmap(nullptr, 6, PROT_READ, MAP_SHARED, fd.get(), 0);
  ASSERT_NE(base, MAP_FAILED);
  EXPECT_EQ(std::memcmp(base, "mapped", 6), 0);
  ASSERT_TRUE(this->fs().pwrite(fd.get(), as_bytes("M"), 0));
  EXPECT_EQ(std::memcmp(base, "Mapped", 6), 0);
  ::munmap(base, 6);
}

TYPED_TEST(AnyFileSystem, KnowsHoles) {
  UniqueFd fd = this->make("a", "");
  ASSERT_TRUE(this->fs().set_size(fd.get(), 1 * kMiB));
  EXPECT_EQ(*this->fs().next_data(fd.get(), 0), 1 * kMiB);
  ASSERT_TRUE(this->fs().pwrite(fd.get(), as_bytes("x"), 256 * kKiB));
  EXPECT_EQ(*this->fs().next_data(fd.get(), 0), 256 * kKiB);
  EXPECT_EQ(*this->fs().next_data(fd.get(), 512 * kKiB), 1 * kMiB);
  EXPECT_EQ(this->fs().stat(fd.get())->size, 1 * kMiB);
}

TYPED_TEST(AnyFileSystem, ReservesSpaceThatReadsAsZero) {
  UniqueFd fd = this->make("a", "");
  ASSERT_TRUE(this->fs().preallocate(fd.get(), 1 * kMiB));
  auto st = this->fs().stat(fd.get());
  ASSERT_TRUE(st);
  EXPECT_EQ(st->size, 1 * kMiB);
  EXPECT_GE(st->allocated, 1 * kMiB);
  std::vector<std::byte> out(4096, std::byte{1});
  EXPECT_EQ(*this->fs().pread(fd.get(), out, 4096), 4096u);
  EXPECT_EQ(out, std::vector<std::byte>(4096));
}

TYPED_TEST(AnyFileSystem, RenamesAndReplaces) {
  this->make("a", "new");
  this->make("b", "old");
  ASSERT_TRUE(this->fs().rename(this->path("a"), this->path("b")));
  EXPECT_EQ(this->text_of("b"), "new");
  EXPECT_EQ(this->code(this->fs().rename(this->path("a"), this->path("c"))), Errc::kNotFound);
  ASSERT_TRUE(this->fs().make_directory(this->path("d"), 0700));
  ASSERT_TRUE(this->fs().make_directory(this->path("e"), 0700));
  this->make("e/x", "x");
  ASSERT_TRUE(this->fs().rename(this->path("e"), this->path("d")));
  EXPECT_EQ(this->text_of("d/x"), "x");
  ASSERT_TRUE(this->fs().make_directory(this->path("f"), 0700));
  EXPECT_FALSE(this->fs().rename(this->path("f"), this->path("d")));  // not empty
}

TYPED_TEST(AnyFileSystem, MakesListsAndRemovesDirectories) {
  ASSERT_TRUE(this->fs().make_directory(this->path("d"), 0700));
  EXPECT_EQ(this->code(this->fs().make_directory(this->path("d"), 0700)), Errc::kConflict);
  EXPECT_TRUE(ensure_directory(this->fs(), this->path("d")));
  this->make("d/b", "");
  this->make("d/a", "");
  EXPECT_EQ(*this->fs().list(this->path("d")), (std::vector<std::string>{"a", "b"}));
  EXPECT_FALSE(this->fs().remove_directory(this->path("d")));
  EXPECT_TRUE(this->fs().stat(this->path("d"))->directory);
  EXPECT_TRUE(remove_all(this->fs(), this->path("d")));
  EXPECT_EQ(this->fs().stat(this->path("d")).error().code(), Errc::kNotFound);
  EXPECT_TRUE(remove_all(this->fs(), this->path("d")));
  EXPECT_EQ(this->fs().list(this->path("d")).error().code(), Errc::kNotFound);
}

TYPED_TEST(AnyFileSystem, StatsFilesByNameAndDescriptor) {
  UniqueFd fd = this->make("a", "12345");
  auto named = this->fs().stat(this->path("a"));
  auto opened = this->fs().stat(fd.get());
  ASSERT_TRUE(named && opened);
  EXPECT_EQ(named->size, 5u);
  EXPECT_TRUE(named->regular);
  EXPECT_EQ(named->inode, opened->inode);
  EXPECT_EQ(named->mtime_ns, opened->mtime_ns);
  ASSERT_TRUE(this->fs().set_mtime(this->path("a"), 1'234'567'890'123'456'789));
  EXPECT_EQ(this->fs().stat(fd.get())->mtime_ns, 1'234'567'890'123'456'789);
  UniqueFd other = this->make("b", "");
  EXPECT_NE(this->fs().stat(other.get())->inode, named->inode);
}

TYPED_TEST(AnyFileSystem, SyncsWithoutChangingAnything) {
  UniqueFd fd = this->make("a", "text");
  EXPECT_TRUE(this->fs().start_writeback(fd.get(), 0, 4, false));
  EXPECT_TRUE(this->fs().start_writeback(fd.get(), 0, 4, true));
  EXPECT_TRUE(this->fs().sync_data(fd.get()));
  EXPECT_TRUE(this->fs().sync_directory(this->path("")));
  EXPECT_EQ(this->text_of("a"), "text");
}

TYPED_TEST(AnyFileSystem, LocksOncePerFile) {
  UniqueFd first = this->make("lock", "");
  UniqueFd second = *this->fs().open(this->path("lock"), OpenMode::kCreate);
  EXPECT_TRUE(*this->fs().try_lock(first.get()));
  EXPECT_FALSE(*this->fs().try_lock(second.get()));
  first.reset();
  EXPECT_TRUE(*this->fs().try_lock(second.get()));
}

TYPED_TEST(AnyFileSystem, SetsSpaceAside) {
  UniqueFd fd = this->make("a", "");
  ASSERT_TRUE(reserve_space(this->fs(), this->fixture_.root(), fd.get(), 1 * kMiB));
  EXPECT_GE(this->fs().stat(fd.get())->allocated, 1 * kMiB);
}

TYPED_TEST(AnyFileSystem, TellsItsSpace) {
  auto space = this->fs().space(this->path(""));
  ASSERT_TRUE(space);
  EXPECT_GT(space->total, 0u);
  EXPECT_LE(space->free, space->total);
}

TYPED_TEST(AnyFileSystem, ReplacesSmallFiles) {
  ASSERT_TRUE(replace_file(this->fs(), this->path("a"), as_bytes("first, and longer")));
  ASSERT_TRUE(replace_file(this->fs(), this->path("a"), as_bytes("second")));
  EXPECT_EQ(this->text_of("a"), "second");
  EXPECT_EQ(this->fs().list(this->path(""))->size(), 1u);
  EXPECT_EQ(read_file(this->fs(), this->path("a"), 5).error().code(), Errc::kInvalid);
}

class PowerCut : public testing::Test {
 protected:
  PowerCut() {
    EXPECT_TRUE(fs_.make_directory("/d", 0700));
    EXPECT_TRUE(fs_.sync_directory("/"));
  }
  UniqueFd make(const std::string& path, std::string_view text) {
    auto fd = fs_.open(path, OpenMode::kCreate, 0600);
    EXPECT_TRUE(fd && fs_.pwrite(fd->get(), as_bytes(text), 0));
    return *std::move(fd);
  }
  std::string text_of(const std::string& path) {
    auto bytes = read_file(fs_, path, 1000);
    if (!bytes) return std::string(errc_name(bytes.error().code()));
    return {reinterpret_cast<const char*>(bytes->data()), bytes->size()};
  }
  fakes::MemoryFileSystem fs_;
};

TEST_F(PowerCut, KeepsBytesThatWereSyncedUnderANameThatWasSynced) {
  UniqueFd a = make("/d/a", "one");
  ASSERT_TRUE(fs_.sync_data(a.get()) && fs_.sync_directory("/d"));
  ASSERT_TRUE(fs_.pwrite(a.get(), as_bytes("two, longer"), 0));
  UniqueFd b = make("/d/b", "nameless");
  ASSERT_TRUE(fs_.sync_data(b.get()));
  fs_.power_cut();
  EXPECT_EQ(text_of("/d/a"), "one");
  EXPECT_EQ(text_of("/d/b"), "not_found");
}

TEST_F(PowerCut, LosesBytesAndLengthWithoutSync) {
  UniqueFd a = make("/d/a", "lost");
  ASSERT_TRUE(fs_.sync_directory("/d"));
  fs_.power_cut();
  EXPECT_EQ(text_of("/d/a"), "");
}

TEST_F(PowerCut, LosesRenamesAndRemovalsOfUnsyncedDirectories) {
  UniqueFd a = make("/d/a", "a");
  UniqueFd b = make("/d/b", "b");
  ASSERT_TRUE(fs_.sync_data(a.get()) && fs_.sync_data(b.get()) && fs_.sync_directory("/d"));
  ASSERT_TRUE(fs_.rename("/d/a", "/d/c"));
  ASSERT_TRUE(fs_.unlink("/d/b"));
  fs_.power_cut();
  EXPECT_EQ(text_of("/d/a"), "a");
  EXPECT_EQ(text_of("/d/b"), "b");
  EXPECT_EQ(text_of("/d/c"), "not_found");
}

TEST_F(PowerCut, CanKeepAnyPartOfWhatWasNotSynced) {
  bool kept = false;
  bool lost = false;
  bool torn = false;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    fakes::MemoryFileSystem fs;
    auto fd = fs.open("/a", OpenMode::kCreate, 0600);
    ASSERT_TRUE(fd && fs.pwrite(fd->get(), std::vector<std::byte>(8192, std::byte{1}), 0));
    ASSERT_TRUE(fs.sync_data(fd->get()) && fs.sync_directory("/"));
    ASSERT_TRUE(fs.pwrite(fd->get(), std::vector<std::byte>(8192, std::byte{2}), 0));
    SeededRandom random(seed);
    fs.power_cut(random);
    auto bytes = read_file(fs, "/a", 8192);
    ASSERT_TRUE(bytes);
    const bool first = (*bytes)[0] == std::byte{2};
    const bool second = (*bytes)[8191] == std::byte{2};
    kept |= first && second;
    lost |= !first && !second;
    torn |= first != second;
  }
  EXPECT_TRUE(kept && lost && torn);
}

TEST(FaultyFileSystem, FailsExactlyTheChosenCall) {
  fakes::MemoryFileSystem memory;
  fakes::FaultyFileSystem fs(memory);
  fs.fail_call(2, fakes::Fault::kIoError);
  EXPECT_TRUE(fs.make_directory("/a", 0700));
  EXPECT_FALSE(fs.failed());
  EXPECT_EQ(fs.make_directory("/b", 0700).error().code(), Errc::kInternal);
  EXPECT_TRUE(fs.failed());
  EXPECT_TRUE(fs.make_directory("/c", 0700));
  EXPECT_EQ(*memory.list("/"), (std::vector<std::string>{"a", "c"}));
  EXPECT_EQ(fs.calls(), 3u);
}

TEST(FaultyFileSystem, TearsAWriteAndStops) {
  fakes::MemoryFileSystem memory;
  fakes::FaultyFileSystem fs(memory);
  auto fd = fs.open("/a", OpenMode::kCreate, 0600);
  ASSERT_TRUE(fd);
  fs.fail_call(1, fakes::Fault::kShortWrite);
  EXPECT_EQ(fs.pwrite(fd->get(), as_bytes("1234"), 0).error().code(), Errc::kNoSpace);
  EXPECT_EQ(memory.stat("/a")->size, 2u);
  fs.fail_call(1, fakes::Fault::kStop);
  EXPECT_FALSE(fs.pwrite(fd->get(), as_bytes("12345678"), 0));
  EXPECT_FALSE(fs.pwrite(fd->get(), as_bytes("12345678"), 0));
  EXPECT_EQ(memory.stat("/a")->size, 4u);
}

TEST(RealFileSystem, FillsNoMemoryToSetSpaceAside) {
  auto& fs = real_file_system();
  UniqueFd fd(::memfd_create("reserved", MFD_CLOEXEC));
  ASSERT_TRUE(fd);
  auto space = fs.space("/dev/shm");
  ASSERT_TRUE(space) << space.error().str();
  ASSERT_TRUE(space->in_memory);
  EXPECT_EQ(reserve_space(fs, "/dev/shm", fd.get(), 1 * kMiB).error().code(), Errc::kUnavailable);
  EXPECT_EQ(fs.stat(fd.get())->allocated, 0u);
}

}  // namespace
}  // namespace shoal::store
