// Sixteen lanes for AVX2's attention kernels (avx2/attention_tile.h). Internal linkage.
#pragma once

#include <immintrin.h>

#include "kernels/avx2/attention_lanes.h"

namespace lutra::kernels::avx512 {
namespace {

/// scalar::exp_f32 for x ≤ 0 or NaN. scalef rounds once, as do the twin's two factors: the first product stays normal.
__m512 exp_ps(__m512 x) {
  x = _mm512_max_ps(_mm512_set1_ps(-110.0f), x);
  const __m512 magic = _mm512_set1_ps(12582912.0f);
  const __m512 n = _mm512_sub_ps(_mm512_fmadd_ps(x, _mm512_set1_ps(1.44269504088896341f), magic), magic);
  __m512 r = _mm512_fmadd_ps(n, _mm512_set1_ps(-0.693359375f), x);
  r = _mm512_fmadd_ps(n, _mm512_set1_ps(2.12194440e-4f), r);
  __m512 p = _mm512_set1_ps(1.9875691500e-4f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
  p = _mm512_add_ps(_mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r), _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, n);
}

/// The lanes whose position t + lane lies in [begin, end); t < end, begin < t + 16.
__mmask16 visible_lanes(uint32_t t, uint32_t begin, uint32_t end) {
  if (begin <= t && end - t >= 16) return 0xffff;
  const uint32_t after = begin > t ? 0xffffu << (begin - t) : 0xffffu;
  const uint32_t before = end - t < 16 ? (1u << (end - t)) - 1 : 0xffffu;
  return static_cast<__mmask16>(after & before);
}

struct Lanes16 {
  using Vector = __m512;
  using Eight = avx2::Lanes8;
  static constexpr uint32_t kWidth = 16;

  static Vector zero() { return _mm512_setzero_ps(); }
  static Vector set(float x) { return _mm512_set1_ps(x); }
  static Vector load(const float* x) { return _mm512_loadu_ps(x); }
  static void store(float* x, Vector v) { _mm512_storeu_ps(x, v); }
  static Vector multiply(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
  static Vector multiply_add(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
  static Vector widen(const float* x) { return load(x); }
  static Vector widen(const uint16_t* halves) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(halves)));
  }
  static Vector widen(const int8_t* codes) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes))));
  }

  static Vector widen_one(const uint16_t* half) {
    return _mm512_cvtph_ps(_mm256_set1_epi16(static_cast<int16_t>(*half)));
  }
  static Vector from_integers(const uint16_t* integers) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(integers))));
  }

  /// See avx2::Lanes8::weigh. The sum keeps its eight lanes: the halves of a vector are added one after the other.
  static bool weigh(float* scores, uint32_t begin, uint32_t end, float* max_out, float* sum_out) {
    __m512 max = _mm512_set1_ps(-__builtin_inff());
    uint32_t nan = 0;
    for (uint32_t t = begin & ~15u; t < end; t += 16) {
      const __mmask16 seen = visible_lanes(t, begin, end);
      const __m512 score = load(scores + t);
      nan |= _mm512_mask_cmp_ps_mask(seen, score, score, _CMP_UNORD_Q);
      max = _mm512_mask_max_ps(max, seen, score, max);
    }
    *max_out = nan != 0 ? __builtin_nanf("") : _mm512_reduce_max_ps(max) + 0.0f;
    *sum_out = 0.0f;
    if (*max_out == -__builtin_inff()) return false;
    const __m512 shift = _mm512_set1_ps(*max_out);
    __m256 sum = _mm256_setzero_ps();
    for (uint32_t t = begin & ~15u; t < end; t += 16) {
      const __m512 all = exp_ps(_mm512_sub_ps(load(scores + t), shift));
      const __m512 weight = _mm512_maskz_mov_ps(visible_lanes(t, begin, end), all);
      store(scores + t, weight);
      sum = _mm256_add_ps(sum, _mm512_castps512_ps256(weight));
      sum = _mm256_add_ps(sum, _mm512_extractf32x8_ps(weight, 1));
    }
    *sum_out = avx2::merge_lanes(sum);
    return true;
  }
};

}  // namespace
}  // namespace lutra::kernels::avx512
