// The int8 side path of lookup attention: what outlier dimensions add to a page's scores. Internal linkage: each ISA
// path has its own copy.
#pragma once

#include <immintrin.h>

#include "kernels/kernels.h"

namespace lutra::kernels::avx2 {
namespace {

/// The codes of a page's outliers, widened and interleaved in pairs once for all queries.
class OutlierCodes {
 public:
  OutlierCodes(const uint8_t* codes, uint32_t n_outliers) : n_pairs_(n_outliers / 2) {
    for (uint32_t pair = 0; pair < n_pairs_; ++pair, codes += 2 * kPagePositions) {
      for (uint32_t half = 0; half < 2; ++half) {
        const __m256i one = widened(codes + 8 * half), two = widened(codes + kPagePositions + 8 * half);
        codes_[pair][half][0] = _mm256_unpacklo_epi16(one, two);
        codes_[pair][half][1] = _mm256_unpackhi_epi16(one, two);
      }
    }
  }

  /// ((base + Σ code · weight) >> kOutlierShift), modulo 2^16, of positions 0 to 7 and 16 to 23, or of the others.
  __m256i scores(uint32_t half, const int16_t* weights, int32_t base) const {
    __m256i a = _mm256_set1_epi32(base), b = a;
    for (uint32_t pair = 0; pair < n_pairs_; ++pair) {
      int32_t both;
      __builtin_memcpy(&both, weights + 2 * pair, sizeof both);
      const __m256i weight = _mm256_set1_epi32(both);
      a = _mm256_add_epi32(a, _mm256_madd_epi16(codes_[pair][half][0], weight));
      b = _mm256_add_epi32(b, _mm256_madd_epi16(codes_[pair][half][1], weight));
    }
    a = _mm256_srli_epi32(_mm256_slli_epi32(a, 16 - kOutlierShift), 16);
    b = _mm256_srli_epi32(_mm256_slli_epi32(b, 16 - kOutlierShift), 16);
    return _mm256_packus_epi32(a, b);
  }

 private:
  /// Eight codes and the eight 16 positions on.
  static __m256i widened(const uint8_t* codes) {
    const __m128i low = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes));
    const __m128i high = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + 16));
    return _mm256_cvtepi8_epi16(_mm_unpacklo_epi64(low, high));
  }

  uint32_t n_pairs_;
  __m256i codes_[kMaxOutliers / 2][2][2];
};

}  // namespace
}  // namespace lutra::kernels::avx2
