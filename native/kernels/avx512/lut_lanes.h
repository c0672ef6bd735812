// 512-bit vectors of the lookup products (lut/half_sums.h). 16 int32 rows; one vector of pairs holds 32 rows.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/avx512/matmul_pair_codes.h"

namespace lutra::kernels::avx512 {
namespace {

struct LutLanes {
  using Bytes = __m512i;
  using Rows = __m256i;
  using Shorts = __m512i;
  using Partial = __m512i;
  using Ints = __m512i;
  using Floats = __m512;
  static constexpr int kBytes = 64;
  static constexpr int kInts = 16;
  static constexpr int kPairVectors = 1;

  /// Vectors of nibble types taken at once: a table is loaded once for all, sums must fit 32 registers.
  static constexpr int nibble_vectors(int n_columns, int n_digits) { return n_columns * n_digits <= 6 ? 2 : 1; }

  static LUTRA_INLINE Bytes load(const uint8_t* bytes) { return _mm512_loadu_si512(bytes); }
  template <int kHalf>
  static LUTRA_INLINE Bytes nibbles(Bytes packed) {
    return _mm512_and_si512(kHalf == 0 ? packed : _mm512_srli_epi16(packed, 4), _mm512_set1_epi8(15));
  }
  static LUTRA_INLINE Bytes table(const uint8_t* entries) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(entries)));
  }
  static LUTRA_INLINE Bytes lookup(Bytes table, Bytes index) { return _mm512_shuffle_epi8(table, index); }
  static LUTRA_INLINE Bytes add_bytes(Bytes a, Bytes b) { return _mm512_add_epi8(a, b); }

  static LUTRA_INLINE Rows load_rows(const uint8_t* bytes) { return avx2::load_vector(bytes); }
  template <int kHalf>
  static LUTRA_INLINE Rows row_nibbles(Rows packed) {
    return _mm256_and_si256(kHalf == 0 ? packed : _mm256_srli_epi16(packed, 4), _mm256_set1_epi8(15));
  }
  static LUTRA_INLINE Rows lookup_rows(const uint8_t* entries, Rows index) {
    const __m256i table = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(entries)));
    return _mm256_shuffle_epi8(table, index);
  }
  static LUTRA_INLINE Rows add_rows(Rows a, Rows b) { return _mm256_add_epi8(a, b); }
  template <bool kSigned>
  static LUTRA_INLINE Shorts widened(Rows rows, int) {
    return kSigned ? _mm512_cvtepi8_epi16(rows) : _mm512_cvtepu8_epi16(rows);
  }

  /// Planes 0 and 1 of each 16-bit lane with weights kUnit and 2 kUnit.
  template <bool kSigned, int kUnit>
  static LUTRA_INLINE Shorts joined(Bytes bytes) {
    const __m512i weights = _mm512_set1_epi16(0x0201 * kUnit);
    return kSigned ? _mm512_maddubs_epi16(weights, bytes) : _mm512_maddubs_epi16(bytes, weights);
  }
  static LUTRA_INLINE Shorts broadcast_short(int value) { return _mm512_set1_epi16(static_cast<int16_t>(value)); }
  static LUTRA_INLINE Shorts add_shorts(Shorts a, Shorts b) { return _mm512_add_epi16(a, b); }
  static LUTRA_INLINE Shorts and_shorts(Shorts a, Shorts b) { return _mm512_and_si512(a, b); }
  /// Left, or right (logical) when negative.
  template <int kShift>
  static LUTRA_INLINE Shorts shifted_shorts(Shorts a) {
    if constexpr (kShift < 0) return _mm512_srli_epi16(a, -kShift);
    return _mm512_slli_epi16(a, static_cast<unsigned>(kShift));
  }

  static LUTRA_INLINE Partial no_partial() { return _mm512_setzero_si512(); }
  /// Planes 0 to 3 of each 32-bit lane with weights kUnit, 2 kUnit, 4 kUnit and 8 kUnit.
  template <bool kSigned, int kUnit>
  static LUTRA_INLINE Partial add_planes(Partial sum, Bytes bytes) {
    const __m512i weights = _mm512_set1_epi32(0x08040201 * kUnit);
    return kSigned ? _mm512_dpbusd_epi32(sum, weights, bytes) : _mm512_dpbusd_epi32(sum, bytes, weights);
  }
  template <int kShift>
  static LUTRA_INLINE Ints ints(Partial sum) {
    return shifted<kShift>(sum);
  }

  static LUTRA_INLINE Ints broadcast_int(int32_t value) { return _mm512_set1_epi32(value); }
  static LUTRA_INLINE Ints add_ints(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
  template <int kShift>
  static LUTRA_INLINE Ints shifted(Ints a) {
    if constexpr (kShift == 0) return a;
    return _mm512_slli_epi32(a, static_cast<unsigned>(kShift));
  }
  /// The lower (0) or upper (1) half of the 16-bit lanes.
  static LUTRA_INLINE Ints run_of_shorts(Shorts a, int half) {
    return _mm512_cvtepi16_epi32(half == 0 ? _mm512_castsi512_si256(a) : _mm512_extracti64x4_epi64(a, 1));
  }
  static LUTRA_INLINE Ints even_ints(Shorts a) { return _mm512_srai_epi32(_mm512_slli_epi32(a, 16), 16); }
  static LUTRA_INLINE Ints odd_ints(Shorts a) { return _mm512_srai_epi32(a, 16); }
  static LUTRA_INLINE Ints even_factors(Shorts a) { return _mm512_and_si512(a, _mm512_set1_epi32(0xFFFF)); }
  static LUTRA_INLINE Ints odd_factors(Shorts a) { return _mm512_andnot_si512(_mm512_set1_epi32(0xFFFF), a); }
  /// sum + even lanes times their factors.
  static LUTRA_INLINE Ints add_even(Ints sum, Shorts a, Ints factors) { return _mm512_dpwssd_epi32(sum, a, factors); }
  static LUTRA_INLINE Ints add_odd(Ints sum, Shorts a, Ints factors) { return _mm512_dpwssd_epi32(sum, a, factors); }
  static LUTRA_INLINE Ints load_unsigned(const uint8_t* bytes) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
  }

  static LUTRA_INLINE Floats load_halves(const uint8_t* bytes) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes)));
  }
  static LUTRA_INLINE Floats broadcast(float value) { return _mm512_set1_ps(value); }
  static LUTRA_INLINE Floats floats(Ints a) { return _mm512_cvtepi32_ps(a); }
  static LUTRA_INLINE Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  static LUTRA_INLINE Floats fused(Floats a, Floats b, Floats sum) { return _mm512_fmadd_ps(a, b, sum); }
  static LUTRA_INLINE Floats negated(Floats a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }
  static LUTRA_INLINE void store(float* out, Floats a) { _mm512_storeu_ps(out, a); }
};

}  // namespace
}  // namespace lutra::kernels::avx512
