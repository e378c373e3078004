// Internal to core/content (and its benchmark): the SHA-256 compression function over several
// independent messages at once, with the x86 SHA extensions or with AVX-512.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace shoal::content {

using Sha256State = std::array<std::uint32_t, 8>;

// FIPS 180-4, 5.3.3.
inline constexpr Sha256State kSha256Initial{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                            0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
// FIPS 180-4, 4.2.2.
alignas(16) inline constexpr std::uint32_t kSha256RoundConstants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

inline constexpr std::size_t kSha256Block = 64;
// So many streams at once are more than hardware prefetchers follow: each is prefetched this far
// ahead. A prefetch beyond the end of a buffer does nothing.
inline constexpr std::size_t kPrefetchBlocks = 8;
inline constexpr std::size_t kMaxShaNiLanes = 6;
inline constexpr std::size_t kAvx512Lanes = 16;

// Whether the CPU has the SHA extensions (and SSE 4.1).
bool sha_ni_available();

// Compresses `blocks` blocks from data[i] into states[i], for i < lanes. `lanes` is 1 to
// kMaxShaNiLanes; only where sha_ni_available().
void compress_sha_ni(std::size_t lanes, Sha256State* states, const std::byte* const* data,
                     std::size_t blocks);

// Whether the CPU has AVX-512 F and BW.
bool avx512_available();

// The same for kAvx512Lanes messages; only where avx512_available().
void compress_avx512(Sha256State* states, const std::byte* const* data, std::size_t blocks);

}  // namespace shoal::content
