// Tiles of split Q8_0 panels: codes are joined in registers, the rest is WideTile's for Q8_0, with its bits:
//   acc = fma(float(Σ w·(256·high + low)), d·d_a, acc)
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/avx2/matmul_codes.h"
#include "kernels/avx2/matmul_sweep.h"

namespace lutra::kernels::avx2 {
namespace {

template <typename Dots>
struct SplitTile {
  static constexpr int kMaxTile = Dots::kMaxTile;

  template <int kColumns>
  static void run(const MatmulArgs& args, uint32_t panel, uint32_t column) {
    const uint8_t* high = args.panels + panel * args.panel_bytes;
    const uint8_t* low = args.low_panels + panel * args.low_panel_bytes;
    Columns columns(args.activations, column, args.k);
    __m256 acc[kColumns];
#pragma GCC unroll 16
    for (int c = 0; c < kColumns; ++c) acc[c] = _mm256_setzero_ps();
    for (uint32_t k0 = 0; k0 < args.k; k0 += kBlock, high += kPanelQ4_0.bytes, low += kSplitLowUnit) {
      prefetch_ahead<kColumns>(high, kPanelQ4_0.bytes);
      prefetch_ahead<kColumns>(low, kSplitLowUnit);
      const __m256 d = load_halves(high);
      const typename Dots::template Split<kColumns> dots(high + kPanelQ4_0.unit_offset, low, columns);
#pragma GCC unroll 16
      for (int c = 0; c < kColumns; ++c) {
        const __m256 factor = _mm256_mul_ps(d, _mm256_broadcast_ss(columns.d + c * columns.blocks));
        acc[c] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots.sum(columns, c)), factor, acc[c]);
      }
      columns.advance();
    }
#pragma GCC unroll 16
    for (int c = 0; c < kColumns; ++c) store_rows(args, panel, column + static_cast<uint32_t>(c), acc[c]);
  }
};

}  // namespace
}  // namespace lutra::kernels::avx2
