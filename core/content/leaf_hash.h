// SHA-256 of many independent messages at once. One SHA-NI stream waits for its own results most of
// the time; leaves do not depend on one another, so several are kept in flight in one core and the
// throughput rises several times (tests/bench/leaf_hash_bench.cc prints by how much).
//
// Thread: all functions may be called from any thread at once, except force_leaf_hash_backend().
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

#include "core/content/digest.h"

namespace shoal::content {

enum class LeafHashBackend {
  kOpenSsl,  // one message after the other; on every CPU
  kShaNi,    // x86 with the SHA extensions: four messages in flight
  kAvx512,   // x86 with AVX-512: sixteen messages side by side
};

inline constexpr LeafHashBackend kAllLeafHashBackends[] = {
    LeafHashBackend::kOpenSsl, LeafHashBackend::kShaNi, LeafHashBackend::kAvx512};

// "openssl", "sha-ni", "avx512".
std::string_view leaf_hash_backend_name(LeafHashBackend backend);

// Whether this CPU can run `backend`.
bool leaf_hash_backend_available(LeafHashBackend backend);

// The one in use: the fastest that this CPU can run, unless another is forced. Where both vector
// units are there, the first call measures them (which one wins differs between CPU makers; under 2
// ms).
LeafHashBackend leaf_hash_backend();

// For tests and benchmarks: uses `backend` (which must be available) from now on in the whole
// process; nullopt returns to the fastest. Not while another thread hashes.
void force_leaf_hash_backend(std::optional<LeafHashBackend> backend);

// How many leaves the backend in use keeps in flight: hashing a multiple of this many at a time
// gives the full speed. At most kMaxLeafLanes.
std::size_t leaf_hash_lanes();
inline constexpr std::size_t kMaxLeafLanes = 16;

// The leaf hashes of `data`, which starts on a leaf boundary and holds leaves of kLeafSize bytes,
// the last one possibly shorter. Fills exactly ceil(data.size() / kLeafSize) entries; out.size()
// must be that number (checked). Allocates nothing.
void hash_leaves(std::span<const std::byte> data, std::span<Hash32> out);

// The parents of pairs of tree nodes: parents[i] = SHA-256(children[2i] + children[2i + 1]).
// children.size() must be 2 * parents.size() (checked). `parents` may be the first half of
// `children`. Allocates nothing.
void hash_pairs(std::span<const Hash32> children, std::span<Hash32> parents);

}  // namespace shoal::content
