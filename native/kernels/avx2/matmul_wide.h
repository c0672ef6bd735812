// Tiles of types whose sub-scales cover 32 elements: a float scale w and offset m per row and unit, and
//   acc = fma(float(Σ code·(256·high + low)), w·d_a, acc); acc = fma(m, s_a, acc)
// unit by unit in ascending k, one accumulator lane per output.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/avx2/matmul_codes.h"
#include "kernels/avx2/matmul_sweep.h"

namespace lutra::kernels::avx2 {
namespace {

template <typename Dots, const PanelShape& kPanel, Codes kCodes, int kZero>
struct WideTile {
  static constexpr int kMaxTile = Dots::kMaxTile;
  static constexpr bool kHasMin = kPanel.min_offset != 0;
  static constexpr bool kHasOffset = kHasMin || kZero != 0;
  static constexpr uint32_t kUnits = kPanel.elements / 32;

  /// One panel's unit u of the super-block at `super_block`, whose d and min are given, against kColumns columns.
  template <int kColumns>
  static LUTRA_INLINE void unit(const uint8_t* super_block, uint32_t u, __m256 d, __m256 min, const Columns& columns,
                                __m256* acc) {
    const uint8_t* bytes = super_block + kPanel.unit_offset + u * kPanel.unit_bytes;
    const typename Dots::template Wide<kPanel.low, kPanel.high, kCodes, kColumns> dots(bytes, columns);
    const __m256 w = scale(super_block, u, d);
    const __m256 m = offset(super_block, u, d, min);
#pragma GCC unroll 16
    for (int c = 0; c < kColumns; ++c) {
      const __m256 factor = _mm256_mul_ps(w, _mm256_broadcast_ss(columns.d + c * columns.blocks));
      acc[c] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots.sum(columns, c)), factor, acc[c]);
      if constexpr (kHasOffset) {
        acc[c] = _mm256_fmadd_ps(m, _mm256_broadcast_ss(columns.s + c * columns.blocks), acc[c]);
      }
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
      const __m256 d = load_row_scales<kPanel.d>(weights);
      const __m256 min = kHasMin ? load_halves(weights + kPanel.min_offset) : d;
      for (uint32_t u = 0; u < kUnits; ++u, columns.advance()) unit<kColumns>(weights, u, d, min, columns, acc);
    }
#pragma GCC unroll 16
    for (int c = 0; c < kColumns; ++c) store_rows(args, panel, column + static_cast<uint32_t>(c), acc[c]);
  }

 private:
  static LUTRA_INLINE __m256 scale(const uint8_t* super_block, uint32_t u, __m256 d) {
    if constexpr (kPanel.scale_offset == 0) return d;
    const __m256i codes = _mm256_cvtepi8_epi32(load_eight_bytes(super_block + kPanel.scale_offset + 8 * u));
    return _mm256_mul_ps(d, _mm256_cvtepi32_ps(codes));
  }

  static LUTRA_INLINE __m256 offset(const uint8_t* super_block, uint32_t u, __m256 d, __m256 min) {
    if constexpr (kPanel.mins_offset != 0) {
      const __m256i codes = _mm256_cvtepu8_epi32(load_eight_bytes(super_block + kPanel.mins_offset + 8 * u));
      const __m256 product = _mm256_mul_ps(min, _mm256_cvtepi32_ps(codes));
      return _mm256_xor_ps(product, _mm256_set1_ps(-0.0f));
    }
    if constexpr (kHasMin) return min;
    return _mm256_mul_ps(_mm256_set1_ps(static_cast<float>(-kZero)), d);  // exact: kZero is a power of two
  }
};

}  // namespace
}  // namespace lutra::kernels::avx2
