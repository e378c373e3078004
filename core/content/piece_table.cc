#include "core/content/piece_table.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "core/base/check.h"
#include "core/base/hex.h"

namespace shoal::content {
namespace {

// docs/formats/piece-table.md. All integers are little-endian.
constexpr std::array<char, 8> kMagic{'S', 'H', 'O', 'A', 'L', 'P', 'T', '\n'};
constexpr std::uint64_t kFormat = 1;
constexpr std::size_t kFormatAt = 8;
constexpr std::size_t kPieceCountAt = 12;
constexpr std::size_t kSizeAt = 16;
constexpr std::size_t kPieceLengthAt = 24;
constexpr std::size_t kDigestAt = 32;
constexpr std::size_t kRootAt = 64;
static_assert(kRootAt + sizeof(Hash32) == kPieceTableHeaderSize);

void put(std::byte* to, std::uint64_t value, std::size_t width) {
  for (std::size_t i = 0; i < width; ++i) to[i] = static_cast<std::byte>(value >> (8 * i));
}

std::uint64_t get(const std::byte* from, std::size_t width) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < width; ++i)
    value |= std::to_integer<std::uint64_t>(from[i]) << (8 * i);
  return value;
}

Hash32 get_hash(const std::byte* from) {
  Hash32 hash;
  std::memcpy(hash.data(), from, hash.size());
  return hash;
}

std::string root_text(const std::optional<Hash32>& root) { return root ? to_hex(*root) : "none"; }

auto corrupt(const std::string& why) { return fail(Errc::kCorrupt, "piece table: " + why); }

}  // namespace

Result<PieceTable> PieceTable::make(const Digest& digest, const BlobLayout& layout,
                                    std::vector<Hash32> piece_hashes) {
  if (piece_hashes.size() != layout.piece_count()) {
    return corrupt(std::to_string(piece_hashes.size()) + " hashes for " +
                   std::to_string(layout.piece_count()) + " pieces");
  }
  PieceTable table;
  table.digest_ = digest;
  table.layout_ = layout;
  if (!layout.empty()) table.pieces_root_ = content::pieces_root(layout, piece_hashes);
  auto owner = std::make_shared<const std::vector<Hash32>>(std::move(piece_hashes));
  table.hashes_ = *owner;
  table.owner_ = std::move(owner);
  return table;
}

PieceTable PieceTable::make(BlobHashes hashes) {
  Result<PieceTable> table = make(hashes.digest, hashes.layout, std::move(hashes.piece_hashes));
  SHOAL_CHECK(table.has_value(), "a hashed blob has one hash per piece");
  return *std::move(table);
}

Result<PieceTable> PieceTable::parse(std::span<const std::byte> bytes) {
  Result<PieceTable> view = parse_in_place(bytes, nullptr);
  if (!view) return view;
  auto owner =
      std::make_shared<const std::vector<Hash32>>(view->hashes_.begin(), view->hashes_.end());
  view->hashes_ = *owner;
  view->owner_ = std::move(owner);
  return view;
}

Result<PieceTable> PieceTable::parse_in_place(std::span<const std::byte> bytes,
                                              std::shared_ptr<const void> owner) {
  if (bytes.size() < kPieceTableHeaderSize) return corrupt("shorter than its header");
  const std::byte* at = bytes.data();
  if (std::memcmp(at, kMagic.data(), kMagic.size()) != 0) return corrupt("wrong magic");
  std::uint64_t format = get(at + kFormatAt, 4);
  if (format != kFormat) {
    return corrupt("format " + std::to_string(format) + ", this version reads 1");
  }
  Result<BlobLayout> layout = BlobLayout::of_size(get(at + kSizeAt, 8));
  if (!layout) return corrupt(layout.error().message());
  if (get(at + kPieceLengthAt, 8) != layout->piece_length()) {
    return corrupt("the piece length does not follow from the size");
  }
  if (get(at + kPieceCountAt, 4) != layout->piece_count()) {
    return corrupt("the piece count does not follow from the size");
  }
  std::span<const std::byte> rest = bytes.subspan(kPieceTableHeaderSize);
  if (rest.size() != std::size_t{layout->piece_count()} * sizeof(Hash32)) {
    return corrupt(std::to_string(rest.size()) + " bytes of hashes for " +
                   std::to_string(layout->piece_count()) + " pieces");
  }
  PieceTable table;
  table.digest_ = Digest(get_hash(at + kDigestAt));
  table.layout_ = *layout;
  // Hash32 is an array of bytes, so any address is aligned for it.
  table.hashes_ = {reinterpret_cast<const Hash32*>(rest.data()), layout->piece_count()};
  table.owner_ = std::move(owner);
  Hash32 root = get_hash(at + kRootAt);
  if (layout->empty()) {
    if (root != Hash32{}) return corrupt("an empty blob has no pieces root");
    return table;
  }
  if (content::pieces_root(*layout, table.hashes_) != root) {
    return corrupt("the piece hashes do not give the pieces root");
  }
  table.pieces_root_ = root;
  return table;
}

std::vector<std::byte> PieceTable::serialise() const {
  std::vector<std::byte> bytes(kPieceTableHeaderSize + hashes_.size_bytes());
  std::memcpy(bytes.data(), kMagic.data(), kMagic.size());
  put(bytes.data() + kFormatAt, kFormat, 4);
  put(bytes.data() + kPieceCountAt, layout_.piece_count(), 4);
  put(bytes.data() + kSizeAt, layout_.size(), 8);
  put(bytes.data() + kPieceLengthAt, layout_.piece_length(), 8);
  std::copy(digest_.bytes().begin(), digest_.bytes().end(), bytes.begin() + kDigestAt);
  if (pieces_root_) {
    std::copy(pieces_root_->begin(), pieces_root_->end(), bytes.begin() + kRootAt);
  }
  std::span<const std::byte> hashes = std::as_bytes(hashes_);
  std::copy(hashes.begin(), hashes.end(), bytes.begin() + kPieceTableHeaderSize);
  return bytes;
}

const Hash32& PieceTable::hash(PieceIndex piece) const {
  SHOAL_CHECK(piece.value() < hashes_.size(), "piece out of range");
  return hashes_[piece.value()];
}

bool PieceTable::verify_piece(PieceIndex piece, std::span<const std::byte> data) const {
  const Hash32& expected = hash(piece);
  return data.size() == layout_.piece_size(piece) && piece_hash(layout_, piece, data) == expected;
}

Status PieceTable::expect(const Digest& digest, std::uint64_t size,
                          const std::optional<Hash32>& pieces_root) const {
  if (digest_ != digest) return corrupt("is of " + digest_.str() + ", not of " + digest.str());
  if (layout_.size() != size) {
    return corrupt("says " + std::to_string(layout_.size()) + " bytes, not " +
                   std::to_string(size));
  }
  if (pieces_root && pieces_root_ != pieces_root) {
    return corrupt("has pieces root " + root_text(pieces_root_) + ", not " +
                   root_text(pieces_root));
  }
  return {};
}

}  // namespace shoal::content
