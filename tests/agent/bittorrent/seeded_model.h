// A model of random bytes whose files are blobs of a store, and its torrent.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agent/bittorrent/session.h"
#include "core/content/manifest.h"
#include "core/content/torrent.h"
#include "tests/agent/temp_store.h"

namespace shoal::agent::bittorrent {

// Every kind of a last leaf and a last piece, and enough small files that one thread's batch of
// jobs touches several.
inline const std::map<std::string, std::uint64_t> kSizes = {
    {"a/empty", 0},           {"a/one", 1},          {"a/leaf-1", 16'383}, {"a/leaf", 16'384},
    {"a/leaf+1", 16'385},     {"b/piece-1", 65'535}, {"b/piece", 65'536},  {"b/piece+1", 65'537},
    {"b/weights", 1'234'567}, {"c", 3 * 65'536},
};

class SeededModel {
 public:
  explicit SeededModel(const std::map<std::string, std::uint64_t>& sizes = kSizes,
                       const std::string& title = "model") {
    std::uint64_t seed = test_seed();
    manifest_.title = title;
    for (const auto& [path, size] : sizes) {
      auto& blob = *blobs_.emplace(path, make_blob(size, seed++)).first;
      if (size > 0) store_.full(blob.second);
      const content::PieceTable& table = blob.second.table;
      manifest_.files.push_back({content::RelativePath::parse(path).value(), table.digest(), size,
                                 table.pieces_root(), "application/octet-stream"});
      if (table.pieces_root()) files_[*table.pieces_root()] = table.digest();
    }
    auto made = content::ModelTorrent::of(manifest_, content::digest_of("a manifest")).value();
    for (const auto& [path, blob] : blobs_) EXPECT_TRUE(made.add(blob.table));
    torrent_ = made.finish({}).value();
  }

  TempStore& store() { return store_; }
  const content::Torrent& torrent() const { return torrent_; }
  const SeedFiles& files() const { return files_; }
  const std::map<std::string, TestBlob>& blobs() const { return blobs_; }
  const content::Digest& digest(const std::string& path) const {
    return blobs_.at(path).table.digest();
  }

  // As a client that has the whole torrent keeps it.
  void write_to(const std::string& folder) const {
    for (const auto& [path, blob] : blobs_) {
      const std::filesystem::path file = std::filesystem::path(folder) / torrent_.name / path;
      std::filesystem::create_directories(file.parent_path());
      std::ofstream out(file, std::ios::binary);
      out.write(reinterpret_cast<const char*>(blob.bytes.data()),
                static_cast<std::streamsize>(blob.bytes.size()));
    }
  }
  // Whether `folder` holds exactly the model's bytes.
  bool is_in(const std::string& folder) const {
    for (const auto& [path, blob] : blobs_) {
      const std::filesystem::path file = std::filesystem::path(folder) / torrent_.name / path;
      std::ifstream in(file, std::ios::binary);
      const std::string bytes((std::istreambuf_iterator<char>(in)), {});
      auto expected = std::as_bytes(std::span(blob.bytes));
      if (!in || !std::ranges::equal(std::as_bytes(std::span(bytes)), expected)) return false;
    }
    return true;
  }

 private:
  TempStore store_;
  content::ModelManifest manifest_;
  std::map<std::string, TestBlob> blobs_;  // by path
  SeedFiles files_;
  content::Torrent torrent_;
};

}  // namespace shoal::agent::bittorrent
