// SHA-256 of sixteen messages side by side, one per 32-bit lane of an AVX-512 register.
#include "core/base/check.h"
#include "core/content/sha256_lanes.h"

#if defined(__x86_64__)

#if defined(__GNUC__) && !defined(__clang__)
// Reassociation would undo the order of additions that keeps the chain from round to round short.
#pragma GCC optimize("no-tree-reassoc")
#endif

#include <immintrin.h>

#include <utility>

// As in sha256_lanes.cc: only entered after avx512_available().
#define SHOAL_AVX512 __attribute__((target("avx512f,avx512bw")))
#define SHOAL_AVX512_INLINE __attribute__((target("avx512f,avx512bw"), always_inline)) inline

namespace shoal::content {
namespace {

// FIPS 180-4, 4.1.2. 0x96 is x ^ y ^ z, 0xca is x ? y : z, 0xe8 the majority.
SHOAL_AVX512_INLINE __m512i xor3(__m512i x, __m512i y, __m512i z) {
  return _mm512_ternarylogic_epi32(x, y, z, 0x96);
}
SHOAL_AVX512_INLINE __m512i big_sigma0(__m512i x) {
  return xor3(_mm512_ror_epi32(x, 2), _mm512_ror_epi32(x, 13), _mm512_ror_epi32(x, 22));
}
SHOAL_AVX512_INLINE __m512i big_sigma1(__m512i x) {
  return xor3(_mm512_ror_epi32(x, 6), _mm512_ror_epi32(x, 11), _mm512_ror_epi32(x, 25));
}
SHOAL_AVX512_INLINE __m512i small_sigma0(__m512i x) {
  return xor3(_mm512_ror_epi32(x, 7), _mm512_ror_epi32(x, 18), _mm512_srli_epi32(x, 3));
}
SHOAL_AVX512_INLINE __m512i small_sigma1(__m512i x) {
  return xor3(_mm512_ror_epi32(x, 17), _mm512_ror_epi32(x, 19), _mm512_srli_epi32(x, 10));
}
SHOAL_AVX512_INLINE __m512i add(__m512i x, __m512i y) { return _mm512_add_epi32(x, y); }

// Rows become columns: out of 16 messages' 16 words, word i of all messages.
SHOAL_AVX512_INLINE void transpose(__m512i (&r)[16]) {
  __m512i t[16];
#pragma GCC unroll 8
  for (unsigned i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
  __m512i u[16];
#pragma GCC unroll 4
  for (unsigned i = 0; i < 4; ++i) {
    u[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    u[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    u[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    u[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
  // u[4 * i + j] holds word j (and 4, 8, 12 above it) of rows 4 * i to 4 * i + 3.
#pragma GCC unroll 4
  for (unsigned j = 0; j < 4; ++j) {
    __m512i low01 = _mm512_shuffle_i32x4(u[j], u[4 + j], 0x88);
    __m512i high01 = _mm512_shuffle_i32x4(u[j], u[4 + j], 0xdd);
    __m512i low23 = _mm512_shuffle_i32x4(u[8 + j], u[12 + j], 0x88);
    __m512i high23 = _mm512_shuffle_i32x4(u[8 + j], u[12 + j], 0xdd);
    r[j] = _mm512_shuffle_i32x4(low01, low23, 0x88);
    r[4 + j] = _mm512_shuffle_i32x4(high01, high23, 0x88);
    r[8 + j] = _mm512_shuffle_i32x4(low01, low23, 0xdd);
    r[12 + j] = _mm512_shuffle_i32x4(high01, high23, 0xdd);
  }
}

// The working variables a to h turn by one place each round, so that none has to be moved.
constexpr unsigned place(unsigned variable, unsigned round) { return (variable + 64 - round) % 8; }

template <unsigned R>
SHOAL_AVX512_INLINE void one_round(__m512i (&s)[8], __m512i (&w)[16]) {
  if constexpr (R >= 16) {
    w[R % 16] = add(add(w[R % 16], small_sigma0(w[(R + 1) % 16])),
                    add(w[(R + 9) % 16], small_sigma1(w[(R + 14) % 16])));
  }
  __m512i& d = s[place(3, R)];
  __m512i& h = s[place(7, R)];
  const __m512i e = s[place(4, R)], a = s[place(0, R)];
  __m512i wk = add(w[R % 16], _mm512_set1_epi32(static_cast<int>(kSha256RoundConstants[R])));
  // Each round waits for e of the round before: what does not depend on it is added up first.
  __m512i hwk = add(h, wk);
  __m512i ch = _mm512_ternarylogic_epi32(e, s[place(5, R)], s[place(6, R)], 0xca);
  __m512i s1 = big_sigma1(e);
  d = add(add(add(d, hwk), ch), s1);
  h = add(add(add(hwk, ch), s1),
          add(big_sigma0(a), _mm512_ternarylogic_epi32(a, s[place(1, R)], s[place(2, R)], 0xe8)));
}

template <unsigned... R>
SHOAL_AVX512_INLINE void all_rounds(__m512i (&s)[8], __m512i (&w)[16],
                                    std::integer_sequence<unsigned, R...>) {
  (one_round<R>(s, w), ...);
}

}  // namespace

bool avx512_available() {
  static const bool available =
      __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
  return available;
}

SHOAL_AVX512 void compress_avx512(Sha256State* states, const std::byte* const* data,
                                  std::size_t blocks) {
  const __m512i big_endian =
      _mm512_broadcast_i32x4(_mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203));
  alignas(64) std::uint32_t columns[8][kAvx512Lanes];
  for (std::size_t l = 0; l < kAvx512Lanes; ++l) {
    for (std::size_t i = 0; i < 8; ++i) columns[i][l] = states[l][i];
  }
  __m512i s[8];
#pragma GCC unroll 8
  for (unsigned i = 0; i < 8; ++i) s[i] = _mm512_load_si512(columns[i]);
  for (std::size_t block = 0; block < blocks; ++block) {
    __m512i w[16];
#pragma GCC unroll 16
    for (unsigned l = 0; l < 16; ++l) {
      const std::byte* at = data[l] + block * kSha256Block;
      w[l] = _mm512_shuffle_epi8(_mm512_loadu_si512(at), big_endian);
      _mm_prefetch(at + kPrefetchBlocks * kSha256Block, _MM_HINT_T1);
    }
    transpose(w);
    __m512i before[8];
#pragma GCC unroll 8
    for (unsigned i = 0; i < 8; ++i) before[i] = s[i];
    all_rounds(s, w, std::make_integer_sequence<unsigned, 64>());
#pragma GCC unroll 8
    for (unsigned i = 0; i < 8; ++i) s[i] = add(s[i], before[i]);
  }
#pragma GCC unroll 8
  for (unsigned i = 0; i < 8; ++i) _mm512_store_si512(columns[i], s[i]);
  for (std::size_t l = 0; l < kAvx512Lanes; ++l) {
    for (std::size_t i = 0; i < 8; ++i) states[l][i] = columns[i][l];
  }
}

}  // namespace shoal::content

#else

namespace shoal::content {

bool avx512_available() { return false; }

void compress_avx512(Sha256State*, const std::byte* const*, std::size_t) {
  SHOAL_CHECK(false, "no AVX-512 on this architecture");
}

}  // namespace shoal::content

#endif
