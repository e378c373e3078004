#include "core/content/leaf_hash.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <vector>

#include "core/base/check.h"
#include "core/content/layout.h"
#include "core/content/sha256_lanes.h"

namespace shoal::content {
namespace {

// FIPS 180-4, 5.1.1: a set bit, zeros, the message length in bits in the last eight bytes.
using Block = std::array<std::byte, kSha256Block>;

constexpr void put_bit_length(std::byte* end, std::uint64_t message_bytes) {
  std::uint64_t bits = message_bytes * 8;
  for (int i = 0; i < 8; ++i) end[-1 - i] = static_cast<std::byte>(bits >> (8 * i));
}

// The last block of a message that is a whole number of blocks long.
constexpr Block padding_block(std::uint64_t message_bytes) {
  Block block{};
  block[0] = std::byte{0x80};
  put_bit_length(block.data() + block.size(), message_bytes);
  return block;
}

constexpr Block kLeafPadding = padding_block(kLeafSize);
constexpr Block kPairPadding = padding_block(2 * sizeof(Hash32));

Hash32 to_hash(const Sha256State& state) {
  Hash32 hash;
  for (std::size_t i = 0; i < state.size(); ++i) {
    for (std::size_t byte = 0; byte < 4; ++byte) {
      hash[4 * i + byte] = static_cast<std::byte>(state[i] >> (24 - 8 * byte));
    }
  }
  return hash;
}

// Interleaving: see tests/bench/leaf_hash_bench.cc. More lanes than this gain nothing on any CPU
// measured, because their registers no longer fit.
constexpr std::size_t kShaNiLanes = 4;

// SHA-256 of adjacent messages of the same length, a whole number of blocks each. out[i] may
// overlap messages that were hashed before it.
void hash_adjacent_sha_ni(const std::byte* data, std::size_t length, const Block& padding,
                          std::span<Hash32> out) {
  std::array<Sha256State, kShaNiLanes> states;
  std::array<const std::byte*, kShaNiLanes> messages;
  std::array<const std::byte*, kShaNiLanes> paddings;
  paddings.fill(padding.data());
  for (std::size_t next = 0; next < out.size();) {
    // Five messages go as three and two, not as four and a lonely one.
    std::size_t left = out.size() - next;
    std::size_t groups = (left + kShaNiLanes - 1) / kShaNiLanes;
    std::size_t lanes = (left + groups - 1) / groups;
    for (std::size_t i = 0; i < lanes; ++i) {
      states[i] = kSha256Initial;
      messages[i] = data + (next + i) * length;
    }
    compress_sha_ni(lanes, states.data(), messages.data(), length / kSha256Block);
    compress_sha_ni(lanes, states.data(), paddings.data(), 1);
    for (std::size_t i = 0; i < lanes; ++i) out[next + i] = to_hash(states[i]);
    next += lanes;
  }
}

// SHA-256 of one message of any length.
Hash32 hash_one_sha_ni(std::span<const std::byte> message) {
  Sha256State state = kSha256Initial;
  const std::byte* data = message.data();
  std::size_t blocks = message.size() / kSha256Block;
  compress_sha_ni(1, &state, &data, blocks);
  std::span<const std::byte> rest = message.subspan(blocks * kSha256Block);
  std::array<std::byte, 2 * kSha256Block> tail{};
  if (!rest.empty()) std::memcpy(tail.data(), rest.data(), rest.size());
  tail[rest.size()] = std::byte{0x80};
  std::size_t tail_blocks = rest.size() + 1 + 8 <= kSha256Block ? 1 : 2;
  put_bit_length(tail.data() + tail_blocks * kSha256Block, message.size());
  const std::byte* tail_data = tail.data();
  compress_sha_ni(1, &state, &tail_data, tail_blocks);
  return to_hash(state);
}

Hash32 hash_one_openssl(std::span<const std::byte> message) {
  thread_local Sha256 hasher;
  hasher.update(message);
  return hasher.finish();
}

void hash_adjacent_openssl(const std::byte* data, std::size_t length, std::span<Hash32> out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = hash_one_openssl({data + i * length, length});
  }
}

// Sixteen lanes cost the same whether they are used or not, so a few messages go another way.
void hash_adjacent_avx512(const std::byte* data, std::size_t length, const Block& padding,
                          std::span<Hash32> out) {
  const std::size_t worth_it = sha_ni_available() ? 10 : 3;
  std::array<Sha256State, kAvx512Lanes> states;
  std::array<const std::byte*, kAvx512Lanes> messages;
  std::array<const std::byte*, kAvx512Lanes> paddings;
  paddings.fill(padding.data());
  while (out.size() >= worth_it) {
    std::size_t lanes = std::min(out.size(), kAvx512Lanes);
    states.fill(kSha256Initial);
    for (std::size_t i = 0; i < kAvx512Lanes; ++i) {
      messages[i] = data + std::min(i, lanes - 1) * length;
    }
    compress_avx512(states.data(), messages.data(), length / kSha256Block);
    compress_avx512(states.data(), paddings.data(), 1);
    for (std::size_t i = 0; i < lanes; ++i) out[i] = to_hash(states[i]);
    data += lanes * length;
    out = out.subspan(lanes);
  }
  if (sha_ni_available()) return hash_adjacent_sha_ni(data, length, padding, out);
  hash_adjacent_openssl(data, length, out);
}

// Seconds for one full group of leaves.
double measure(std::span<const std::byte> leaves,
               void (*hash_adjacent)(const std::byte*, std::size_t, const Block&,
                                     std::span<Hash32>)) {
  std::array<Hash32, kMaxLeafLanes> out;
  auto start = std::chrono::steady_clock::now();
  hash_adjacent(leaves.data(), kLeafSize, kLeafPadding, out);
  std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  return taken.count();
}

LeafHashBackend fastest_backend() {
  if (!sha_ni_available() && !avx512_available()) return LeafHashBackend::kOpenSsl;
  if (!avx512_available()) return LeafHashBackend::kShaNi;
  if (!sha_ni_available()) return LeafHashBackend::kAvx512;
  // Alone on a core they may be equals; between the copies of a transfer the vectors lose less, as
  // sixteen chains wait better for memory than four (docs/bench/lane.md). So a draw is theirs.
  constexpr double kClearly = 0.8;
  const std::vector<std::byte> leaves(kMaxLeafLanes * kLeafSize);
  double avx512 = 1;
  double sha_ni = 1;
  // In turn, so that a disturbance meets both.
  for (int i = 0; i < 5; ++i) {
    avx512 = std::min(avx512, measure(leaves, hash_adjacent_avx512));
    sha_ni = std::min(sha_ni, measure(leaves, hash_adjacent_sha_ni));
  }
  return sha_ni < kClearly * avx512 ? LeafHashBackend::kShaNi : LeafHashBackend::kAvx512;
}

std::atomic<LeafHashBackend>& backend_in_use() {
  static std::atomic<LeafHashBackend> backend{fastest_backend()};
  return backend;
}

void hash_adjacent(const std::byte* data, std::size_t length, const Block& padding,
                   std::span<Hash32> out) {
  switch (leaf_hash_backend()) {
    case LeafHashBackend::kOpenSsl:
      return hash_adjacent_openssl(data, length, out);
    case LeafHashBackend::kShaNi:
      return hash_adjacent_sha_ni(data, length, padding, out);
    case LeafHashBackend::kAvx512:
      return hash_adjacent_avx512(data, length, padding, out);
  }
}

}  // namespace

std::string_view leaf_hash_backend_name(LeafHashBackend backend) {
  switch (backend) {
    case LeafHashBackend::kOpenSsl:
      return "openssl";
    case LeafHashBackend::kShaNi:
      return "sha-ni";
    case LeafHashBackend::kAvx512:
      return "avx512";
  }
  return "unknown";
}

bool leaf_hash_backend_available(LeafHashBackend backend) {
  switch (backend) {
    case LeafHashBackend::kOpenSsl:
      return true;
    case LeafHashBackend::kShaNi:
      return sha_ni_available();
    case LeafHashBackend::kAvx512:
      return avx512_available();
  }
  return false;
}

LeafHashBackend leaf_hash_backend() { return backend_in_use().load(std::memory_order_relaxed); }

void force_leaf_hash_backend(std::optional<LeafHashBackend> backend) {
  SHOAL_CHECK(!backend || leaf_hash_backend_available(*backend), "backend not available");
  backend_in_use().store(backend.value_or(fastest_backend()), std::memory_order_relaxed);
}

std::size_t leaf_hash_lanes() {
  switch (leaf_hash_backend()) {
    case LeafHashBackend::kOpenSsl:
      return 1;
    case LeafHashBackend::kShaNi:
      return kShaNiLanes;
    case LeafHashBackend::kAvx512:
      return kAvx512Lanes;
  }
  return 1;
}

void hash_leaves(std::span<const std::byte> data, std::span<Hash32> out) {
  std::size_t full = data.size() / kLeafSize;
  std::span<const std::byte> rest = data.subspan(full * kLeafSize);
  SHOAL_CHECK(out.size() == full + (rest.empty() ? 0 : 1), "one hash per leaf");
  hash_adjacent(data.data(), kLeafSize, kLeafPadding, out.first(full));
  if (rest.empty()) return;
  bool sha_ni = leaf_hash_backend() != LeafHashBackend::kOpenSsl && sha_ni_available();
  out.back() = sha_ni ? hash_one_sha_ni(rest) : hash_one_openssl(rest);
}

void hash_pairs(std::span<const Hash32> children, std::span<Hash32> parents) {
  SHOAL_CHECK(children.size() == 2 * parents.size(), "two children per parent");
  hash_adjacent(reinterpret_cast<const std::byte*>(children.data()), 2 * sizeof(Hash32),
                kPairPadding, parents);
}

}  // namespace shoal::content
