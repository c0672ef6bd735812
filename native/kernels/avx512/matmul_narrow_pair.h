// Tiles of two neighbouring panels of a type whose sub-scales cover 16 elements. Per row and column the operations are
// those of avx2/matmul_narrow.h on the same integers, so the bits are. Int32: as in matmul_narrow_units.h.
//
// Of the operations on Zen 4's two multiplying pipes (matmul_wide_pair.h) a unit of 16 rows × 32 k and a column take 16
// vpdpbusd, four vpmulld and five float products: 20 multiply-adds a cycle, 72 GMAC/s at 3.5 GHz, as with one panel in
// 256-bit vectors, but in half the instructions (Q6_K, 12 columns: 53 → 69). vpmaddubsw and vpdpwssd instead would take
// 24 for the 20.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/avx512/matmul_pair_codes.h"
#include "kernels/avx512/matmul_pair_sweep.h"

namespace lutra::kernels::avx512 {
namespace {

template <const PanelShape& kPanel, int kZero>
struct NarrowPair : PairTile<NarrowPair<kPanel, kZero>, kPanel> {
  static constexpr bool kHasMin = kPanel.min_offset != 0;

  /// Q2_K: a code times its scale, at most 3·15 = 45, still fits its byte.
  static constexpr bool kScaledCodes = kPanel.low == LowBits::kTwo && kPanel.high == HighBits::kNone;

  /// Sub-scales of a unit's halves, int32, and their float offsets.
  struct Scales {
    __m512i first, second;
    __m512 offset_first, offset_second;
  };

  static LUTRA_INLINE __m512 offset(__m512i scale_or_min, __m512 d, __m512 min) {
    const __m512 value = _mm512_cvtepi32_ps(scale_or_min);
    if constexpr (kHasMin) return _mm512_xor_ps(_mm512_mul_ps(min, value), _mm512_set1_ps(-0.0f));
    return _mm512_mul_ps(_mm512_set1_ps(static_cast<float>(-kZero)), _mm512_mul_ps(d, value));
  }

  static LUTRA_INLINE Scales load_scales(PanelPair super_block, uint32_t u, __m512 d, __m512 min) {
    const PanelPair at = super_block + (kPanel.scale_offset + 16 * u);
    if constexpr (kHasMin) {
      const __m512i first = _mm512_cvtepu8_epi32(at.bytes()), second = _mm512_cvtepu8_epi32((at + 8).bytes());
      const __m512i low = _mm512_set1_epi32(15);
      return {_mm512_and_si512(first, low), _mm512_and_si512(second, low), offset(_mm512_srli_epi32(first, 4), d, min),
              offset(_mm512_srli_epi32(second, 4), d, min)};
    } else {
      const __m512i first = _mm512_cvtepi8_epi32(at.bytes()), second = _mm512_cvtepi8_epi32((at + 8).bytes());
      return {first, second, offset(first, d, min), offset(second, d, min)};
    }
  }

  /// codes[j] times the sub-scale of its half.
  static LUTRA_INLINE void scale_codes(__m512i* codes, const Scales& scales) {
    const __m512i first = _mm512_or_si512(scales.first, _mm512_slli_epi32(scales.first, 16));
    const __m512i second = _mm512_or_si512(scales.second, _mm512_slli_epi32(scales.second, 16));
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) codes[j] = _mm512_mullo_epi16(codes[j], j < 4 ? first : second);
  }

  /// scale_first · Σ_{k<16} code·a + scale_second · Σ_{k≥16} code·a of each row.
  static LUTRA_INLINE __m512i plane(const __m512i* codes, const int8_t* a, const Scales& scales) {
    const __m512i first = dot_half(codes, a), second = dot_half(codes + 4, a + 16);
    if constexpr (kScaledCodes) return _mm512_add_epi32(first, second);
    return _mm512_add_epi32(_mm512_mullo_epi32(first, scales.first), _mm512_mullo_epi32(second, scales.second));
  }

  template <int kColumns>
  static LUTRA_INLINE void unit(PanelPair super_block, uint32_t u, __m512 d, __m512 min, const Columns& columns,
                                __m512* acc) {
    __m512i codes[8];
    load_unit<kPanel.low, kPanel.high>(super_block + (kPanel.unit_offset + u * kPanel.unit_bytes), codes);
    const Scales scales = load_scales(super_block, u, d, min);
    if constexpr (kScaledCodes) scale_codes(codes, scales);
#pragma GCC unroll 16
    for (int c = 0; c < kColumns; ++c) {
      const float* s16 = columns.s16 + c * columns.blocks * 2;
      const __m512i high = plane(codes, columns.high(c), scales);
      const __m512i low = plane(codes, columns.low(c), scales);
      const __m512 sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(high), _mm512_set1_ps(256.0f), _mm512_cvtepi32_ps(low));
      acc[c] = _mm512_fmadd_ps(sum, _mm512_mul_ps(d, _mm512_set1_ps(columns.d[c * columns.blocks])), acc[c]);
      acc[c] = _mm512_fmadd_ps(scales.offset_first, _mm512_set1_ps(s16[0]), acc[c]);
      acc[c] = _mm512_fmadd_ps(scales.offset_second, _mm512_set1_ps(s16[1]), acc[c]);
    }
  }
};

}  // namespace
}  // namespace lutra::kernels::avx512
