#include "core/content/sha256_lanes.h"

#include "core/base/check.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

#include <utility>

// The functions below are compiled for CPUs that may not be this one: they are only entered after
// sha_ni_available(). Lambdas would not inherit the target, hence functions.
#define SHOAL_SHA_NI __attribute__((target("sha,sse4.1")))
#define SHOAL_SHA_NI_INLINE __attribute__((target("sha,sse4.1"), always_inline)) inline

namespace shoal::content {
namespace {

// The registers of N messages. The instructions keep the state as (A,B,E,F) and (C,D,G,H).
template <std::size_t N>
struct Lanes {
  __m128i abef[N];
  __m128i cdgh[N];
  __m128i w[4][N];  // the last 16 words of the message schedule, four by four
};

// Rounds 4 * Quad to 4 * Quad + 3 of all lanes. Each step is done for all lanes before the next, so
// that a lane's instruction has its input ready when its turn comes.
template <unsigned Quad, std::size_t... L>
SHOAL_SHA_NI_INLINE void four_rounds(Lanes<sizeof...(L)>& v, std::index_sequence<L...>) {
  constexpr unsigned kNow = Quad % 4;
  constexpr unsigned kNext = (Quad + 1) % 4;
  constexpr unsigned kBefore = (Quad + 3) % 4;
  const __m128i k = _mm_load_si128(reinterpret_cast<const __m128i*>(kSha256RoundConstants) + Quad);
  __m128i wk[sizeof...(L)];
  ((wk[L] = _mm_add_epi32(v.w[kNow][L], k)), ...);
  ((v.cdgh[L] = _mm_sha256rnds2_epu32(v.cdgh[L], v.abef[L], wk[L])), ...);
  if constexpr (Quad >= 3 && Quad < 15) {
    ((v.w[kNext][L] = _mm_sha256msg2_epu32(
          _mm_add_epi32(v.w[kNext][L], _mm_alignr_epi8(v.w[kNow][L], v.w[kBefore][L], 4)),
          v.w[kNow][L])),
     ...);
  }
  ((v.abef[L] = _mm_sha256rnds2_epu32(v.abef[L], v.cdgh[L], _mm_shuffle_epi32(wk[L], 0x0e))), ...);
  if constexpr (Quad >= 1 && Quad < 13) {
    ((v.w[kBefore][L] = _mm_sha256msg1_epu32(v.w[kBefore][L], v.w[kNow][L])), ...);
  }
}

template <std::size_t N, unsigned... Quad>
SHOAL_SHA_NI_INLINE void all_rounds(Lanes<N>& v, std::integer_sequence<unsigned, Quad...>) {
  (four_rounds<Quad>(v, std::make_index_sequence<N>()), ...);
}

template <std::size_t N>
SHOAL_SHA_NI void compress(Sha256State* states, const std::byte* const* data, std::size_t blocks) {
  const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  Lanes<N> v;
  for (std::size_t l = 0; l < N; ++l) {
    auto* words = reinterpret_cast<const __m128i*>(states[l].data());
    __m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128(words), 0xb1);
    __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128(words + 1), 0x1b);
    v.abef[l] = _mm_alignr_epi8(cdab, efgh, 8);
    v.cdgh[l] = _mm_blend_epi16(efgh, cdab, 0xf0);
  }
  for (std::size_t block = 0; block < blocks; ++block) {
    Lanes<N> before;
    for (std::size_t l = 0; l < N; ++l) {
      before.abef[l] = v.abef[l];
      before.cdgh[l] = v.cdgh[l];
      auto* words = reinterpret_cast<const __m128i*>(data[l] + block * kSha256Block);
      _mm_prefetch(data[l] + (block + kPrefetchBlocks) * kSha256Block, _MM_HINT_T0);
      for (unsigned i = 0; i < 4; ++i) {
        v.w[i][l] = _mm_shuffle_epi8(_mm_loadu_si128(words + i), big_endian);
      }
    }
    all_rounds(v, std::make_integer_sequence<unsigned, 16>());
    for (std::size_t l = 0; l < N; ++l) {
      v.abef[l] = _mm_add_epi32(v.abef[l], before.abef[l]);
      v.cdgh[l] = _mm_add_epi32(v.cdgh[l], before.cdgh[l]);
    }
  }
  for (std::size_t l = 0; l < N; ++l) {
    auto* words = reinterpret_cast<__m128i*>(states[l].data());
    __m128i feba = _mm_shuffle_epi32(v.abef[l], 0x1b);
    __m128i dchg = _mm_shuffle_epi32(v.cdgh[l], 0xb1);
    _mm_storeu_si128(words, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128(words + 1, _mm_alignr_epi8(dchg, feba, 8));
  }
}

}  // namespace

bool sha_ni_available() {
  static const bool available = [] {
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & bit_SSE4_1) == 0) return false;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & bit_SHA) != 0;
  }();
  return available;
}

void compress_sha_ni(std::size_t lanes, Sha256State* states, const std::byte* const* data,
                     std::size_t blocks) {
  switch (lanes) {
    case 1:
      return compress<1>(states, data, blocks);
    case 2:
      return compress<2>(states, data, blocks);
    case 3:
      return compress<3>(states, data, blocks);
    case 4:
      return compress<4>(states, data, blocks);
    case 5:
      return compress<5>(states, data, blocks);
    case 6:
      return compress<6>(states, data, blocks);
    default:
      SHOAL_CHECK(false, "lanes out of range");
  }
}

}  // namespace shoal::content

#else

namespace shoal::content {

bool sha_ni_available() { return false; }

void compress_sha_ni(std::size_t, Sha256State*, const std::byte* const*, std::size_t) {
  SHOAL_CHECK(false, "no SHA extensions on this architecture");
}

}  // namespace shoal::content

#endif
