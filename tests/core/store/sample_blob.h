// Blobs of random bytes with their piece tables, for the store's tests.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "core/base/random.h"
#include "core/content/piece_table.h"

namespace shoal::store {

inline constexpr std::uint64_t kPiece = content::kMinPieceLength;

struct SampleBlob {
  std::vector<std::byte> data;
  content::PieceTable table;

  const content::Digest& digest() const { return table.digest(); }
  const content::BlobLayout& layout() const { return table.layout(); }
  std::span<const std::byte> bytes(std::uint32_t first, std::uint32_t count = 1) const {
    const ByteRange range = layout().range_of({content::PieceIndex(first), count});
    return std::span(data).subspan(range.offset, range.length);
  }
};

inline std::vector<std::byte> random_bytes(std::size_t size, std::uint64_t seed) {
  SeededRandom random(seed);
  std::vector<std::byte> bytes(size);
  for (std::size_t at = 0; at < size; at += 8) {
    const std::uint64_t word = random.next();
    std::memcpy(bytes.data() + at, &word, std::min<std::size_t>(8, size - at));
  }
  return bytes;
}

inline SampleBlob sample_blob(std::size_t size, std::uint64_t seed = 1) {
  std::vector<std::byte> data = random_bytes(size, seed);
  content::BlobHasher hasher{content::BlobLayout(size)};
  EXPECT_TRUE(hasher.update(data));
  return {std::move(data), content::PieceTable::make(*hasher.finish())};
}

inline content::PieceRange pieces(std::uint32_t first, std::uint32_t count = 1) {
  return {content::PieceIndex(first), count};
}

inline std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace shoal::store
