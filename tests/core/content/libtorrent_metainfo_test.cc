// libtorrent makes v2 torrents on its own: ours must be the same to the last byte, and be read by
// it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <libtorrent/announce_entry.hpp>
#include <libtorrent/bencode.hpp>
#include <libtorrent/magnet_uri.hpp>
#include <libtorrent/torrent_info.hpp>
#include <map>
#include <string>

#include "core/base/hex.h"
#include "tests/core/content/libtorrent_torrent.h"
#include "tests/core/content/test_seed.h"
#include "tests/core/content/torrent_samples.h"

namespace shoal::content {
namespace {

using ::testing::ElementsAreArray;

// As ours are: without a date.
std::string finish(lt::create_torrent& creator, const std::vector<std::string>& announce) {
  creator.set_creation_date(0);
  for (std::size_t i = 0; i < announce.size(); ++i) {
    creator.add_tracker(announce[i], static_cast<int>(i));
  }
  std::string bytes;
  lt::bencode(std::back_inserter(bytes), creator.generate());
  return bytes;
}

template <typename Hash>
std::string hex_of(const Hash& hash) {
  return to_hex(std::as_bytes(std::span(hash.data(), Hash::size())));
}

// What libtorrent finds in a torrent of ours is what we said is in it.
void expect_readable(const Torrent& torrent, const SampleModel& model) {
  lt::error_code error;
  lt::torrent_info info(torrent.bytes, error, lt::from_span);
  ASSERT_FALSE(error) << error.message();
  ASSERT_TRUE(info.info_hashes().has_v2());
  EXPECT_FALSE(info.info_hashes().has_v1());
  lt::sha256_hash hash = info.info_hashes().v2;
  EXPECT_EQ(hex_of(hash), torrent.info_hash.hex());
  EXPECT_EQ(hex_of(info.info_hashes().get_best()), to_hex(torrent.info_hash.truncated()));
  EXPECT_EQ(info.name(), torrent.name);
  std::vector<std::string> urls;
  for (const lt::announce_entry& entry : info.trackers()) urls.push_back(entry.url);
  EXPECT_THAT(urls, ElementsAreArray(torrent.announce));

  // A model of one file that lies in no folder has none in the torrent either.
  const std::string folder =
      model.manifest.files.size() == 1 && model.manifest.files[0].path.str() == torrent.name
          ? ""
          : torrent.name + "/";
  std::map<std::string, std::uint64_t> found;
  const lt::file_storage& files = info.files();
  for (lt::file_index_t i : files.file_range()) {
    if (files.pad_file_at(i)) continue;
    found[files.file_path(i)] = static_cast<std::uint64_t>(files.file_size(i));
  }
  std::map<std::string, std::uint64_t> expected;
  for (const ModelFile& file : model.manifest.files) expected[folder + file.path.str()] = file.size;
  EXPECT_EQ(found, expected);

  lt::add_torrent_params magnet = lt::parse_magnet_uri(torrent.magnet(), error);
  ASSERT_FALSE(error) << error.message();
  EXPECT_EQ(magnet.info_hashes.v2, hash);
  EXPECT_EQ(magnet.name, torrent.name);
  EXPECT_THAT(magnet.trackers, ElementsAreArray(torrent.announce));
}

class LibtorrentMetainfoTest : public ::testing::Test {
 protected:
  // Files of these sizes on the disk and in `model_`, which is called `title`.
  void write(const std::string& title, const std::map<std::string, std::size_t>& sizes) {
    model_ = {};
    model_.manifest.title = title;
    for (const auto& [name, size] : sizes) {
      std::vector<std::byte> data = naive::random_bytes(random_, size);
      std::filesystem::path path = temporary_.path() / title / name;
      std::filesystem::create_directories(path.parent_path());
      std::ofstream(path, std::ios::binary)
          .write(reinterpret_cast<const char*>(data.data()), static_cast<std::streamsize>(size));
      model_.add(name, data);
    }
  }

  // What libtorrent makes of `path` below the temporary folder.
  std::string theirs(const std::string& path, std::uint64_t piece_length,
                     const std::vector<std::string>& announce) {
    std::filesystem::path full = temporary_.path() / path;
    lt::file_storage files;
    lt::add_files(files, full.string());
    lt::create_torrent creator(files, static_cast<int>(piece_length), lt::create_torrent::v2_only);
    lt::set_piece_hashes(creator, full.parent_path().string());
    return finish(creator, announce);
  }

  void expect_same(const std::string& path, const std::vector<std::string>& announce = {}) {
    Result<Torrent> ours = model_.torrent(announce);
    ASSERT_TRUE(ours) << ours.error().str();
    // Not EXPECT_EQ, which would print megabytes.
    EXPECT_TRUE(ours->bytes == theirs(path, kMinPieceLength, announce)) << path;
    expect_readable(*ours, model_);
  }

  SeededRandom random_{test_seed()};
  TemporaryDirectory temporary_;
  SampleModel model_;
};

TEST_F(LibtorrentMetainfoTest, ManyFilesInFolders) {
  write("model", {{"empty", 0},
                  {"one", 1},
                  {"leaf-1", 16'383},
                  {"leaf", 16'384},
                  {"leaf+1", 16'385},
                  {"three leaves", 3 * 16'384},
                  {"piece-1", 65'535},
                  {"piece", 65'536},
                  {"piece+1", 65'537},
                  {"shards/a/1.bin", 7 * 65'536 + 12'345},
                  {"shards/a/2.bin", 131'072},
                  {"shards/b/1.bin", 1'000'000},
                  // The order of whole paths is not that of the tree.
                  {"shards/a-b", 5},
                  {"shards/a.b", 200'000},
                  {"shards/a0/x", 70'000},
                  {"Zeichen/ü€𝄞 & \"x'%41", 300'000},
                  {"5:colon", 99},
                  {"5000000", 5'000'000 + random_.below(1'000'000)}});
  expect_same("model");
  expect_same("model", {"http://tracker.example/announce?key=1"});
  expect_same("model", {"https://b/announce", "udp://a:6969", "http://c/announce"});
}

TEST_F(LibtorrentMetainfoTest, FilesWithTheSameBytes) {
  write("model", {{"a", 200'000}, {"c", 1}});
  std::filesystem::copy(temporary_.path() / "model/a", temporary_.path() / "model/b");
  model_.add("b", model_.tables[0]);
  expect_same("model");
}

TEST_F(LibtorrentMetainfoTest, OneFileOfEverySize) {
  for (std::size_t size : {1, 16'383, 16'384, 16'385, 65'535, 65'536, 65'537, 131'072, 131'073,
                           3 * 65'536, 5 * 65'536 + 1}) {
    std::string name = "f" + std::to_string(size);
    write("one" + name, {{name, size}});
    expect_same("one" + name + "/" + name);
  }
}

TEST_F(LibtorrentMetainfoTest, OneFileInAFolder) {
  write("model", {{"folder/file", 100'000}});
  expect_same("model");
}

TEST_F(LibtorrentMetainfoTest, OneFileBesideAnEmptyOne) {
  write("model", {{"file", 100'000}, {"a", 0}});
  expect_same("model");
}

TEST_F(LibtorrentMetainfoTest, AsDeepAsPathsMayBe) {
  std::string path = "d0";
  for (std::size_t i = 1; i < kMaxTorrentDepth; ++i) path += "/d" + std::to_string(i);
  write("model", {{path, 100'000}, {"a", 1}});
  expect_same("model");
}

// Of files too large to be written by a test: libtorrent is given the hashes of a layer that was
// merged by other code.
class LibtorrentHashesTest : public ::testing::Test {
 protected:
  void add(const std::string& name, std::uint64_t size) {
    model_.add(name, imagined_table(random_, size));
  }

  void expect_same(std::uint64_t piece_length) {
    model_.manifest.title = "model";
    lt::file_storage files;
    std::map<std::string, const PieceTable*> tables;
    for (std::size_t i = 0; i < model_.tables.size(); ++i) {
      std::string path = "model/" + model_.manifest.files[i].path.str();
      files.add_file(path, static_cast<std::int64_t>(model_.tables[i].layout().size()));
      tables[path] = &model_.tables[i];
    }
    lt::create_torrent creator(files, static_cast<int>(piece_length), lt::create_torrent::v2_only);
    const lt::file_storage& laid_out = creator.files();
    for (lt::file_index_t i : laid_out.file_range()) {
      if (laid_out.pad_file_at(i) || laid_out.file_size(i) == 0) continue;
      lt::piece_index_t::diff_type piece(0);
      for (const Hash32& hash : naive_layer(*tables.at(laid_out.file_path(i)), piece_length)) {
        lt::span<const char> bytes(reinterpret_cast<const char*>(hash.data()), 32);
        creator.set_hash2(i, piece++, lt::sha256_hash(bytes));
      }
    }
    std::string theirs = finish(creator, {});
    Result<Torrent> ours = model_.torrent();
    ASSERT_TRUE(ours) << ours.error().str();
    EXPECT_TRUE(ours->bytes == theirs);
    expect_readable(*ours, model_);
    EXPECT_LT(ours->bytes.size(),
              static_cast<std::size_t>(lt::load_torrent_limits{}.max_buffer_size));
  }

  SeededRandom random_{test_seed()};
  SampleModel model_;
};

TEST_F(LibtorrentHashesTest, PiecesOfDifferentLengths) {
  add("256 KiB", 9 * kGiB + 12'345);  // what its own pieces are long
  add("128 KiB", 5 * kGiB + 1);
  add("64 KiB, odd", 3 * kMiB + 70'000);
  add("64 KiB, even", 2 * kMiB);
  add("64 KiB, little more than one of the torrent", 256 * kKiB + 1);
  add("64 KiB, one of the torrent", 256 * kKiB);
  add("64 KiB, less than one of the torrent", 130 * kKiB);
  add("one", 1);
  add("none", 0);
  expect_same(256 * kKiB);
}

TEST_F(LibtorrentHashesTest, SoManyFilesThatPiecesAreLongerThanTheirOwn) {
  for (int i = 0; i < 5; ++i)
    add("shard-" + std::to_string(i), 4 * kGiB - static_cast<unsigned>(i));
  add("config.json", 4'000);
  expect_same(256 * kKiB);
}

TEST_F(LibtorrentHashesTest, TheLongestFile) {
  static_assert(kMaxTorrentFile <= lt::file_storage::max_file_size);
  add("longest", kMaxTorrentFile);
  add("one", 1);
  expect_same(256 * kMiB);
}

}  // namespace
}  // namespace shoal::content
