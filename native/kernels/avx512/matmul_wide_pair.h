// Tiles of two neighbouring panels of a type whose sub-scales cover 32 elements. Per row and column the operations are
// those of avx2/matmul_wide.h on the same integers, so the bits are.
//
// On Zen 4 vpdpbusd, vpmaddubsw, vpmulld and the float products share two pipes, and a 512-bit operation holds one for
// two cycles. A unit of 16 rows × 32 k and a column take 16 vpdpbusd, a product and two fused ones: 19 · 2 / 2 cycles
// for 512 multiply-adds, 27 a cycle, 95 GMAC/s at 3.5 GHz. One panel at a time has the same bound, but twice the other
// work (shift, add, conversion and the sum of lane pairs), which does not hide. GMAC/s of one thread, warm, 12 columns,
// best of five runs, one panel → pairs: Q4_1 81 → 95, Q5_0 76 → 90, Q4_K 81 → 92, Q8_0 65 → 86. Of Q4_1's inner loop
// alone, medians: one panel 83, pairs 90, with both planes chained in one accumulator, shifted half way, 76 (the chains
// are too long to overlap), with part of the low plane by vpmaddubsw 83 to 87.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/avx512/matmul_pair_codes.h"
#include "kernels/avx512/matmul_pair_sweep.h"

namespace lutra::kernels::avx512 {
namespace {

template <const PanelShape& kPanel, Codes kCodes, int kZero>
struct WidePair : PairTile<WidePair<kPanel, kCodes, kZero>, kPanel> {
  static constexpr bool kHasMin = kPanel.min_offset != 0;
  static constexpr bool kHasOffset = kHasMin || kZero != 0;

  /// Weights as unsigned bytes; signed ones 128 higher.
  static LUTRA_INLINE void load(PanelPair unit, __m512i* codes) {
    const __m512i sign = _mm512_set1_epi8(-128);
    if constexpr (kCodes == Codes::kSignedByte) {
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j) codes[j] = _mm512_xor_si512((unit + 32 * j).vector(), sign);
    } else {
      load_unit<kPanel.low, kPanel.high>(unit, codes);
    }
    if constexpr (is_table(kCodes)) {
      constexpr const int8_t* kTable = code_values(kCodes);
      const __m512i values = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(kTable)));
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j) codes[j] = _mm512_shuffle_epi8(_mm512_xor_si512(values, sign), codes[j]);
    }
  }

  /// Σ w·(256·high + low) of each row.
  static LUTRA_INLINE __m512i sum(const __m512i* codes, const Columns& columns, int c) {
    if constexpr (kCodes == Codes::kUnsigned) return dot_pair_planes(codes, columns, c);
    return dot_pair_signed(codes, columns, c);
  }

  template <int kColumns>
  static LUTRA_INLINE void unit(PanelPair super_block, uint32_t u, __m512 d, __m512 min, const Columns& columns,
                                __m512* acc) {
    __m512i codes[8];
    load(super_block + (kPanel.unit_offset + u * kPanel.unit_bytes), codes);
    const __m512 w = scale(super_block, u, d);
    const __m512 m = offset(super_block, u, d, min);
#pragma GCC unroll 16
    for (int c = 0; c < kColumns; ++c) {
      const __m512 factor = _mm512_mul_ps(w, _mm512_set1_ps(columns.d[c * columns.blocks]));
      acc[c] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum(codes, columns, c)), factor, acc[c]);
      if constexpr (kHasOffset) acc[c] = _mm512_fmadd_ps(m, _mm512_set1_ps(columns.s[c * columns.blocks]), acc[c]);
    }
  }

 private:
  static LUTRA_INLINE __m512 scale(PanelPair super_block, uint32_t u, __m512 d) {
    if constexpr (kPanel.scale_offset == 0) return d;
    const __m128i codes = (super_block + (kPanel.scale_offset + 8 * u)).bytes();
    return _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes)));
  }

  static LUTRA_INLINE __m512 offset(PanelPair super_block, uint32_t u, __m512 d, __m512 min) {
    if constexpr (kPanel.mins_offset != 0) {
      const __m128i codes = (super_block + (kPanel.mins_offset + 8 * u)).bytes();
      const __m512 product = _mm512_mul_ps(min, _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(codes)));
      return _mm512_xor_ps(product, _mm512_set1_ps(-0.0f));
    }
    if constexpr (kHasMin) return min;
    return _mm512_mul_ps(_mm512_set1_ps(static_cast<float>(-kZero)), d);  // exact: kZero is a power of two
  }
};

}  // namespace
}  // namespace lutra::kernels::avx512
