// Float building blocks of the AVX2 path: the same operations in the same order as scalar/float_math.h, eight at once.
// Everything is static: no symbol of this header may be shared with code built for older CPUs.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace lutra::kernels::avx2 {

/// Lanes 0..n-1 set, 0 ≤ n ≤ 8.
static inline __m256i lane_mask(uint32_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/// Loads x[0..n), zeros above; nothing past n is touched.
static inline __m256 load_partial(const float* x, uint32_t n) { return _mm256_maskload_ps(x, lane_mask(n)); }
static inline void store_partial(float* x, uint32_t n, __m256 v) { _mm256_maskstore_ps(x, lane_mask(n), v); }

/// See scalar::exp_f32. min/max keep their second operand when one is NaN, so NaN passes.
static inline __m256 exp_ps(__m256 x) {
  x = _mm256_min_ps(_mm256_set1_ps(100.0f), x);
  x = _mm256_max_ps(_mm256_set1_ps(-110.0f), x);
  const __m256 magic = _mm256_set1_ps(12582912.0f);
  const __m256 shifted = _mm256_fmadd_ps(x, _mm256_set1_ps(1.44269504088896341f), magic);
  const __m256 n = _mm256_sub_ps(shifted, magic);
  __m256 r = _mm256_fmadd_ps(n, _mm256_set1_ps(-0.693359375f), x);
  r = _mm256_fmadd_ps(n, _mm256_set1_ps(2.12194440e-4f), r);
  __m256 p = _mm256_set1_ps(1.9875691500e-4f);
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.3981999507e-3f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(8.3334519073e-3f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(4.1665795894e-2f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.6666665459e-1f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(5.0000001201e-1f));
  p = _mm256_add_ps(_mm256_fmadd_ps(p, _mm256_mul_ps(r, r), r), _mm256_set1_ps(1.0f));
  const __m256i exponent = _mm256_sub_epi32(_mm256_castps_si256(shifted), _mm256_castps_si256(magic));
  const __m256i half = _mm256_srai_epi32(exponent, 1);
  const __m256i bias = _mm256_set1_epi32(127);
  const __m256i scale_a = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
  const __m256i scale_b = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(exponent, half), bias), 23);
  return _mm256_mul_ps(_mm256_mul_ps(p, _mm256_castsi256_ps(scale_a)), _mm256_castsi256_ps(scale_b));
}

/// ((0+4)+(2+6)) + ((1+5)+(3+7)), as scalar::merge_lanes.
static inline float merge_lanes(__m256 v) {
  const __m128 quads = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 pairs = _mm_add_ps(quads, _mm_movehl_ps(quads, quads));
  return _mm_cvtss_f32(_mm_add_ss(pairs, _mm_shuffle_ps(pairs, pairs, 1)));
}

/// The largest lane; no lane may be NaN.
static inline float max_lane(__m256 v) {
  const __m128 quads = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 pairs = _mm_max_ps(quads, _mm_movehl_ps(quads, quads));
  return _mm_cvtss_f32(_mm_max_ss(pairs, _mm_shuffle_ps(pairs, pairs, 1)));
}

}  // namespace lutra::kernels::avx2
