// libtorrent makes v2 torrents on its own; its roots and layers must be ours.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "core/content/piece_hasher.h"
#include "tests/core/content/libtorrent_torrent.h"
#include "tests/core/content/naive_tree.h"
#include "tests/core/content/test_seed.h"

namespace shoal::content {
namespace {

TEST(PiecesRoot, IsLibtorrentsForEveryShapeAndPieceLength) {
  SeededRandom random(test_seed());
  TemporaryDirectory temporary;
  std::filesystem::path directory = temporary.path() / "model";
  std::filesystem::create_directory(directory);
  std::map<std::string, BlobHashes> ours;
  std::vector<std::size_t> sizes{0,
                                 1,
                                 16'383,
                                 16'384,
                                 16'385,
                                 49'152,
                                 65'535,
                                 65'536,
                                 65'537,
                                 131'071,
                                 131'072,
                                 131'073,
                                 3 * 65'536,
                                 262'144,
                                 262'145,
                                 458'753,
                                 1'000'000,
                                 1'048'577,
                                 5'000'000 + random.below(1'000'000)};
  for (std::size_t size : sizes) {
    std::vector<std::byte> data = naive::random_bytes(random, size);
    std::string name = "f" + std::to_string(size);
    std::ofstream(directory / name, std::ios::binary)
        .write(reinterpret_cast<const char*>(data.data()), static_cast<std::streamsize>(size));
    BlobHasher hasher{BlobLayout(size)};
    ASSERT_TRUE(hasher.update(data));
    ours.emplace(name, *hasher.finish());
  }
  for (std::uint64_t piece_length = kMinPieceLength; piece_length <= 8 * kMiB; piece_length *= 2) {
    LibtorrentHashes torrent = make_torrent(directory, piece_length);
    ASSERT_EQ(torrent.roots.size(), sizes.size());
    std::size_t layers = 0;
    for (const auto& [name, hashes] : ours) {
      std::string root = hashes.pieces_root ? as_text(std::span(&*hashes.pieces_root, 1)) : "";
      EXPECT_EQ(torrent.roots.at(name), root) << name << " " << piece_length;
      std::vector<Hash32> layer =
          merged_piece_layer(hashes.layout, hashes.piece_hashes, piece_length);
      EXPECT_EQ(layer.empty(), !torrent.layers.contains(root)) << name << " " << piece_length;
      if (layer.empty()) continue;
      EXPECT_EQ(torrent.layers.at(root), as_text(layer)) << name << " " << piece_length;
      ++layers;
    }
    EXPECT_EQ(torrent.layers.size(), layers);
  }
}

}  // namespace
}  // namespace shoal::content
