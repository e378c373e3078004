// Torrents as libtorrent makes them, reduced to what hash trees say.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <libtorrent/create_torrent.hpp>
#include <libtorrent/entry.hpp>
#include <libtorrent/file_storage.hpp>
#include <map>
#include <span>
#include <string>

#include "core/content/digest.h"

namespace shoal::content {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "shoal_roots_XXXXXX").string();
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    path_ = name;
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline std::string as_text(std::span<const Hash32> hashes) {
  auto bytes = std::as_bytes(hashes);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// What a v2-only torrent says of its files: the root by name, the layer by root.
struct LibtorrentHashes {
  std::map<std::string, std::string> roots;
  std::map<std::string, std::string> layers;
};

inline LibtorrentHashes make_torrent(const std::filesystem::path& directory,
                                     std::uint64_t piece_length) {
  lt::file_storage files;
  lt::add_files(files, directory.string());
  lt::create_torrent creator(files, static_cast<int>(piece_length), lt::create_torrent::v2_only);
  lt::set_piece_hashes(creator, directory.parent_path().string());
  lt::entry torrent = creator.generate();
  LibtorrentHashes out;
  for (const auto& [name, node] : torrent["info"]["file tree"].dict()) {
    const lt::entry& file = node.dict().at("");
    const lt::entry* root = file.find_key("pieces root");
    out.roots[name] = root == nullptr ? "" : root->string();
  }
  if (const lt::entry* layers = torrent.find_key("piece layers")) {
    for (const auto& [root, layer] : layers->dict()) out.layers[root] = layer.string();
  }
  return out;
}

}  // namespace shoal::content
