// The two small files beside a blob's data: synced and meta.json.
#include <gtest/gtest.h>

#include "core/store/blob_meta.h"
#include "core/store/synced_record.h"
#include "tests/core/store/sample_blob.h"

namespace shoal::store {
namespace {

using content::BlobLayout;
using content::PieceSet;

const content::Digest kDigest = content::digest_of("a blob");

TEST(SyncedRecord, ReadsWhatItWrites) {
  for (std::uint64_t size : {std::uint64_t{0}, std::uint64_t{1}, 8 * kPiece, 9 * kPiece - 1,
                             std::uint64_t{100} * kGiB}) {
    const BlobLayout layout(size);
    PieceSet set(layout.piece_count());
    for (std::uint32_t i = 0; i < layout.piece_count(); i += 3) set.set(content::PieceIndex(i));
    const auto bytes = encode_synced(kDigest, layout, set);
    EXPECT_LE(bytes.size(), kMaxSyncedSize);
    auto read = decode_synced(kDigest, layout, bytes);
    ASSERT_TRUE(read) << read.error().str();
    EXPECT_EQ(*read, set);
  }
}

TEST(SyncedRecord, VouchesForNothingUnlessEveryByteIsRight) {
  const BlobLayout layout(11 * kPiece);
  const auto good = encode_synced(kDigest, layout, PieceSet::full(11));
  for (std::size_t length = 0; length < good.size(); ++length) {
    auto read = decode_synced(kDigest, layout, std::span(good).first(length));
    ASSERT_FALSE(read) << length;
    EXPECT_EQ(read.error().code(), Errc::kCorrupt);
  }
  for (std::size_t at = 0; at < good.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      auto bad = good;
      bad[at] ^= static_cast<std::byte>(1 << bit);
      ASSERT_FALSE(decode_synced(kDigest, layout, bad)) << at;
    }
  }
  EXPECT_FALSE(decode_synced(content::digest_of("another"), layout, good));
  EXPECT_FALSE(decode_synced(kDigest, BlobLayout(11 * kPiece - 1), good));
}

BlobMeta full_meta() {
  BlobMeta meta;
  meta.digest = kDigest;
  meta.size = 12345;
  meta.reservation = Reservation::kSparse;
  meta.pins = {"a", "b\n\"c\""};
  meta.annotations = {{"origin", "https://example.org/x?y=z"}, {"", "empty key"}};
  meta.in_place = InPlaceSource{
      .path = "/models/größe", .size = 12345, .mtime_ns = -5, .inode = ~std::uint64_t{0}};
  return meta;
}

TEST(BlobMeta, ReadsWhatItWrites) {
  auto text = encode_meta(full_meta());
  ASSERT_TRUE(text);
  EXPECT_EQ(*decode_meta(*text), full_meta());
  BlobMeta plain;
  plain.digest = kDigest;
  EXPECT_EQ(*decode_meta(*encode_meta(plain)), plain);
}

TEST(BlobMeta, SaysOfAnUnsettledBlobThatItIs) {
  BlobMeta meta;
  meta.digest = content::ingest_name("u", "v", 7);
  meta.size = 7;
  meta.settled = false;
  EXPECT_EQ(*decode_meta(*encode_meta(meta)), meta);
  meta.settled = true;
  EXPECT_FALSE(decode_meta(*encode_meta(meta))) << "only a digest can be settled";
}

TEST(BlobMeta, IgnoresUnknownFieldsAndMissingOptionalOnes) {
  auto meta = decode_meta(R"({"format":1,"digest":")" + kDigest.str() +
                          R"(","size":7,"reservation":"full","later":[1]})");
  ASSERT_TRUE(meta) << meta.error().str();
  EXPECT_EQ(meta->size, 7u);
  EXPECT_TRUE(meta->pins.empty());
}

TEST(BlobMeta, RefusesWhatIsNotOne) {
  const std::string good = *encode_meta(full_meta());
  for (std::size_t length = 0; length + 2 < good.size(); ++length) {
    auto meta = decode_meta(std::string_view(good).substr(0, length));
    ASSERT_FALSE(meta) << length;
    EXPECT_EQ(meta.error().code(), Errc::kCorrupt);
  }
  auto changed = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return decode_meta(text.replace(at, from.size(), to)).has_value();
  };
  EXPECT_FALSE(changed("\"format\": 1", "\"format\": 2"));
  EXPECT_FALSE(changed("sha256:", "sha512:"));
  EXPECT_FALSE(changed("\"sparse\"", "\"holey\""));
  EXPECT_FALSE(changed("\n  \"size\": 12345", "\n  \"size\": \"12345\""));
  EXPECT_FALSE(changed("\n  \"size\": 12345", "\n  \"size\": 99999999999999999"));
  EXPECT_FALSE(changed("\n  \"size\": 12345", "\n  \"size\": 12345.0"));
  EXPECT_FALSE(changed("\n  \"size\": 12345", "\n  \"size\": -1"));
  EXPECT_FALSE(changed("\"format\": 1", "\"format\": 1e27"));
  EXPECT_FALSE(changed("\"pins\": [", "\"pins\": [7, "));
  EXPECT_FALSE(decode_meta("[]"));
  EXPECT_FALSE(decode_meta(std::string(kMaxMetaSize + 1, ' ')));
  EXPECT_FALSE(decode_meta(std::string(kMaxMetaSize, '[')));
}

TEST(BlobMeta, DoesNotWriteWhatItCouldNotRead) {
  BlobMeta meta = full_meta();
  meta.in_place->path = "/\xff";
  EXPECT_EQ(encode_meta(meta).error().code(), Errc::kInvalid);
  meta = full_meta();
  meta.annotations["big"] = std::string(kMaxMetaSize, 'x');
  EXPECT_EQ(encode_meta(meta).error().code(), Errc::kInvalid);
}

}  // namespace
}  // namespace shoal::store
