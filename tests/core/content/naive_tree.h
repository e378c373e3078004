// BEP 52 written down as literally as possible, to compare the fast code with.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/base/random.h"
#include "core/content/digest.h"
#include "core/content/layout.h"

namespace shoal::content::naive {

inline Hash32 sha256(std::span<const std::byte> bytes) { return digest_of(bytes).bytes(); }

// The root over `leaves`, filled up with zero leaves to `width` (a power of two).
inline Hash32 root(std::vector<Hash32> layer, std::uint64_t width) {
  layer.resize(width);
  while (layer.size() > 1) {
    std::vector<Hash32> parents;
    for (std::size_t i = 0; i < layer.size(); i += 2) {
      std::vector<std::byte> both(layer[i].begin(), layer[i].end());
      both.insert(both.end(), layer[i + 1].begin(), layer[i + 1].end());
      parents.push_back(sha256(both));
    }
    layer = std::move(parents);
  }
  return layer[0];
}

inline std::vector<Hash32> leaves(std::span<const std::byte> data) {
  std::vector<Hash32> hashes;
  for (std::size_t at = 0; at < data.size(); at += kLeafSize) {
    hashes.push_back(sha256(data.subspan(at, std::min<std::size_t>(kLeafSize, data.size() - at))));
  }
  return hashes;
}

// Over the whole blob at once: says nothing of pieces.
inline std::optional<Hash32> pieces_root(std::span<const std::byte> data) {
  if (data.empty()) return std::nullopt;
  std::vector<Hash32> all = leaves(data);
  return root(all, std::bit_ceil(all.size()));
}

inline std::vector<Hash32> piece_hashes(std::span<const std::byte> data,
                                        std::uint64_t piece_length) {
  std::vector<Hash32> hashes;
  if (data.size() <= piece_length) {
    if (auto only = naive::pieces_root(data)) hashes.push_back(*only);
    return hashes;
  }
  for (std::size_t at = 0; at < data.size(); at += piece_length) {
    std::size_t size = std::min<std::size_t>(piece_length, data.size() - at);
    hashes.push_back(root(leaves(data.subspan(at, size)), piece_length / kLeafSize));
  }
  return hashes;
}

inline std::vector<std::byte> random_bytes(SeededRandom& random, std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.next());
  return bytes;
}

}  // namespace shoal::content::naive
