// Tiles of types whose sub-scales cover 16 elements (Q2_K, Q3_K, Q6_K): the sub-scales go in as vpmaddwd factors, so a
// unit still ends in one integer per row and column:
//   isum = Σ_h sc_h · (Σ code·a − zero · Σa);  acc = fma(float(isum), d·d_a, acc)
//   Q2_K also: acc = fma(float(Σ_h mn_h · Σa), −dmin·d_a, acc)
// |isum| < 2^27: 16·32004·128 = 65.5e6 for the codes and 2·32·128·2032 = 16.6e6 for the zero point.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/avx2/matmul_sweep.h"
#include "kernels/avx2/matmul_units.h"

namespace lutra::kernels::avx2 {
namespace {

template <const PanelShape& kPanel, int kZeroLog2>
struct NarrowTile {
  static constexpr bool kHasMin = kPanel.min_offset != 0;
  static constexpr uint32_t kUnits = kPanel.elements / 32;

  /// Sub-scales of a unit: each half's scale in both int16 of a lane, and (first, second) pairs to meet (Σa, Σa).
  struct Scales {
    __m256i first, second;
    __m256i pair;  ///< zero·sc of the halves, or for Q2_K the mins
  };

  static LUTRA_INLINE __m256i interleave16(__m256i low, __m256i high) {
    return _mm256_blend_epi16(low, _mm256_slli_epi32(high, 16), 0xAA);
  }

  static LUTRA_INLINE Scales load_scales(const uint8_t* super_block, uint32_t u) {
    const uint8_t* bytes = super_block + kPanel.scale_offset + 16 * u;
    if constexpr (kHasMin) {
      const __m256i first = _mm256_cvtepu8_epi32(load_eight_bytes(bytes));
      const __m256i second = _mm256_cvtepu8_epi32(load_eight_bytes(bytes + 8));
      const __m256i low = _mm256_set1_epi32(15);
      const __m256i scale_first = _mm256_and_si256(first, low), scale_second = _mm256_and_si256(second, low);
      return {interleave16(scale_first, scale_first), interleave16(scale_second, scale_second),
              interleave16(_mm256_srli_epi32(first, 4), _mm256_srli_epi32(second, 4))};
    } else {
      const __m256i first = _mm256_cvtepi8_epi32(load_eight_bytes(bytes));
      const __m256i second = _mm256_cvtepi8_epi32(load_eight_bytes(bytes + 8));
      // 32 · 128 = 4096 fits int16.
      return {interleave16(first, first), interleave16(second, second),
              _mm256_slli_epi16(interleave16(first, second), kZeroLog2)};
    }
  }

  template <int kColumns>
  static LUTRA_INLINE void unit(const uint8_t* super_block, uint32_t u, __m256 d, __m256 minus_min,
                                const Columns& columns, __m256* acc) {
    const uint8_t* bytes = super_block + kPanel.unit_offset + u * kPanel.unit_bytes;
    const Scales scales = load_scales(super_block, u);
    __m256i sums[kColumns];
    dot_scaled<kPanel.low, kPanel.high, kColumns>(bytes, columns, scales.first, scales.second, sums);
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) {
      const __m256 d_a = _mm256_broadcast_ss(columns.d + c * (columns.k / 32));
      const __m256i shared = _mm256_madd_epi16(scales.pair, broadcast4(columns.sums16 + c * (columns.k / 16)));
      const __m256i isum = kHasMin ? sums[c] : _mm256_sub_epi32(sums[c], shared);
      acc[c] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(isum), _mm256_mul_ps(d, d_a), acc[c]);
      if constexpr (kHasMin) {
        acc[c] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(shared), _mm256_mul_ps(minus_min, d_a), acc[c]);
      }
    }
  }

  template <int kColumns>
  static void run(const MatmulArgs& args, uint32_t panel, uint32_t column) {
    const uint8_t* weights = args.panels + panel * args.panel_bytes;
    const uint64_t k = args.k;
    Columns columns = {args.q8.q + column * k, args.q8.d + column * (k / 32), args.q8.s + column * (k / 32),
                       args.q8.sums16 + column * (k / 16), k};
    __m256 acc[kColumns];
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) acc[c] = _mm256_setzero_ps();
    for (uint64_t k0 = 0; k0 < k; k0 += kPanel.elements, weights += kPanel.bytes) {
      const __m256 d = load_halves(weights);
      __m256 minus_min = d;
      if constexpr (kHasMin) minus_min = _mm256_xor_ps(load_halves(weights + kPanel.min_offset), _mm256_set1_ps(-0.0f));
      for (uint32_t u = 0; u < kUnits; ++u, columns.advance()) unit<kColumns>(weights, u, d, minus_min, columns, acc);
    }
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) store_rows(args, panel, column + static_cast<uint32_t>(c), acc[c]);
  }
};

}  // namespace
}  // namespace lutra::kernels::avx2
