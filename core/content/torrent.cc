#include "core/content/torrent.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <set>
#include <utility>

#include "core/base/hex.h"
#include "core/base/percent.h"
#include "core/content/bencode.h"
#include "core/content/layout.h"
#include "core/content/merkle.h"
#include "core/content/relative_path.h"

namespace shoal::content {
namespace {

std::string_view text_of(std::span<const Hash32> hashes) {
  auto bytes = std::as_bytes(hashes);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
std::string_view text_of(const Hash32& hash) { return text_of(std::span(&hash, 1)); }

// A folder or, with `file`, a file. A map of std::string is in the order of unsigned bytes, which
// is bencode's.
struct Node {
  std::map<std::string, std::unique_ptr<Node>> children;
  const ModelFile* file = nullptr;
};

// As deep as the longest path at most.
Node tree_of(std::span<const ModelFile> files) {
  Node root;
  for (const ModelFile& file : files) {
    Node* at = &root;
    std::string_view rest = file.path.str();
    for (;;) {
      std::size_t slash = rest.find('/');
      std::unique_ptr<Node>& next = at->children[std::string(rest.substr(0, slash))];
      if (next == nullptr) next = std::make_unique<Node>();
      at = next.get();
      if (slash == std::string_view::npos) break;
      rest.remove_prefix(slash + 1);
    }
    at->file = &file;
  }
  return root;
}

std::size_t depth_of(const RelativePath& path) {
  return static_cast<std::size_t>(std::count(path.str().begin(), path.str().end(), '/')) + 1;
}

std::uint64_t pieces_in(std::span<const ModelFile> files, std::uint64_t piece_length) {
  std::uint64_t pieces = 0;
  for (const ModelFile& file : files) pieces += (file.size + piece_length - 1) / piece_length;
  return pieces;
}

std::string name_of(const ModelManifest& manifest, const Digest& digest) {
  if (manifest.files.size() == 1 && depth_of(manifest.files[0].path) == 1) {
    return manifest.files[0].path.str();
  }
  Result<RelativePath> title = RelativePath::parse(manifest.title);
  return title && depth_of(*title) == 1 ? title->str() : digest.hex();
}

auto no_table(const ModelFile& file) {
  return fail(Errc::kNotFound, "there is no piece table of '" +
                                   escape_for_message(file.path.str()) + "' (" + file.digest.str() +
                                   ")");
}

Status check_announce(std::string_view url) {
  auto bad = [&](const char* fault) {
    return fail(Errc::kInvalid, "announce URL '" + escape_for_message(url) + "' " + fault);
  };
  if (url.size() > kMaxAnnounceUrl) return bad("is too long");
  std::size_t scheme = 0;
  for (std::string_view known : {"http://", "https://", "udp://"}) {
    if (url.starts_with(known)) scheme = known.size();
  }
  if (scheme == 0 || url.size() == scheme) return bad("is no http://, https:// or udp:// URL");
  if (!is_plain_text(url) || url.find(' ') != std::string_view::npos) {
    return bad("has a character that must be percent-encoded");
  }
  return {};
}

}  // namespace

std::string InfoHash::hex() const { return to_hex(bytes); }

TruncatedInfoHash InfoHash::truncated() const {
  TruncatedInfoHash out;
  std::copy_n(bytes.begin(), out.size(), out.begin());
  return out;
}

Result<std::vector<std::string>> announce_urls(std::span<const std::string> urls) {
  std::vector<std::string> out;
  for (const std::string& url : urls) {
    SHOAL_TRY(check_announce(url));
    if (std::find(out.begin(), out.end(), url) == out.end()) out.push_back(url);
  }
  if (out.size() > kMaxAnnounceUrls) {
    return fail(Errc::kInvalid,
                "at most " + std::to_string(kMaxAnnounceUrls) + " announce URLs are possible");
  }
  return out;
}

std::string Torrent::magnet() const {
  // 12 20: a multihash of SHA-256, 32 bytes.
  std::string out = "magnet:?xt=urn:btmh:1220" + info_hash.hex() + "&dn=" + percent_encode(name);
  for (const std::string& url : announce) out += "&tr=" + percent_encode(url);
  return out;
}

Result<ModelTorrent> ModelTorrent::of(const ModelManifest& manifest, const Digest& digest) {
  ModelTorrent torrent;
  torrent.files_ = manifest.files;
  std::vector<RelativePath> paths;
  std::uint64_t total = 0;
  for (const ModelFile& file : manifest.files) {
    paths.push_back(file.path);
    std::string shown = "'" + escape_for_message(file.path.str()) + "'";
    if (depth_of(file.path) > kMaxTorrentDepth) {
      return fail(Errc::kInvalid, shown + " lies too deep for a torrent: at most " +
                                      std::to_string(kMaxTorrentDepth) + " components");
    }
    if (file.size > kMaxTorrentFile) {
      return fail(Errc::kInvalid, shown + " is too long for a torrent: at most 16 TiB");
    }
    total += file.size;
    torrent.piece_length_ = std::max(torrent.piece_length_, BlobLayout(file.size).piece_length());
    Blob& blob = torrent.blobs_[file.digest];
    blob.size = file.size;
    if (!blob.root) blob.root = file.pieces_root;
  }
  if (total == 0) return fail(Errc::kInvalid, "the model has no bytes: a torrent needs some");
  SHOAL_TRY(check_paths_coexist(paths));
  while (pieces_in(manifest.files, torrent.piece_length_) > kMaxTorrentPieces) {
    torrent.piece_length_ *= 2;
    if (torrent.piece_length_ > kMaxTorrentPieceLength) {
      return fail(Errc::kInvalid, "the model is too large for a torrent: more than " +
                                      std::to_string(kMaxTorrentPieces) +
                                      " pieces of the longest length there is");
    }
  }
  torrent.name_ = name_of(manifest, digest);
  return torrent;
}

std::vector<ModelFile> ModelTorrent::missing() const {
  std::vector<ModelFile> out;
  std::set<Digest> seen;
  for (const ModelFile& file : files_) {
    const Blob& blob = blobs_.at(file.digest);
    if ((lacks_root(blob) || lacks_layer(blob)) && seen.insert(file.digest).second) {
      out.push_back(file);
    }
  }
  return out;
}

Status ModelTorrent::add(const PieceTable& table) {
  auto it = blobs_.find(table.digest());
  if (it == blobs_.end()) {
    return fail(Errc::kInvalid, table.digest().str() + " is no file of this model");
  }
  Blob& blob = it->second;
  SHOAL_TRY(table.expect(table.digest(), blob.size, blob.root));
  blob.root = table.pieces_root();
  blob.layer = merged_piece_layer(table.layout(), table.piece_hashes(), piece_length_);
  return {};
}

Result<InfoHash> ModelTorrent::info_hash() const {
  for (const ModelFile& file : files_) {
    if (lacks_root(blobs_.at(file.digest))) return no_table(file);
  }
  return InfoHash{digest_of(info()).bytes()};
}

// BEP 52, "info dictionary" and "file tree".
std::string ModelTorrent::info() const {
  BencodeWriter out;
  auto write = [&](auto& self, const Node& node) -> void {
    out.begin_dictionary();
    if (node.file != nullptr) {
      const Blob& blob = blobs_.at(node.file->digest);
      out.key("").begin_dictionary();
      out.key("length").integer(static_cast<std::int64_t>(blob.size));
      if (blob.root) out.key("pieces root").string(text_of(*blob.root));
      out.end();
    }
    for (const auto& [name, child] : node.children) {
      out.key(name);
      self(self, *child);
    }
    out.end();
  };
  out.begin_dictionary();
  out.key("file tree");
  write(write, tree_of(files_));
  out.key("meta version").integer(2);
  out.key("name").string(name_);
  out.key("piece length").integer(static_cast<std::int64_t>(piece_length_));
  out.end();
  return out.take();
}

Result<Torrent> ModelTorrent::finish(std::span<const std::string> announce) const {
  Result<std::vector<std::string>> urls = announce_urls(announce);
  if (!urls) return fail(urls.error());
  if (std::vector<ModelFile> lacking = missing(); !lacking.empty()) return no_table(lacking[0]);

  std::string info_dictionary = info();
  Torrent torrent;
  torrent.name = name_;
  torrent.announce = *std::move(urls);
  torrent.info_hash = {digest_of(info_dictionary).bytes()};
  BencodeWriter out;
  out.begin_dictionary();
  if (!torrent.announce.empty()) out.key("announce").string(torrent.announce[0]);
  if (torrent.announce.size() > 1) {
    out.key("announce-list").begin_list();
    for (const std::string& url : torrent.announce) out.begin_list().string(url).end();
    out.end();
  }
  out.key("info").encoded(info_dictionary);
  // There even if it is empty; by root, so files with the same bytes share an entry.
  std::map<Hash32, std::span<const Hash32>> layers;
  for (const auto& [digest, blob] : blobs_) {
    if (!blob.layer.empty()) layers.emplace(*blob.root, blob.layer);
  }
  out.key("piece layers").begin_dictionary();
  for (const auto& [root, layer] : layers) out.key(text_of(root)).string(text_of(layer));
  out.end().end();
  torrent.bytes = out.take();
  return torrent;
}

}  // namespace shoal::content
