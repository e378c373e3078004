// The same comparison as libtorrent_roots_test.cc for a blob of more than 4 GiB.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <vector>

#include "core/content/piece_hasher.h"
#include "tests/core/content/libtorrent_torrent.h"

namespace shoal::content {
namespace {

// A blob whose own piece length is more than the smallest: the first change of piece length is at
// 4 GiB. The file is sparse, so only hashing takes time.
TEST(PiecesRoot, IsLibtorrentsAboveTheFirstChangeOfPieceLength) {
  constexpr std::uint64_t kSize = 4 * kGiB + 1;
  BlobLayout layout(kSize);
  ASSERT_EQ(layout.piece_length(), 128 * kKiB);
  TemporaryDirectory temporary;
  std::filesystem::path directory = temporary.path() / "model";
  std::filesystem::create_directory(directory);
  {
    std::ofstream file(directory / "large", std::ios::binary);
    file.write("first", 5);
    file.seekp(static_cast<std::streamoff>(kSize - 1));
    file.write("l", 1);
  }
  // The pieces between the first and the last are all alike: one of them stands for all.
  std::vector<std::byte> piece(layout.piece_length());
  std::vector<Hash32> hashes(layout.piece_count(), piece_hash(layout, PieceIndex(1), piece));
  std::memcpy(piece.data(), "first", 5);
  hashes.front() = piece_hash(layout, PieceIndex(0), piece);
  std::byte last{'l'};
  hashes.back() = piece_hash(layout, PieceIndex(layout.piece_count() - 1), std::span(&last, 1));
  Hash32 root = pieces_root(layout, hashes);

  LibtorrentHashes torrent = make_torrent(directory, layout.piece_length());
  EXPECT_EQ(torrent.roots.at("large"), as_text(std::span(&root, 1)));
  EXPECT_EQ(torrent.layers.at(torrent.roots.at("large")), as_text(hashes));
}

}  // namespace
}  // namespace shoal::content
