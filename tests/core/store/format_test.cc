// fixtures/format1 is a store as the first version wrote it. It must open for ever: a change that
// breaks this test needs a new format number and a way to read the old one, not a new fixture.
#include <gtest/gtest.h>

#include <filesystem>

#include "core/store/blob_store.h"
#include "tests/core/store/sample_blob.h"
#include "tests/fakes/temp_directory.h"

namespace shoal::store {
namespace {

// What the fixture's blobs hold: compressible, and no two pieces alike.
std::vector<std::byte> fixture_bytes(std::size_t size, char name) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<std::byte>(name + static_cast<char>(i / 4096));
  }
  return bytes;
}

class FormatOne : public testing::Test {
 protected:
  FormatOne() {
    // Git keeps no times; the store works on a copy.
    std::filesystem::copy(SHOAL_STORE_FIXTURES "/format1", directory_ / "store",
                          std::filesystem::copy_options::recursive);
    config_.store_directory = directory_ / "store";
    config_.runtime_directory = directory_ / "run";
  }
  void expect_bytes(Blob& blob, content::PieceRange some, const std::vector<std::byte>& bytes) {
    const ByteRange range = blob.layout().range_of(some);
    std::vector<std::byte> out(range.length);
    auto read = blob.read(range, out);
    ASSERT_TRUE(read) << read.error().str();
    EXPECT_TRUE(
        std::equal(out.begin(), out.end(), bytes.begin() + static_cast<long>(range.offset)));
  }

  fakes::TempDirectory directory_;
  StoreConfig config_;
  const std::vector<std::byte> whole_ = fixture_bytes(kPiece + 1000, 'A');
  const std::vector<std::byte> partial_ = fixture_bytes(2 * kPiece + 100, 'a');
};

TEST_F(FormatOne, OpensForEver) {
  auto store = BlobStore::open(config_, real_file_system());
  ASSERT_TRUE(store) << store.error().str();
  ASSERT_EQ((*store)->list().size(), 2u);

  auto whole = (*store)->find(content::digest_of(whole_));
  ASSERT_TRUE(whole) << whole.error().str();
  EXPECT_TRUE((*whole)->complete());
  EXPECT_TRUE((*whole)->durable());
  expect_bytes(**whole, (*whole)->layout().all_pieces(), whole_);
  auto info = (*store)->info(content::digest_of(whole_));
  EXPECT_EQ(info->pins, (std::set<std::string>{"a user", "model:tag"}));
  EXPECT_EQ(info->annotations, (std::map<std::string, std::string>{{"origin", "dir:/models"}}));

  // Piece 0 is recorded as synced, piece 2 is in the file, piece 1 is a hole.
  auto partial = (*store)->find(content::digest_of(partial_));
  ASSERT_TRUE(partial) << partial.error().str();
  EXPECT_EQ((*partial)->have_count(), 1u);
  expect_bytes(**partial, pieces(0), partial_);
  EXPECT_EQ((*partial)->recheck(kMiB)->recovered, 1u);
  expect_bytes(**partial, pieces(2), partial_);
  EXPECT_FALSE((*partial)->has(content::PieceIndex(1)));
  EXPECT_TRUE((*store)->info(content::digest_of(partial_))->pins.empty());
}

TEST_F(FormatOne, CanBeWorkedWith) {
  {
    auto store = BlobStore::open(config_, real_file_system());
    ASSERT_TRUE(store) << store.error().str();
    auto partial = (*store)->find(content::digest_of(partial_));
    ASSERT_TRUE(partial && (*partial)->commit(content::PieceIndex(0), partial_));
    ASSERT_TRUE((*store)->unpin(content::digest_of(whole_), "a user"));
    ASSERT_TRUE((*store)->unpin(content::digest_of(whole_), "model:tag"));
    ASSERT_TRUE((*store)->remove(content::digest_of(whole_)));
  }
  auto store = BlobStore::open(config_, real_file_system());
  ASSERT_TRUE(store) << store.error().str();
  ASSERT_EQ((*store)->list().size(), 1u);
  EXPECT_TRUE((*(*store)->find(content::digest_of(partial_)))->durable());
}

}  // namespace
}  // namespace shoal::store
