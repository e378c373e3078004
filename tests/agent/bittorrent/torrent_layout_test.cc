#include "agent/bittorrent/torrent_layout.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace shoal::agent::bittorrent {
namespace {

constexpr std::uint64_t kPiece = 100;

content::Digest name(char c) { return content::Digest::from_hex(std::string(64, c)).value(); }

// Pieces 0 and 1: a, of 130 bytes; 2: b, a full one; 3: c, of one byte.
TorrentLayout sample() {
  return TorrentLayout::make(
             kPiece, 4 * kPiece,
             {{0, 130, name('a')}, {2 * kPiece, 100, name('b')}, {3 * kPiece, 1, name('c')}})
      .value();
}

// The bytes of the torrent, said otherwise: which blob and where in it; 0 for padding.
std::string naive(const TorrentLayout& layout, std::uint64_t at) {
  for (const TorrentLayout::File& file : layout.files()) {
    if (at >= file.begin && at < file.begin + file.size) {
      return file.blob.hex().substr(0, 1) + std::to_string(at - file.begin);
    }
  }
  return "0";
}

TEST(TorrentLayout, FindsEveryRangeOfEveryPiece) {
  const TorrentLayout layout = sample();
  for (std::uint64_t piece = 0; piece < 4; ++piece) {
    for (std::uint64_t start = 0; start < kPiece; ++start) {
      for (std::uint64_t length = 0; length <= kPiece - start; ++length) {
        auto parts = layout.parts(piece, start, length);
        ASSERT_TRUE(parts) << parts.error().str();
        std::uint64_t at = 0;
        for (const TorrentLayout::Part& part : *parts) {
          ASSERT_EQ(part.at, at);
          ASSERT_GT(part.in_blob.length, 0u);
          for (std::uint64_t i = 0; i < part.in_blob.length; ++i, ++at) {
            const std::string found =
                part.blob == nullptr
                    ? "0"
                    : part.blob->hex().substr(0, 1) + std::to_string(part.in_blob.offset + i);
            ASSERT_EQ(found, naive(layout, piece * kPiece + start + at));
          }
        }
        ASSERT_EQ(at, length);
      }
    }
  }
}

TEST(TorrentLayout, APieceIsTheBytesOfItsFile) {
  const TorrentLayout layout = sample();
  const std::vector<std::pair<char, ByteRange>> expected = {
      {'a', {0, 100}}, {'a', {100, 30}}, {'b', {0, 100}}, {'c', {0, 1}}};
  for (std::uint64_t piece = 0; piece < 4; ++piece) {
    auto part = layout.of_piece(piece);
    ASSERT_TRUE(part);
    EXPECT_EQ(*part->blob, name(expected[piece].first));
    EXPECT_EQ(part->in_blob, expected[piece].second);
  }
  EXPECT_FALSE(layout.of_piece(4));
  EXPECT_FALSE(layout.of_piece(0x7fffffff));
}

TEST(TorrentLayout, RefusesWhatIsOutside) {
  const TorrentLayout layout = sample();
  EXPECT_FALSE(layout.parts(4, 0, 1));
  EXPECT_FALSE(layout.parts(3, 0, kPiece + 1));
  EXPECT_FALSE(layout.parts(3, kPiece, 1));
  EXPECT_FALSE(layout.parts(0, kPiece + 1, 1));
  EXPECT_FALSE(layout.parts(0x7fffffff, 0x3fffffff, 1));
  EXPECT_FALSE(layout.parts(0, ~std::uint64_t{0}, 2));
  EXPECT_FALSE(TorrentLayout().parts(0, 0, 1));
  EXPECT_FALSE(TorrentLayout().of_piece(0));
}

TEST(TorrentLayout, RefusesFilesThatNoTorrentHas) {
  EXPECT_FALSE(TorrentLayout::make(kPiece, 100, {{50, 10, name('a')}}));
  EXPECT_FALSE(TorrentLayout::make(kPiece, 100, {{0, 101, name('a')}}));
  EXPECT_FALSE(TorrentLayout::make(kPiece, 100, {{0, 0, name('a')}}));
  EXPECT_FALSE(TorrentLayout::make(kPiece, 100, {{200, 1, name('a')}}));
  EXPECT_FALSE(TorrentLayout::make(kPiece, 300, {{0, 150, name('a')}, {100, 1, name('b')}}));
  EXPECT_FALSE(TorrentLayout::make(0, 300, {{0, 150, name('a')}}));
}

}  // namespace
}  // namespace shoal::agent::bittorrent
