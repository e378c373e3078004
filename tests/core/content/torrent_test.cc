#include "core/content/torrent.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "core/base/hex.h"
#include "tests/core/content/test_seed.h"
#include "tests/core/content/torrent_samples.h"

namespace shoal::content {
namespace {

using ::testing::HasSubstr;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

std::string hash_text(const Hash32& hash) {
  return {reinterpret_cast<const char*>(hash.data()), hash.size()};
}

SampleModel small_model() {
  SampleModel model;
  model.manifest.title = "m";
  model.add("w.bin", bytes_of("abc"));
  model.add("sub/e", bytes_of(""));
  return model;
}

void expect_invalid(const Result<Torrent>& torrent, std::string_view because) {
  ASSERT_FALSE(torrent) << because;
  EXPECT_EQ(torrent.error().code(), Errc::kInvalid);
  EXPECT_THAT(torrent.error().message(), HasSubstr(std::string(because)));
}

// The exact bytes: a change of them changes the info-hash of every model that is seeded somewhere.
TEST(ModelTorrent, WritesTheseBytes) {
  Result<Torrent> torrent = small_model().torrent({"http://a/announce", "udp://b:1"});
  ASSERT_TRUE(torrent) << torrent.error().str();
  // One leaf: the root is its hash.
  const std::string root = hash_text(digest_of("abc").bytes());
  const std::string info =
      "d9:file treed3:subd1:ed0:d6:lengthi0eeee5:w.bind0:d6:lengthi3e11:pieces root32:" + root +
      "eee12:meta versioni2e4:name1:m12:piece lengthi65536ee";
  EXPECT_EQ(torrent->bytes,
            "d8:announce17:http://a/announce13:announce-listll17:http://a/announceel9:udp://b:1ee"
            "4:info" +
                info + "12:piece layersdee");
  EXPECT_EQ(torrent->info_hash.hex(), digest_of(info).hex());
  EXPECT_EQ(to_hex(torrent->info_hash.truncated()), digest_of(info).hex().substr(0, 40));
  EXPECT_EQ(torrent->magnet(), "magnet:?xt=urn:btmh:1220" + digest_of(info).hex() +
                                   "&dn=m&tr=http%3A%2F%2Fa%2Fannounce&tr=udp%3A%2F%2Fb%3A1");
}

TEST(ModelTorrent, TheSameFilesInAnyOrderAreTheSameTorrent) {
  SampleModel model = small_model();
  std::string before = model.torrent()->bytes;
  std::reverse(model.manifest.files.begin(), model.manifest.files.end());
  EXPECT_EQ(model.torrent()->bytes, before);
}

TEST(ModelTorrent, IsCalledAfterTheTitleTheDigestOrItsOnlyFile) {
  SampleModel model = small_model();
  model.digest = digest_of("the manifest");
  for (std::string_view impossible : {"", "..", "org/m", "a\\b", "bad\x01"}) {
    model.manifest.title = impossible;
    EXPECT_EQ(model.torrent()->name, model.digest.hex()) << impossible;
  }
  model.manifest.title = "8b ü&";
  EXPECT_EQ(model.torrent()->name, "8b ü&");
  EXPECT_THAT(model.torrent()->magnet(), HasSubstr("&dn=8b%20%C3%BC%26"));
  model.manifest.files.pop_back();
  model.tables.pop_back();
  EXPECT_EQ(model.torrent()->name, "w.bin");
  SampleModel deep;
  deep.manifest.title = "m";
  deep.add("sub/w.bin", bytes_of("abc"));
  EXPECT_EQ(deep.torrent()->name, "m");
}

TEST(ModelTorrent, NeedsTablesOnlyWhereTheManifestDoesNotSayEnough) {
  SeededRandom random(test_seed());
  SampleModel model;
  model.add("big", imagined_table(random, 1'000'000));
  model.add("copy of big", model.tables[0]);
  model.add("piece", imagined_table(random, 65'536));
  model.add("small", bytes_of("abc"));
  model.add("rootless", bytes_of("xyz"));
  model.add("empty", bytes_of(""));
  model.manifest.files[4].pieces_root.reset();
  Result<ModelTorrent> torrent = ModelTorrent::of(model.manifest, {});
  ASSERT_TRUE(torrent);
  ASSERT_EQ(torrent->missing().size(), 2u);
  EXPECT_EQ(torrent->missing()[0].path.str(), "big");
  EXPECT_EQ(torrent->missing()[1].path.str(), "rootless");
  EXPECT_EQ(torrent->info_hash().error().code(), Errc::kNotFound);
  EXPECT_THAT(torrent->info_hash().error().message(), HasSubstr("'rootless'"));
  ASSERT_TRUE(torrent->add(model.tables[4]));
  // The layers are no part of what the info-hash is made of.
  Result<InfoHash> hash = torrent->info_hash();
  ASSERT_TRUE(hash);
  Result<Torrent> unfinished = torrent->finish({});
  EXPECT_EQ(unfinished.error().code(), Errc::kNotFound);
  EXPECT_THAT(unfinished.error().message(), HasSubstr("'big'"));
  ASSERT_TRUE(torrent->add(model.tables[0]));
  EXPECT_TRUE(torrent->missing().empty());
  Result<Torrent> finished = torrent->finish({});
  ASSERT_TRUE(finished) << finished.error().str();
  EXPECT_EQ(finished->info_hash, *hash);
  // A table too many changes nothing.
  ASSERT_TRUE(torrent->add(model.tables[3]));
  EXPECT_EQ(torrent->finish({})->bytes, finished->bytes);
}

TEST(ModelTorrent, RefusesTablesThatContradictTheManifest) {
  SeededRandom random(test_seed());
  SampleModel model;
  model.add("big", imagined_table(random, 1'000'000));
  Result<ModelTorrent> torrent = ModelTorrent::of(model.manifest, {});
  PieceTable other = imagined_table(random, 1'000'000);
  EXPECT_EQ(torrent->add(other).error().code(), Errc::kInvalid);
  for (std::uint64_t size : {1'000'000, 999'999}) {
    PieceTable wrong = imagined_table(random, size);
    PieceTable renamed =
        *PieceTable::make(model.tables[0].digest(), wrong.layout(),
                          {wrong.piece_hashes().begin(), wrong.piece_hashes().end()});
    EXPECT_EQ(torrent->add(renamed).error().code(), Errc::kCorrupt);
  }
  EXPECT_EQ(torrent->missing().size(), 1u);
}

TEST(ModelTorrent, ChoosesThePieceLengthByTheFilesAlone) {
  auto of = [](std::vector<std::uint64_t> sizes) {
    ModelManifest manifest;
    for (std::uint64_t size : sizes) {
      std::string name = std::to_string(manifest.files.size());
      manifest.files.push_back({*RelativePath::parse(name), digest_of(name), size, {}, ""});
    }
    Result<ModelTorrent> torrent = ModelTorrent::of(manifest, {});
    return torrent ? torrent->piece_length() : 0;
  };
  EXPECT_EQ(of({1}), 64 * kKiB);
  EXPECT_EQ(of({4 * kGiB}), 64 * kKiB);
  EXPECT_EQ(of({1, 4 * kGiB + 1, 0}), 128 * kKiB);
  EXPECT_EQ(of({100 * kGiB, 5}), 2 * kMiB);
  // As many pieces as there may be, and one too many.
  EXPECT_EQ(of({4 * kGiB, 4 * kGiB}), 64 * kKiB);
  EXPECT_EQ(of({4 * kGiB, 4 * kGiB, 1}), 128 * kKiB);
  EXPECT_EQ(of(std::vector<std::uint64_t>(160, 4 * kGiB)), 8 * kMiB);
}

TEST(ModelTorrent, RefusesWhatNoTorrentCanHold) {
  SampleModel empty;
  expect_invalid(empty.torrent(), "no bytes");
  empty.add("e", bytes_of(""));
  expect_invalid(empty.torrent(), "no bytes");

  SampleModel deep = small_model();
  std::string path = "d";
  for (std::size_t i = 1; i < kMaxTorrentDepth; ++i) path += "/d";
  deep.add(path, bytes_of("x"));
  EXPECT_TRUE(deep.torrent());
  deep.add(path + "2/d", bytes_of("x"));
  expect_invalid(deep.torrent(), "lies too deep");

  SampleModel twice = small_model();
  twice.add("w.bin/x", bytes_of("y"));
  expect_invalid(twice.torrent(), "'w.bin'");

  SampleModel large = small_model();
  large.manifest.files[0].size = kMaxTorrentFile + 1;
  expect_invalid(large.torrent(), "16 TiB");

  SampleModel many = small_model();
  for (std::size_t i = 0; i < 5; ++i) {
    ModelFile file = many.manifest.files[0];
    file.path = *RelativePath::parse(std::to_string(i));
    file.digest = digest_of(file.path.str());
    file.size = kMaxTorrentFile;
    many.manifest.files.push_back(file);
  }
  expect_invalid(many.torrent(), "too large for a torrent");
}

TEST(ModelTorrent, RefusesAnnounceUrlsThatNoClientTakes) {
  SampleModel model = small_model();
  expect_invalid(model.torrent({"http://a/", "ftp://a/"}), "http://, https:// or udp://");
  expect_invalid(model.torrent({""}), "http://, https:// or udp://");
  expect_invalid(model.torrent({"https://"}), "http://, https:// or udp://");
  expect_invalid(model.torrent({"http://a b/"}), "percent-encoded");
  expect_invalid(model.torrent({"http://a\n"}), "percent-encoded");
  expect_invalid(model.torrent({"http://" + std::string(kMaxAnnounceUrl, 'a')}), "too long");
  std::vector<std::string> urls;
  for (std::size_t i = 0; i <= kMaxAnnounceUrls; ++i) urls.push_back("udp://t" + std::to_string(i));
  expect_invalid(model.torrent(urls), "at most 64");
  urls.back() = urls.front();  // one that is there already does not count
  Result<Torrent> torrent = model.torrent(urls);
  ASSERT_TRUE(torrent) << torrent.error().str();
  EXPECT_EQ(torrent->announce.size(), kMaxAnnounceUrls);
}

}  // namespace
}  // namespace shoal::content
