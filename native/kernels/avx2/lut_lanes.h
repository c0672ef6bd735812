// 256-bit vectors of the lookup products (lut/half_sums.h). 8 int32 rows; two vectors of pairs hold 32 rows.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/avx2/matmul_codes.h"

namespace lutra::kernels::avx2 {
namespace {

struct LutLanes {
  using Bytes = __m256i;
  using Rows = __m256i;
  using Shorts = __m256i;
  /// Planes 0 and 1 in even 16-bit lanes, planes 2 and 3 in odd ones. kExact: of a unit, 2 · 252 · 12 = 6048 at most;
  /// kInt8: of half a unit, 4 · 128 · 48 = 24576.
  using Partial = __m256i;
  using Ints = __m256i;
  using Floats = __m256;
  static constexpr int kBytes = 32;
  static constexpr int kInts = 8;
  static constexpr int kPairVectors = 2;

  /// Vectors of nibble types taken at once: a table is loaded once for all, sums must fit 16 registers.
  static constexpr int nibble_vectors(int n_columns, int n_digits) { return n_columns * n_digits <= 3 ? 2 : 1; }

  static LUTRA_INLINE Bytes load(const uint8_t* bytes) { return load_vector(bytes); }
  template <int kHalf>
  static LUTRA_INLINE Bytes nibbles(Bytes packed) {
    return shifted_bytes<-4 * kHalf>(packed);
  }
  static LUTRA_INLINE Bytes table(const uint8_t* entries) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(entries)));
  }
  static LUTRA_INLINE Bytes lookup(Bytes table, Bytes index) { return _mm256_shuffle_epi8(table, index); }
  static LUTRA_INLINE Bytes add_bytes(Bytes a, Bytes b) { return _mm256_add_epi8(a, b); }

  static LUTRA_INLINE Rows load_rows(const uint8_t* bytes) { return load_vector(bytes); }
  template <int kHalf>
  static LUTRA_INLINE Rows row_nibbles(Rows packed) {
    return shifted_bytes<-4 * kHalf>(packed);
  }
  static LUTRA_INLINE Rows lookup_rows(const uint8_t* entries, Rows index) { return lookup(table(entries), index); }
  static LUTRA_INLINE Rows add_rows(Rows a, Rows b) { return _mm256_add_epi8(a, b); }
  template <bool kSigned>
  static LUTRA_INLINE Shorts widened(Rows rows, int v) {
    const __m128i half = half_of(rows, v);
    return kSigned ? _mm256_cvtepi8_epi16(half) : _mm256_cvtepu8_epi16(half);
  }

  /// Planes 0 and 1 of each 16-bit lane with weights kUnit and 2 kUnit.
  template <bool kSigned, int kUnit>
  static LUTRA_INLINE Shorts joined(Bytes bytes) {
    return weighted<kSigned>(bytes, _mm256_set1_epi16(0x0201 * kUnit));
  }
  static LUTRA_INLINE Shorts broadcast_short(int value) { return _mm256_set1_epi16(static_cast<int16_t>(value)); }
  static LUTRA_INLINE Shorts add_shorts(Shorts a, Shorts b) { return _mm256_add_epi16(a, b); }
  static LUTRA_INLINE Shorts and_shorts(Shorts a, Shorts b) { return _mm256_and_si256(a, b); }
  /// Left, or right (logical) when negative.
  template <int kShift>
  static LUTRA_INLINE Shorts shifted_shorts(Shorts a) {
    if constexpr (kShift < 0) return _mm256_srli_epi16(a, -kShift);
    return _mm256_slli_epi16(a, kShift);
  }

  static LUTRA_INLINE Partial no_partial() { return _mm256_setzero_si256(); }
  template <bool kSigned, int kUnit>
  static LUTRA_INLINE Partial add_planes(Partial sum, Bytes bytes) {
    return _mm256_add_epi16(sum, weighted<kSigned>(bytes, _mm256_set1_epi32(0x08040201 * kUnit)));
  }
  template <int kShift>
  static LUTRA_INLINE Ints ints(Partial sum) {
    return _mm256_madd_epi16(sum, _mm256_set1_epi16(1 << kShift));
  }

  static LUTRA_INLINE Ints broadcast_int(int32_t value) { return _mm256_set1_epi32(value); }
  static LUTRA_INLINE Ints add_ints(Ints a, Ints b) { return _mm256_add_epi32(a, b); }
  template <int kShift>
  static LUTRA_INLINE Ints shifted(Ints a) {
    return _mm256_slli_epi32(a, kShift);
  }
  /// The lower (0) or upper (1) half of the 16-bit lanes.
  static LUTRA_INLINE Ints run_of_shorts(Shorts a, int half) { return _mm256_cvtepi16_epi32(half_of(a, half)); }
  static LUTRA_INLINE Ints even_ints(Shorts a) { return _mm256_srai_epi32(_mm256_slli_epi32(a, 16), 16); }
  static LUTRA_INLINE Ints odd_ints(Shorts a) { return _mm256_srai_epi32(a, 16); }
  static LUTRA_INLINE Ints even_factors(Shorts a) { return _mm256_and_si256(a, _mm256_set1_epi32(0xFFFF)); }
  static LUTRA_INLINE Ints odd_factors(Shorts a) { return _mm256_andnot_si256(_mm256_set1_epi32(0xFFFF), a); }
  /// sum + even lanes times their factors.
  static LUTRA_INLINE Ints add_even(Ints sum, Shorts a, Ints factors) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a, factors));
  }
  static LUTRA_INLINE Ints add_odd(Ints sum, Shorts a, Ints factors) { return add_even(sum, a, factors); }
  static LUTRA_INLINE Ints load_unsigned(const uint8_t* bytes) { return _mm256_cvtepu8_epi32(load_eight_bytes(bytes)); }

  static LUTRA_INLINE Floats load_halves(const uint8_t* bytes) { return avx2::load_halves(bytes); }
  static LUTRA_INLINE Floats broadcast(float value) { return _mm256_set1_ps(value); }
  static LUTRA_INLINE Floats floats(Ints a) { return _mm256_cvtepi32_ps(a); }
  static LUTRA_INLINE Floats multiply(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
  static LUTRA_INLINE Floats fused(Floats a, Floats b, Floats sum) { return _mm256_fmadd_ps(a, b, sum); }
  static LUTRA_INLINE Floats negated(Floats a) { return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f)); }
  static LUTRA_INLINE void store(float* out, Floats a) { _mm256_storeu_ps(out, a); }

 private:
  template <int kShift>
  static LUTRA_INLINE __m256i shifted_bytes(__m256i bytes) {
    return avx2::shifted<kShift>(bytes, _mm256_set1_epi8(15));
  }
  static LUTRA_INLINE __m128i half_of(__m256i a, int half) {
    return half == 0 ? _mm256_castsi256_si128(a) : _mm256_extracti128_si256(a, 1);
  }
  template <bool kSigned>
  static LUTRA_INLINE __m256i weighted(__m256i bytes, __m256i weights) {
    return kSigned ? _mm256_maddubs_epi16(weights, bytes) : _mm256_maddubs_epi16(bytes, weights);
  }
};

}  // namespace
}  // namespace lutra::kernels::avx2
