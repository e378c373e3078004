#include "core/store/synced_record.h"

#include <cstdint>
#include <cstring>

#include "core/base/check.h"

namespace shoal::store {
namespace {

constexpr char kMagic[] = "SHOALSYN";  // eight bytes without the final zero
constexpr std::uint32_t kFormat = 1;

template <typename T>
void put(std::vector<std::byte>& out, T value) {
  for (std::size_t i = 0; i < sizeof value; ++i) {
    out.push_back(static_cast<std::byte>(value >> (8 * i)));
  }
}

std::vector<std::byte> encode_header(const content::Digest& digest,
                                     const content::BlobLayout& layout) {
  std::vector<std::byte> out(8);
  std::memcpy(out.data(), kMagic, 8);
  put(out, kFormat);
  put(out, layout.piece_count());
  put(out, layout.size());
  out.insert(out.end(), digest.bytes().begin(), digest.bytes().end());
  SHOAL_CHECK(out.size() == kSyncedHeaderSize, "the header as documented");
  return out;
}

}  // namespace

std::vector<std::byte> encode_synced(const content::Digest& digest,
                                     const content::BlobLayout& layout,
                                     const content::PieceSet& pieces) {
  SHOAL_CHECK(pieces.size() == layout.piece_count(), "a set of another blob");
  std::vector<std::byte> out = encode_header(digest, layout);
  const std::vector<std::byte> bits = pieces.to_bytes();
  out.insert(out.end(), bits.begin(), bits.end());
  const content::Digest check = content::digest_of(out);
  out.insert(out.end(), check.bytes().begin(), check.bytes().end());
  return out;
}

Result<content::PieceSet> decode_synced(const content::Digest& digest,
                                        const content::BlobLayout& layout,
                                        std::span<const std::byte> bytes) {
  const std::size_t bit_bytes = (std::size_t{layout.piece_count()} + 7) / 8;
  const std::size_t body = kSyncedHeaderSize + bit_bytes;
  if (bytes.size() != body + sizeof(content::Hash32)) {
    return fail(Errc::kCorrupt, "synced record: wrong length");
  }
  const std::vector<std::byte> header = encode_header(digest, layout);
  if (std::memcmp(bytes.data(), header.data(), header.size()) != 0) {
    return fail(Errc::kCorrupt, "synced record: of another blob or format");
  }
  const content::Digest check = content::digest_of(bytes.first(body));
  if (std::memcmp(bytes.data() + body, check.bytes().data(), check.bytes().size()) != 0) {
    return fail(Errc::kCorrupt, "synced record: wrong checksum");
  }
  auto pieces = content::PieceSet::from_bytes(layout.piece_count(),
                                              bytes.subspan(kSyncedHeaderSize, bit_bytes));
  if (!pieces) return fail(Errc::kCorrupt, "synced record: " + pieces.error().message());
  return pieces;
}

}  // namespace shoal::store
