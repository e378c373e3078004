// Internal to core/content (and its benchmark): the SHA-256 compression function over several
// independent messages at once, with the x86 SHA extensions.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace shoal::content {

using Sha256State = std::array<std::uint32_t, 8>;

// FIPS 180-4, 5.3.3.
inline constexpr Sha256State kSha256Initial{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                            0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
inline constexpr std::size_t kSha256Block = 64;
inline constexpr std::size_t kMaxShaNiLanes = 6;

// Whether the CPU has the SHA extensions (and SSE 4.1).
bool sha_ni_available();

// Compresses `blocks` blocks from data[i] into states[i], for i < lanes. `lanes` is 1 to
// kMaxShaNiLanes; only where sha_ni_available().
void compress_sha_ni(std::size_t lanes, Sha256State* states, const std::byte* const* data,
                     std::size_t blocks);

}  // namespace shoal::content
