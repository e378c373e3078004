#include "core/content/piece_table.h"

#include <gtest/gtest.h>

#include <cstring>

#include "tests/core/content/naive_tree.h"

namespace shoal::content {
namespace {

struct Blob {
  std::vector<std::byte> data;
  PieceTable table;
};

Blob make_blob(std::size_t size, std::uint64_t seed = 1) {
  SeededRandom random(seed);
  std::vector<std::byte> data = naive::random_bytes(random, size);
  BlobHasher hasher{BlobLayout(size)};
  EXPECT_TRUE(hasher.update(data));
  return {data, PieceTable::make(*hasher.finish())};
}

void expect_same(const PieceTable& a, const PieceTable& b) {
  EXPECT_EQ(a.digest(), b.digest());
  EXPECT_EQ(a.layout(), b.layout());
  EXPECT_EQ(a.pieces_root(), b.pieces_root());
  EXPECT_TRUE(std::equal(a.piece_hashes().begin(), a.piece_hashes().end(), b.piece_hashes().begin(),
                         b.piece_hashes().end()));
}

constexpr std::size_t kSizes[] = {0,      1, kLeafSize + 1, kMinPieceLength, kMinPieceLength + 1,
                                  400'000};

TEST(PieceTable, ReadsWhatItWrites) {
  for (std::size_t size : kSizes) {
    PieceTable table = make_blob(size).table;
    std::vector<std::byte> bytes = table.serialise();
    EXPECT_EQ(bytes.size(), kPieceTableHeaderSize + 32 * table.layout().piece_count());
    Result<PieceTable> copied = PieceTable::parse(bytes);
    ASSERT_TRUE(copied) << copied.error().str();
    expect_same(*copied, table);
    EXPECT_EQ(copied->serialise(), bytes);
    Result<PieceTable> in_place = PieceTable::parse_in_place(bytes, nullptr);
    ASSERT_TRUE(in_place);
    expect_same(*in_place, table);
  }
}

TEST(PieceTable, HasTheDocumentedBytes) {
  PieceTable table = make_blob(kMinPieceLength + 1).table;
  std::vector<std::byte> bytes = table.serialise();
  EXPECT_EQ(
      std::memcmp(bytes.data(), "SHOALPT\n\1\0\0\0\2\0\0\0\1\0\1\0\0\0\0\0\0\0\1\0\0\0\0\0", 32),
      0);
  EXPECT_EQ(std::memcmp(bytes.data() + 32, table.digest().bytes().data(), 32), 0);
  EXPECT_EQ(std::memcmp(bytes.data() + 64, table.pieces_root()->data(), 32), 0);
  EXPECT_EQ(std::memcmp(bytes.data() + 96, table.hash(PieceIndex(0)).data(), 32), 0);
  EXPECT_EQ(std::memcmp(bytes.data() + 128, table.hash(PieceIndex(1)).data(), 32), 0);
}

TEST(PieceTable, RefusesATableCutOrExtendedAnywhere) {
  std::vector<std::byte> bytes = make_blob(200'000).table.serialise();
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    Result<PieceTable> parsed = PieceTable::parse(std::span(bytes).first(length));
    ASSERT_FALSE(parsed) << length;
    EXPECT_EQ(parsed.error().code(), Errc::kCorrupt);
  }
  bytes.push_back(std::byte{0});
  EXPECT_FALSE(PieceTable::parse(bytes));
}

// Every bit is covered by the root, by the layout rule or by a constant; only the digest is not,
// which expect() compares.
TEST(PieceTable, RefusesEveryChangedByteOutsideOfTheDigest) {
  for (std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{200'000}}) {
    PieceTable table = make_blob(size).table;
    const std::vector<std::byte> bytes = table.serialise();
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      // Within one piece the size changes neither the count nor the root: expect() compares it.
      if (i >= 16 && i < 19) continue;
      std::vector<std::byte> changed = bytes;
      changed[i] ^= std::byte{0x40};
      Result<PieceTable> parsed = PieceTable::parse(changed);
      if (i >= 32 && i < 64) {
        ASSERT_TRUE(parsed);
        EXPECT_FALSE(parsed->expect(table.digest(), size, std::nullopt));
      } else {
        ASSERT_FALSE(parsed) << i;
        EXPECT_EQ(parsed.error().code(), Errc::kCorrupt);
      }
    }
  }
}

TEST(PieceTable, RefusesATableWhoseRootDiffers) {
  std::vector<std::byte> bytes = make_blob(200'000).table.serialise();
  bytes[kPieceTableHeaderSize + 40] ^= std::byte{1};
  Result<PieceTable> parsed = PieceTable::parse(bytes);
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error(),
            Error(Errc::kCorrupt, "piece table: the piece hashes do not give the pieces root"));
}

TEST(PieceTable, RefusesAHugeCountBeforeUsingIt) {
  std::vector<std::byte> bytes = make_blob(1).table.serialise();
  std::fill(bytes.begin() + 12, bytes.begin() + 24, std::byte{0xff});
  EXPECT_FALSE(PieceTable::parse(bytes));
}

TEST(PieceTable, VerifiesExactlyThePiecesBytes) {
  Blob blob = make_blob(300'000);
  for (PieceIndex piece : blob.table.layout().all_pieces()) {
    ByteRange range = blob.table.layout().range_of(piece);
    std::span<std::byte> data = std::span(blob.data).subspan(range.offset, range.length);
    EXPECT_TRUE(blob.table.verify_piece(piece, data));
    EXPECT_FALSE(blob.table.verify_piece(piece, data.first(data.size() - 1)));
    data[range.length / 2] ^= std::byte{1};
    EXPECT_FALSE(blob.table.verify_piece(piece, data));
    data[range.length / 2] ^= std::byte{1};
  }
  EXPECT_FALSE(blob.table.verify_piece(PieceIndex(0), std::span(blob.data).subspan(1, 65'536)));
}

TEST(PieceTable, InPlaceReadsTheOwnersMemoryAndKeepsIt) {
  auto owner = std::make_shared<const std::vector<std::byte>>(make_blob(200'000).table.serialise());
  std::weak_ptr<const std::vector<std::byte>> watch = owner;
  const void* hashes = owner->data() + kPieceTableHeaderSize;
  {
    Result<PieceTable> table = PieceTable::parse_in_place(*owner, owner);
    ASSERT_TRUE(table);
    EXPECT_EQ(static_cast<const void*>(table->piece_hashes().data()), hashes);
    owner.reset();
    PieceTable copy = *table;
    EXPECT_FALSE(watch.expired());
  }
  EXPECT_TRUE(watch.expired());
}

TEST(PieceTable, MakeRefusesAWrongNumberOfHashes) {
  Result<PieceTable> table = PieceTable::make(Digest(), BlobLayout(1), std::vector<Hash32>(2));
  ASSERT_FALSE(table);
  EXPECT_EQ(table.error().code(), Errc::kCorrupt);
}

TEST(PieceTable, ExpectNamesWhatDiffers) {
  Blob blob = make_blob(100'000);
  const PieceTable& table = blob.table;
  EXPECT_TRUE(table.expect(table.digest(), 100'000, std::nullopt));
  EXPECT_TRUE(table.expect(table.digest(), 100'000, table.pieces_root()));
  EXPECT_FALSE(table.expect(Digest(), 100'000, std::nullopt));
  EXPECT_FALSE(table.expect(table.digest(), 99'999, std::nullopt));
  Status status = table.expect(table.digest(), 100'000, Hash32{});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), Errc::kCorrupt);
  EXPECT_NE(status.error().message().find("pieces root"), std::string::npos);
}

}  // namespace
}  // namespace shoal::content
