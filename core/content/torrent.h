// A published model as a BitTorrent v2 torrent (BEP 52), made from what its manifest and its piece
// tables say: no byte of a file is read. By a fixed rule, so that everybody who makes the torrent
// of a manifest gets the same info-hash:
//
//   name          the manifest's title if a folder can have that name, else the 64 digits of the
//                 manifest's digest; of a model that is one file without a folder, that file's name
//   file tree     the files at their paths
//   piece length  the longest of the files' own, doubled until there are at most kMaxTorrentPieces
//
// Nothing else stands in the info dictionary, and neither a date nor a program beside it. Why: ADR
// 0007.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"
#include "core/content/digest.h"
#include "core/content/manifest.h"
#include "core/content/piece_table.h"

namespace shoal::content {

// 4 MiB of piece layers: clients refuse long torrents (libtorrent those of more than 10 MB, unless
// told otherwise). Twice what a single blob can have, so that its own piece length is long enough.
inline constexpr std::uint64_t kMaxTorrentPieces = 131'072;
// Folders in folders: libtorrent reads no bencoded value that is nested more than 100 deep.
inline constexpr std::size_t kMaxTorrentDepth = 64;  // components of a path
// What libtorrent's indices can count: 2^30 leaves of a file, and pieces of less than 2^30 bytes.
inline constexpr std::uint64_t kMaxTorrentFile = ((std::uint64_t{1} << 30) - 2) * kLeafSize;
inline constexpr std::uint64_t kMaxTorrentPieceLength = std::uint64_t{1} << 29;
inline constexpr std::size_t kMaxAnnounceUrls = 64;
inline constexpr std::size_t kMaxAnnounceUrl = 2048;

// What trackers and the peer protocol take for an info-hash: its first 20 bytes (BEP 52,
// "infohash").
using TruncatedInfoHash = std::array<std::byte, 20>;

// The SHA-256 of a torrent's info dictionary. Thread: a value.
struct InfoHash {
  Hash32 bytes = {};

  std::string hex() const;  // 64 lower-case digits
  TruncatedInfoHash truncated() const;

  friend auto operator<=>(const InfoHash&, const InfoHash&) = default;
};

// The URLs that a torrent can announce to, each once, in the order given. Errors: invalid (no
// http://, https:// or udp:// URL without spaces and control characters, longer than
// kMaxAnnounceUrl, more than kMaxAnnounceUrls).
Result<std::vector<std::string>> announce_urls(std::span<const std::string> urls);

struct Torrent {
  std::string name;
  InfoHash info_hash;
  std::string bytes;                  // of the .torrent file
  std::vector<std::string> announce;  // as in the file

  // magnet:?xt=urn:btmh:1220<info-hash>&dn=<name>&tr=<announce URL>… (BEP 9; BEP 52 for btmh).
  std::string magnet() const;
};

// The making of one torrent: what it needs comes in piece by piece, and hashes that the torrent
// does not have are not kept.
//
// Thread: a value.
class ModelTorrent {
 public:
  // `digest` is the manifest's own. Errors: invalid (no bytes at all, a path with more than
  // kMaxTorrentDepth components, a file longer than kMaxTorrentFile, more than kMaxTorrentPieces
  // pieces of kMaxTorrentPieceLength, paths that cannot coexist).
  static Result<ModelTorrent> of(const ModelManifest& manifest, const Digest& digest);

  const std::string& name() const { return name_; }
  // In bytes, a power of two.
  std::uint64_t piece_length() const { return piece_length_; }

  // The files whose piece tables have to be added still, each blob once: those longer than a piece
  // of the torrent, and others whose root the manifest does not say.
  std::vector<ModelFile> missing() const;
  // Tables that are not needed are checked and then ignored. Errors: corrupt (contradicts the
  // manifest), invalid (of no file of this model).
  Status add(const PieceTable& table);

  // Known as soon as all roots are: for a manifest that says them, at once. Errors: not_found,
  // naming a file of missing().
  Result<InfoHash> info_hash() const;

  // Each URL of `announce` becomes a tier of its own, in this order (BEP 12). Errors: not_found as
  // above; those of announce_urls().
  Result<Torrent> finish(std::span<const std::string> announce) const;

 private:
  struct Blob {
    std::uint64_t size = 0;
    std::optional<Hash32> root;  // none for an empty one, and until it is known
    std::vector<Hash32> layer;   // of pieces of the torrent; empty for a single one
  };

  ModelTorrent() = default;

  bool lacks_root(const Blob& blob) const { return blob.size > 0 && !blob.root; }
  bool lacks_layer(const Blob& blob) const {
    return blob.size > piece_length_ && blob.layer.empty();
  }
  std::string info() const;

  std::string name_;
  std::uint64_t piece_length_ = 0;
  std::vector<ModelFile> files_;
  std::map<Digest, Blob> blobs_;
};

}  // namespace shoal::content
