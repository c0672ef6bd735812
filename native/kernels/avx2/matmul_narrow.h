// Tiles of types whose sub-scales cover 16 elements (Q2_K, Q3_K, Q6_K): the sub-scales go in as vpmaddwd factors, so a
// unit still ends in one integer per row, column and plane:
//   H = Σ_h sc_h · Σ code·high, L likewise of low;  acc = fma(fma(float(H), 256, float(L)), d·d_a, acc)
// then the zero point (m_h = −zero · (d·sc_h)) or Q2_K's min (m_h = −(dmin·mn_h)), in float:
//   acc = fma(m_0, s16_a[0], acc); acc = fma(m_1, s16_a[1], acc)
// |H|, |L| ≤ 32·63·127·128 = 32.8e6 < 2^25, so 256·H would leave int32: hence the float join.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/avx2/matmul_codes.h"
#include "kernels/avx2/matmul_sweep.h"

namespace lutra::kernels::avx2 {
namespace {

template <typename Dots, const PanelShape& kPanel, int kZero>
struct NarrowTile {
  static constexpr int kMaxTile = Dots::kMaxTile;
  static constexpr bool kHasMin = kPanel.min_offset != 0;
  static constexpr uint32_t kUnits = kPanel.elements / 32;

  /// Sub-scales of a unit's halves, int32, and their float offsets.
  struct Scales {
    __m256i first, second;
    __m256 offset_first, offset_second;
  };

  static LUTRA_INLINE __m256 offset(__m256i scale_or_min, __m256 d, __m256 min) {
    const __m256 value = _mm256_cvtepi32_ps(scale_or_min);
    if constexpr (kHasMin) return _mm256_xor_ps(_mm256_mul_ps(min, value), _mm256_set1_ps(-0.0f));
    return _mm256_mul_ps(_mm256_set1_ps(static_cast<float>(-kZero)), _mm256_mul_ps(d, value));
  }

  static LUTRA_INLINE Scales load_scales(const uint8_t* super_block, uint32_t u, __m256 d, __m256 min) {
    const uint8_t* bytes = super_block + kPanel.scale_offset + 16 * u;
    if constexpr (kHasMin) {
      const __m256i first = _mm256_cvtepu8_epi32(load_eight_bytes(bytes));
      const __m256i second = _mm256_cvtepu8_epi32(load_eight_bytes(bytes + 8));
      const __m256i low = _mm256_set1_epi32(15);
      return {_mm256_and_si256(first, low), _mm256_and_si256(second, low), offset(_mm256_srli_epi32(first, 4), d, min),
              offset(_mm256_srli_epi32(second, 4), d, min)};
    } else {
      const __m256i first = _mm256_cvtepi8_epi32(load_eight_bytes(bytes));
      const __m256i second = _mm256_cvtepi8_epi32(load_eight_bytes(bytes + 8));
      return {first, second, offset(first, d, min), offset(second, d, min)};
    }
  }

  template <int kColumns>
  static LUTRA_INLINE void unit(const uint8_t* super_block, uint32_t u, __m256 d, __m256 min, const Columns& columns,
                                __m256* acc) {
    const uint8_t* bytes = super_block + kPanel.unit_offset + u * kPanel.unit_bytes;
    const Scales scales = load_scales(super_block, u, d, min);
    const typename Dots::template Narrow<kPanel.low, kPanel.high, kColumns> dots(bytes, columns, scales.first,
                                                                                 scales.second);
#pragma GCC unroll 16
    for (int c = 0; c < kColumns; ++c) {
      const __m256 d_a = _mm256_broadcast_ss(columns.d + c * columns.blocks);
      const float* s16 = columns.s16 + c * columns.blocks * 2;
      const PlaneSums sums = dots.planes(columns, c);
      const __m256 sum =
          _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums.high), _mm256_set1_ps(256.0f), _mm256_cvtepi32_ps(sums.low));
      acc[c] = _mm256_fmadd_ps(sum, _mm256_mul_ps(d, d_a), acc[c]);
      acc[c] = _mm256_fmadd_ps(scales.offset_first, _mm256_broadcast_ss(s16), acc[c]);
      acc[c] = _mm256_fmadd_ps(scales.offset_second, _mm256_broadcast_ss(s16 + 1), acc[c]);
    }
  }

  template <int kColumns>
  static void run(const MatmulArgs& args, uint32_t panel, uint32_t column) {
    const uint8_t* weights = args.panels + panel * args.panel_bytes;
    const uint64_t k = args.k;
    Columns columns(args.activations, column, k);
    __m256 acc[kColumns];
#pragma GCC unroll 16
    for (int c = 0; c < kColumns; ++c) acc[c] = _mm256_setzero_ps();
    for (uint64_t k0 = 0; k0 < k; k0 += kPanel.elements, weights += kPanel.bytes) {
      prefetch_ahead<kColumns>(weights, kPanel.bytes);
      const __m256 d = load_halves(weights);
      const __m256 min = kHasMin ? load_halves(weights + kPanel.min_offset) : d;
      for (uint32_t u = 0; u < kUnits; ++u, columns.advance()) unit<kColumns>(weights, u, d, min, columns, acc);
    }
#pragma GCC unroll 16
    for (int c = 0; c < kColumns; ++c) store_rows(args, panel, column + static_cast<uint32_t>(c), acc[c]);
  }
};

}  // namespace
}  // namespace lutra::kernels::avx2
