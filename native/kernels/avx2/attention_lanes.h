// Eight lanes for attention_tile.h. Internal linkage: each ISA path has its own copy.
#pragma once

#include <immintrin.h>

#include "kernels/avx2/vector_math.h"
#include "kernels/kernels.h"

namespace lutra::kernels::avx2 {
namespace {

/// All-ones in the lanes whose position t + lane lies in [begin, end).
__m256 visible_lanes(uint32_t t, uint32_t begin, uint32_t end) {
  const __m256i position =
      _mm256_add_epi32(_mm256_set1_epi32(static_cast<int>(t)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  const __m256i before = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(begin)), position);
  const __m256i inside = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(end)), position);
  return _mm256_castsi256_ps(_mm256_andnot_si256(before, inside));
}

struct Lanes8 {
  using Vector = __m256;
  using Eight = Lanes8;
  static constexpr uint32_t kWidth = 8;

  static Vector zero() { return _mm256_setzero_ps(); }
  static Vector set(float x) { return _mm256_set1_ps(x); }
  static Vector load(const float* x) { return _mm256_loadu_ps(x); }
  static void store(float* x, Vector v) { _mm256_storeu_ps(x, v); }
  static Vector multiply(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
  static Vector multiply_add(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
  static Vector widen(const float* x) { return load(x); }
  static Vector widen(const uint16_t* halves) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(halves)));
  }
  static Vector widen(const int8_t* codes) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes))));
  }
  /// One half in all lanes.
  static Vector widen_one(const uint16_t* half) { return _mm256_cvtph_ps(_mm_set1_epi16(static_cast<int16_t>(*half))); }
  static Vector from_integers(const uint16_t* integers) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(integers))));
  }

  /// Turns the scores of [begin, end) into weights. False when nothing is left to add. Masked lanes may hold garbage:
  /// they are replaced, never multiplied.
  static bool weigh(float* scores, uint32_t begin, uint32_t end, float* max_out, float* sum_out) {
    const __m256 lowest = _mm256_set1_ps(-__builtin_inff());
    __m256 max = lowest, nan = _mm256_setzero_ps();
    for (uint32_t t = begin & ~7u; t < end; t += 8) {
      const __m256 score = _mm256_blendv_ps(lowest, load(scores + t), visible_lanes(t, begin, end));
      nan = _mm256_or_ps(nan, _mm256_cmp_ps(score, score, _CMP_UNORD_Q));
      max = _mm256_max_ps(score, max);
    }
    *max_out = _mm256_movemask_ps(nan) != 0 ? __builtin_nanf("") : max_lane(max) + 0.0f;
    *sum_out = 0.0f;
    if (*max_out == -__builtin_inff()) return false;
    const __m256 shift = _mm256_set1_ps(*max_out);
    __m256 sum = _mm256_setzero_ps();
    for (uint32_t t = begin & ~7u; t < end; t += 8) {
      const __m256 weight = exp_ps(_mm256_sub_ps(load(scores + t), shift));
      const __m256 seen = _mm256_and_ps(weight, visible_lanes(t, begin, end));
      store(scores + t, seen);
      sum = _mm256_add_ps(sum, seen);
    }
    *sum_out = merge_lanes(sum);
    return true;
  }
};

}  // namespace
}  // namespace lutra::kernels::avx2
