// Integer dot products of one unit (8 rows × 32 k) with a column by vpdpbusd, for sub-scales of 16 elements. The
// integers are those of avx2/matmul_units.h, so the tiles' float epilogue gives the same bits. 256-bit vectors: taking
// 2- and 6-bit codes apart in pairs of 512 bits, as matmul_wide_units.h does, was slower (Zen 4, GMAC/s at n = 1: Q6_K
// 24 against 35). With 32 registers a unit's eight code vectors stay while the columns of a tile pass by. Many columns
// take panels in pairs (matmul_narrow_pair.h).
//
// Int32: a plane's sum of half a unit is at most 16·63·127 = 128016 < 2^17; times a sub-scale of up to 128, both
// halves, < 2^25.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/avx2/matmul_codes.h"

namespace lutra::kernels::avx512 {
namespace {

using avx2::Columns;
using avx2::PlaneSums;

/// Products of kCount vectors of codes with the activations at `a`.
template <int kCount>
LUTRA_INLINE __m256i dot_vectors(const __m256i* codes, const int8_t* a) {
  __m256i sum = _mm256_setzero_si256();
#pragma GCC unroll 8
  for (int j = 0; j < kCount; ++j) sum = _mm256_dpbusd_epi32(sum, codes[j], avx2::broadcast4(a + 4 * j));
  return sum;
}

/// planes(c) = int32 scale_first · Σ_{k<16} code·a + scale_second · Σ_{k≥16} code·a of each plane; int32 scales.
template <LowBits kLow, HighBits kHigh>
struct NarrowDots {
  /// Q2_K: a code times its scale, at most 3·15 = 45, still fits its byte.
  static constexpr bool kScaledCodes = kLow == LowBits::kTwo && kHigh == HighBits::kNone;
  __m256i codes[8];
  __m256i first, second;

  LUTRA_INLINE NarrowDots(const uint8_t* unit, const Columns&, __m256i scale_first, __m256i scale_second)
      : codes{avx2::load_codes<kLow, kHigh, 0, 0>(unit), avx2::load_codes<kLow, kHigh, 0, 1>(unit),
              avx2::load_codes<kLow, kHigh, 0, 2>(unit), avx2::load_codes<kLow, kHigh, 0, 3>(unit),
              avx2::load_codes<kLow, kHigh, 1, 0>(unit), avx2::load_codes<kLow, kHigh, 1, 1>(unit),
              avx2::load_codes<kLow, kHigh, 1, 2>(unit), avx2::load_codes<kLow, kHigh, 1, 3>(unit)},
        first(scale_first),
        second(scale_second) {
    if constexpr (kScaledCodes) {
      const __m256i factors[2] = {avx2::both_halves(first), avx2::both_halves(second)};
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j) codes[j] = _mm256_mullo_epi16(codes[j], factors[j / 4]);
    }
  }

  LUTRA_INLINE __m256i plane(const int8_t* a) const {
    if constexpr (kScaledCodes) return dot_vectors<8>(codes, a);
    return _mm256_add_epi32(_mm256_mullo_epi32(dot_vectors<4>(codes, a), first),
                            _mm256_mullo_epi32(dot_vectors<4>(codes + 4, a + 16), second));
  }

  LUTRA_INLINE PlaneSums planes(const Columns& columns, int c) const {
    return {plane(columns.high(c)), plane(columns.low(c))};
  }
};

}  // namespace
}  // namespace lutra::kernels::avx512
