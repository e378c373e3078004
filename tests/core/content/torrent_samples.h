// Models for tests of torrents: of real bytes, and of sizes that nobody would want to hash.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/content/manifest.h"
#include "core/content/piece_hasher.h"
#include "core/content/piece_table.h"
#include "core/content/torrent.h"
#include "tests/core/content/naive_tree.h"

namespace shoal::content {

// A manifest and the tables of its files.
struct SampleModel {
  ModelManifest manifest;
  Digest digest;
  std::vector<PieceTable> tables;

  void add(std::string_view path, PieceTable table) {
    manifest.files.push_back({*RelativePath::parse(path), table.digest(), table.layout().size(),
                              table.pieces_root(), "application/octet-stream"});
    tables.push_back(std::move(table));
  }
  void add(std::string_view path, std::span<const std::byte> bytes) {
    BlobHasher hasher{BlobLayout(bytes.size())};
    EXPECT_TRUE(hasher.update(bytes));
    add(path, PieceTable::make(*hasher.finish()));
  }

  // With all tables that are needed. The first failure, if there is one.
  Result<Torrent> torrent(std::vector<std::string> announce = {}) const {
    Result<ModelTorrent> made = ModelTorrent::of(manifest, digest);
    if (!made) return fail(made.error());
    for (const PieceTable& table : tables) SHOAL_TRY(made->add(table));
    return made->finish(announce);
  }
};

// A table of a blob that has these random piece hashes, if it exists.
inline PieceTable imagined_table(SeededRandom& random, std::uint64_t size) {
  auto random_hash = [&] {
    Hash32 hash;
    for (std::byte& byte : hash) byte = static_cast<std::byte>(random.next());
    return hash;
  };
  BlobLayout layout(size);
  std::vector<Hash32> hashes(layout.piece_count());
  for (Hash32& hash : hashes) hash = random_hash();
  return *PieceTable::make(Digest(random_hash()), layout, std::move(hashes));
}

// The layer of pieces of `piece_length`, from that of the table's, by BEP 52's words: what is
// missing are zero leaves.
inline std::vector<Hash32> naive_layer(const PieceTable& table, std::uint64_t piece_length) {
  std::vector<Hash32> layer(table.piece_hashes().begin(), table.piece_hashes().end());
  if (table.layout().size() <= piece_length) return {*table.pieces_root()};
  for (std::uint64_t length = table.layout().piece_length(); length < piece_length; length *= 2) {
    if (layer.size() % 2 != 0) layer.push_back(naive::root({}, length / kLeafSize));
    std::vector<Hash32> parents;
    for (std::size_t i = 0; i < layer.size(); i += 2) {
      parents.push_back(naive::root({layer[i], layer[i + 1]}, 2));
    }
    layer = std::move(parents);
  }
  return layer;
}

}  // namespace shoal::content
