// Reading two neighbouring panels at once: a 512-bit vector is 16 rows × 4 consecutive k, the first panel's in the
// lower half, so one broadcast of four activation bytes meets all of them and a lane is a row.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/avx2/matmul_codes.h"
#include "kernels/avx512/matmul_wide_units.h"

namespace lutra::kernels::avx512 {
namespace {

/// The same place of two neighbouring panels.
struct PanelPair {
  const uint8_t* first;
  const uint8_t* second;

  LUTRA_INLINE PanelPair operator+(uint64_t n_bytes) const { return {first + n_bytes, second + n_bytes}; }

  LUTRA_INLINE __m512i vector() const {
    return _mm512_inserti64x4(_mm512_castsi256_si512(avx2::load_vector(first)), avx2::load_vector(second), 1);
  }
  /// A half float per row.
  LUTRA_INLINE __m512 halves() const {
    const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(first));
    const __m128i high = _mm_loadu_si128(reinterpret_cast<const __m128i*>(second));
    return _mm512_cvtph_ps(_mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1));
  }
  /// A d per row.
  template <RowScale kScale>
  LUTRA_INLINE __m512 row_scales() const {
    if constexpr (kScale == RowScale::kHalf) return halves();
    const __m512i bits = _mm512_slli_epi32(_mm512_cvtepu8_epi32(bytes()), 23);
    const __m512i exponents = _mm512_max_epu32(bits, _mm512_set1_epi32(kExponentZero));
    return _mm512_mul_ps(_mm512_castsi512_ps(exponents), _mm512_set1_ps(0.5f));
  }
  /// A byte per row.
  LUTRA_INLINE __m128i bytes() const {
    return _mm_unpacklo_epi64(avx2::load_eight_bytes(first), avx2::load_eight_bytes(second));
  }
};

LUTRA_INLINE __m512i broadcast4(const int8_t* bytes) {
  int word;
  __builtin_memcpy(&word, bytes, sizeof word);
  return _mm512_set1_epi32(word);
}

/// Bits of each byte moved left by kShift (right when negative); bits of neighbouring bytes come along.
template <int kShift>
LUTRA_INLINE __m512i moved(__m512i bytes) {
  if constexpr (kShift > 0) return _mm512_slli_epi16(bytes, kShift);
  if constexpr (kShift < 0) return _mm512_srli_epi16(bytes, -kShift);
  return bytes;
}

/// Unsigned codes of vector j = 4·kHalf + kI of a unit; the layout is that of avx2::load_codes.
template <LowBits kLow, HighBits kHigh, int kHalf, int kI>
LUTRA_INLINE __m512i load_codes(PanelPair unit) {
  constexpr bool kNibbles = kLow == LowBits::kNibble;
  constexpr int kHighBytes = kHigh == HighBits::kNone ? 0 : kHigh == HighBits::kOne ? 32 : 64;
  constexpr int kLowWidth = kNibbles ? 4 : 2;
  constexpr int kMaskedOr = 0xEA;  // (a & b) | c
  const __m512i packed = (unit + (kHighBytes + 32 * (kNibbles ? kI : kHalf))).vector();
  const __m512i low =
      _mm512_and_si512(moved<kNibbles ? -4 * kHalf : -2 * kI>(packed), _mm512_set1_epi8((1 << kLowWidth) - 1));
  if constexpr (kHigh == HighBits::kNone) return low;
  constexpr bool kTwo = kHigh == HighBits::kTwo;
  const __m512i high = moved<kLowWidth - (kTwo ? 2 * kI : 4 * kHalf + kI)>((unit + (kTwo ? 32 * kHalf : 0)).vector());
  return _mm512_ternarylogic_epi32(high, _mm512_set1_epi8((kTwo ? 3 : 1) << kLowWidth), low, kMaskedOr);
}

/// The eight vectors of unsigned codes of a unit.
template <LowBits kLow, HighBits kHigh>
LUTRA_INLINE void load_unit(PanelPair unit, __m512i* codes) {
  codes[0] = load_codes<kLow, kHigh, 0, 0>(unit);
  codes[1] = load_codes<kLow, kHigh, 0, 1>(unit);
  codes[2] = load_codes<kLow, kHigh, 0, 2>(unit);
  codes[3] = load_codes<kLow, kHigh, 0, 3>(unit);
  codes[4] = load_codes<kLow, kHigh, 1, 0>(unit);
  codes[5] = load_codes<kLow, kHigh, 1, 1>(unit);
  codes[6] = load_codes<kLow, kHigh, 1, 2>(unit);
  codes[7] = load_codes<kLow, kHigh, 1, 3>(unit);
}

/// Products of four vectors of codes, half a unit, with the activations at `a`.
LUTRA_INLINE __m512i dot_half(const __m512i* codes, const int8_t* a) {
  __m512i sum = _mm512_setzero_si512();
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) sum = _mm512_dpbusd_epi32(sum, codes[j], broadcast4(a + 4 * j));
  return sum;
}

/// Σ code·(256·high + low) of a unit and a column. The planes' chains of eight stay apart: they overlap.
LUTRA_INLINE __m512i dot_pair_planes(const __m512i* codes, const Columns& columns, int c) {
  __m512i high = _mm512_setzero_si512(), low = _mm512_setzero_si512();
#pragma GCC unroll 8
  for (int j = 0; j < 8; ++j) {
    high = _mm512_dpbusd_epi32(high, codes[j], broadcast4(columns.high(c) + 4 * j));
    low = _mm512_dpbusd_epi32(low, codes[j], broadcast4(columns.low(c) + 4 * j));
  }
  return _mm512_add_epi32(_mm512_slli_epi32(high, 8), low);
}

/// Σ w·(256·high + low) for codes w + 128 of int8 weights.
LUTRA_INLINE __m512i dot_pair_signed(const __m512i* codes, const Columns& columns, int c) {
  const __m256i offset = offset_of_signed(columns.high(c), columns.low(c));
  return _mm512_sub_epi32(dot_pair_planes(codes, columns, c), _mm512_broadcastd_epi32(_mm256_castsi256_si128(offset)));
}

}  // namespace
}  // namespace lutra::kernels::avx512
