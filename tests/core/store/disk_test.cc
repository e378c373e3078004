// The store on real file systems: an xfs that shares blocks, one without, and ones that fill up.
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>

#include "core/store/blob_store.h"
#include "tests/core/store/sample_blob.h"
#include "tests/fakes/temp_directory.h"

namespace shoal::store {
namespace {

using content::PieceIndex;

FileSystem& fs() { return real_file_system(); }

// Mounting is the one thing here that needs a privilege, and the one reason to skip.
#define SHOAL_SKIP_WITHOUT_MOUNTS()                                                         \
  if (::geteuid() != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) \
  GTEST_SKIP() << "mounting a file system needs root with CAP_SYS_ADMIN"

// The suite runs in a mount namespace of its own, so that no mount outlives it or is seen outside.
class MountNamespace : public testing::Environment {
 public:
  void SetUp() override {
    if (::geteuid() == 0 && ::unshare(CLONE_NEWNS) != 0) {
      std::cout << "no mount namespace of its own: mounts are tested nowhere\n";
    }
  }
};
const auto* const kEnvironment = testing::AddGlobalTestEnvironment(new MountNamespace);

class Mount {
 public:
  ~Mount() {
    if (mounted_) ::umount2(point_.c_str(), MNT_DETACH);
  }
  // A tmpfs of `size` bytes.
  void tmpfs(const std::string& point, std::uint64_t size) {
    point_ = point;
    ASSERT_EQ(::mkdir(point.c_str(), 0700), 0);
    ASSERT_EQ(::mount("none", point.c_str(), "tmpfs", 0, ("size=" + std::to_string(size)).c_str()),
              0);
    mounted_ = true;
  }
  // A file system made by `mkfs` in a sparse file of `size` bytes.
  void loop(const std::string& mkfs, const std::string& image, const std::string& point,
            std::uint64_t size) {
    point_ = point;
    ASSERT_EQ(::mkdir(point.c_str(), 0700), 0);
    { std::ofstream create(image); }
    ASSERT_EQ(::truncate(image.c_str(), static_cast<off_t>(size)), 0);
    ASSERT_EQ(std::system((mkfs + " " + image + " > /dev/null").c_str()), 0);
    ASSERT_EQ(std::system(("mount -o loop " + image + " " + point).c_str()), 0);
    mounted_ = true;
  }

 private:
  std::string point_;
  bool mounted_ = false;
};

StoreConfig config_in(const std::string& root, const std::string& runtime) {
  StoreConfig config;
  config.store_directory = root + "/store";
  config.runtime_directory = runtime + "/run";
  config.limits.free_space_floor = 0;
  return config;
}

void expect_offers_only_good(Blob& blob, const SampleBlob& sample) {
  for (PieceIndex piece : sample.layout().all_pieces()) {
    if (!blob.has(piece)) continue;
    const ByteRange range = sample.layout().range_of(piece);
    std::vector<std::byte> out(range.length);
    ASSERT_TRUE(blob.read(range, out));
    ASSERT_TRUE(sample.table.verify_piece(piece, out)) << piece.value();
  }
}

void write_file(const std::string& path, std::span<const std::byte> bytes) {
  auto fd = fs().open(path, OpenMode::kCreate, 0644);
  ASSERT_TRUE(fd && fs().pwrite(fd->get(), bytes, 0)) << path;
}

// A life of a store on whatever lies at `root`.
void live_a_life(const std::string& root, const std::string& runtime, bool shares_blocks) {
  const SampleBlob imported = sample_blob(5 * kMiB + 17, 1);
  const SampleBlob fetched = sample_blob(3 * kMiB + 1, 2);
  write_file(root + "/source", imported.data);
  for (int life = 0; life < 2; ++life) {
    auto store = BlobStore::open(config_in(root, runtime), fs());
    ASSERT_TRUE(store) << store.error().str();
    auto source = fs().open(root + "/source", OpenMode::kRead);
    auto report = (*store)->import(imported.table, source->get());
    ASSERT_TRUE(report) << report.error().str();
    EXPECT_EQ(report->reflinked, life == 0 && shares_blocks);
    ASSERT_TRUE(report->blob->durable());
    expect_offers_only_good(*report->blob, imported);
    if (life == 0) {
      // Later writes to the source do not reach the store's bytes.
      auto writable = fs().open(root + "/source", OpenMode::kReadWrite);
      ASSERT_TRUE(fs().pwrite(writable->get(), as_bytes("changed"), 0));
      EXPECT_TRUE(report->blob->scrub(imported.layout().all_pieces())->none());
      ASSERT_TRUE(fs().pwrite(writable->get(), imported.bytes(0), 0));
    }
    auto blob = (*store)->create(fetched.table, Reservation::kFull);
    ASSERT_TRUE(blob) << blob.error().str();
    auto st = fs().stat(root + "/store/blobs/sha256/" + fetched.digest().hex().substr(0, 2) + "/" +
                        fetched.digest().hex() + "/data");
    ASSERT_TRUE(st);
    // Reserved before the first piece: in the file, or where that would fill memory, in the count.
    auto space = fs().space(root);
    ASSERT_TRUE(space);
    if (space->in_memory) {
      EXPECT_EQ(st->allocated, life == 0 ? 0u : 20 * kPiece);
      EXPECT_EQ((*store)->space().use.fs_free + fetched.data.size() - st->allocated, space->free);
    } else {
      EXPECT_GE(st->allocated, fetched.data.size());
    }
    EXPECT_EQ((*blob)->have_count(), life == 0 ? 0u : 20u);
    ASSERT_TRUE((*blob)->commit(PieceIndex(0), fetched.bytes(0, 20)));
    expect_offers_only_good(**blob, fetched);
    ASSERT_TRUE((*store)->close());
  }
}

TEST(StoreOnDisk, LivesOnTheTemporaryDirectory) {
  fakes::TempDirectory directory;
  live_a_life(directory.path(), directory.path(), false);
}

TEST(StoreOnDisk, SharesBlocksOnXfs) {
  SHOAL_SKIP_WITHOUT_MOUNTS();
  fakes::TempDirectory directory;
  Mount xfs;
  ASSERT_NO_FATAL_FAILURE(
      xfs.loop("mkfs.xfs -q -m reflink=1", directory / "image", directory / "xfs", 512 * kMiB));
  auto before = fs().space(directory / "xfs");
  live_a_life(directory / "xfs", directory.path(), true);
  // Source and blob take the space of one (and the other blob its own).
  auto after = fs().space(directory / "xfs");
  EXPECT_LT(before->free - after->free, 5 * kMiB + 3 * kMiB + 3 * kMiB);
}

TEST(StoreOnDisk, CopiesOnExt4) {
  SHOAL_SKIP_WITHOUT_MOUNTS();
  fakes::TempDirectory directory;
  Mount ext4;
  ASSERT_NO_FATAL_FAILURE(
      ext4.loop("mkfs.ext4 -q", directory / "image", directory / "ext4", 128 * kMiB));
  live_a_life(directory / "ext4", directory.path(), false);
}

TEST(StoreOnDisk, CopiesOnTmpfs) {
  SHOAL_SKIP_WITHOUT_MOUNTS();
  fakes::TempDirectory directory;
  Mount tmpfs;
  ASSERT_NO_FATAL_FAILURE(tmpfs.tmpfs(directory / "tmpfs", 64 * kMiB));
  live_a_life(directory / "tmpfs", directory.path(), false);
}

void fill_up(const std::string& root, const std::string& runtime) {
  const SampleBlob small = sample_blob(kMiB, 1);
  const SampleBlob large = sample_blob(64 * kMiB, 2);
  auto store = BlobStore::open(config_in(root, runtime), fs());
  ASSERT_TRUE(store) << store.error().str();
  auto first = (*store)->create(small.table, Reservation::kFull);
  ASSERT_TRUE(first) << first.error().str();
  // A full fetch that cannot end is refused before it starts.
  EXPECT_EQ((*store)->create(large.table, Reservation::kFull).error().code(), Errc::kNoSpace);
  // A sparse one stops when the disk is full, without losing anything.
  auto blob = (*store)->create(large.table, Reservation::kSparse);
  ASSERT_TRUE(blob) << blob.error().str();
  std::uint32_t piece = 0;
  Result<std::uint32_t> committed = 0;
  for (; piece < large.layout().piece_count(); ++piece) {
    committed = (*blob)->commit(PieceIndex(piece), large.bytes(piece));
    if (!committed) break;
  }
  ASSERT_FALSE(committed);
  EXPECT_EQ(committed.error().code(), Errc::kNoSpace) << committed.error().str();
  EXPECT_FALSE((*blob)->has(PieceIndex(piece)));
  EXPECT_EQ((*blob)->have_count(), piece);
  expect_offers_only_good(**blob, large);
  // What was reserved is there.
  EXPECT_TRUE((*first)->commit(PieceIndex(0), small.data));
  // And with space it goes on.
  ASSERT_TRUE(fs().unlink(root + "/ballast"));
  committed = (*blob)->commit(PieceIndex(piece), large.bytes(piece));
  EXPECT_TRUE(committed) << committed.error().str();
  ASSERT_TRUE((*store)->close());
  first->reset();
  blob->reset();
  store = BlobStore::open(config_in(root, runtime), fs());
  ASSERT_TRUE(store) << store.error().str();
  EXPECT_EQ((*(*store)->find(large.digest()))->have_count(), piece + 1);
  EXPECT_TRUE((*(*store)->find(small.digest()))->durable());
}

void put_ballast(const std::string& path, std::uint64_t size) {
  auto fd = fs().open(path, OpenMode::kCreate);
  ASSERT_TRUE(fd && fs().preallocate(fd->get(), size));
}

TEST(StoreOnDisk, SurvivesAFullTmpfs) {
  SHOAL_SKIP_WITHOUT_MOUNTS();
  fakes::TempDirectory directory;
  Mount tmpfs;
  ASSERT_NO_FATAL_FAILURE(tmpfs.tmpfs(directory / "tmpfs", 16 * kMiB));
  ASSERT_NO_FATAL_FAILURE(put_ballast(directory / "tmpfs/ballast", 4 * kMiB));
  fill_up(directory / "tmpfs", directory.path());
}

TEST(StoreOnDisk, SurvivesAFullExt4) {
  SHOAL_SKIP_WITHOUT_MOUNTS();
  fakes::TempDirectory directory;
  Mount ext4;
  ASSERT_NO_FATAL_FAILURE(
      ext4.loop("mkfs.ext4 -q", directory / "image", directory / "ext4", 32 * kMiB));
  ASSERT_NO_FATAL_FAILURE(put_ballast(directory / "ext4/ballast", 4 * kMiB));
  fill_up(directory / "ext4", directory.path());
}

TEST(StoreOnDisk, AFullRuntimeDirectoryFailsCreationAndNothingElse) {
  SHOAL_SKIP_WITHOUT_MOUNTS();
  fakes::TempDirectory directory;
  Mount tmpfs;
  ASSERT_NO_FATAL_FAILURE(tmpfs.tmpfs(directory / "tmpfs", 64 * kKiB));
  StoreConfig config = config_in(directory.path(), directory / "tmpfs");
  auto store = BlobStore::open(config, fs());
  ASSERT_TRUE(store) << store.error().str();
  std::vector<std::shared_ptr<Blob>> blobs;
  Result<std::shared_ptr<Blob>> made = fail(Errc::kInternal, "");
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    made = (*store)->create(sample_blob(kPiece, seed).table, Reservation::kSparse);
    if (!made) break;
    blobs.push_back(*made);
  }
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code(), Errc::kNoSpace) << made.error().str();
  for (std::size_t seed = 0; seed < blobs.size(); ++seed) {
    EXPECT_TRUE(blobs[seed]->commit(PieceIndex(0), sample_blob(kPiece, seed).data));
  }
  EXPECT_EQ((*store)->list().size(), blobs.size());
}

TEST(StoreOnDisk, AnotherProcessIsKeptOut) {
  fakes::TempDirectory directory;
  auto store = BlobStore::open(config_in(directory.path(), directory.path()), fs());
  ASSERT_TRUE(store);
  const pid_t child = ::fork();
  if (child == 0) {
    StoreConfig config = config_in(directory.path(), directory / "elsewhere");
    (void)fs().make_directory(directory / "elsewhere").has_value();
    auto second = BlobStore::open(config, fs());
    const bool right = !second && second.error().code() == Errc::kConflict &&
                       second.error().message().find("process " + std::to_string(::getppid())) !=
                           std::string::npos;
    ::_exit(right ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

std::uint64_t anonymous_bytes() {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.rfind("RssAnon:", 0) == 0) return std::stoull(line.substr(8)) * kKiB;
  }
  return 0;
}

TEST(StoreOnDisk, HugeSparseBlobsTakeLittleMemory) {
  fakes::TempDirectory directory;
  constexpr int kBlobs = 4;
  const std::vector<std::byte> data = random_bytes(2 * kMiB, 1);
  const content::BlobLayout layout(100 * kGiB);
  ASSERT_EQ(layout.piece_length(), data.size());
  // Every piece the same, so that any can be committed without 400 GiB of source.
  const content::Hash32 hash = content::piece_hash(layout, PieceIndex(0), data);
  StoreConfig config = config_in(directory.path(), directory.path());
  config.limits.capacity = 64 * kGiB;
  auto store = BlobStore::open(config, fs());
  ASSERT_TRUE(store);
  std::vector<std::shared_ptr<Blob>> blobs;
  const std::uint64_t before = anonymous_bytes();
  ASSERT_GT(before, 0u);
  for (int i = 0; i < kBlobs; ++i) {
    auto table =
        content::PieceTable::make(content::digest_of(std::to_string(i)), layout,
                                  std::vector<content::Hash32>(layout.piece_count(), hash));
    ASSERT_TRUE(table);
    auto blob = (*store)->create(*table, Reservation::kSparse);
    ASSERT_TRUE(blob) << blob.error().str();
    blobs.push_back(*blob);
  }
  for (int round = 0; round < 4; ++round) {
    for (const auto& blob : blobs) {
      const PieceIndex piece(layout.piece_count() / 4 * static_cast<std::uint32_t>(round));
      ASSERT_TRUE(blob->commit(piece, data));
    }
  }
  for (const auto& blob : blobs) ASSERT_TRUE(blob->sync());
  const std::uint64_t after = anonymous_bytes();
  std::cout << "anonymous memory grew by " << (after - std::min(before, after)) / kKiB << " KiB\n";
  // Four tables alone are 6.3 MiB: they are mapped, not copied. The allocator may keep one; that of
  // AddressSanitizer keeps everything that was ever freed, so there the figure means nothing.
#ifndef __SANITIZE_ADDRESS__
  EXPECT_LT(after, before + 4 * kMiB);
#endif
  EXPECT_EQ((*store)->space().use.used, 16 * data.size());
  EXPECT_EQ(blobs[0]->have_count(), 4u);
}

}  // namespace
}  // namespace shoal::store
