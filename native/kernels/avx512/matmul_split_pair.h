// Tiles of two neighbouring split Q8_0 panels: codes are joined in registers, the rest is WidePair's for Q8_0.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/avx512/matmul_pair_codes.h"
#include "kernels/avx512/matmul_pair_sweep.h"
#include "kernels/avx512/matmul_split_units.h"

namespace lutra::kernels::avx512 {
namespace {

struct SplitPair {
  static constexpr int kMaxTile = 12;

  /// w + 128 = 16·high + low of a unit.
  static LUTRA_INLINE void load(PanelPair high, PanelPair low, __m512i* codes) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const __m512i upper = (high + 32 * i).vector(), lower = (low + 32 * i).vector();
      codes[i] = join_nibbles(_mm512_slli_epi16(upper, 4), lower);
      codes[4 + i] = join_nibbles(upper, _mm512_srli_epi16(lower, 4));
    }
  }

  template <int kColumns>
  static void run(const MatmulArgs& args, uint32_t panel, uint32_t column) {
    PanelPair high = panel_pair(args, args.panels, args.panel_bytes, panel);
    PanelPair low = panel_pair(args, args.low_panels, args.low_panel_bytes, panel);
    Columns columns(args.activations, column, args.k);
    __m512 acc[kColumns];
#pragma GCC unroll 16
    for (int c = 0; c < kColumns; ++c) acc[c] = _mm512_setzero_ps();
    for (uint32_t k0 = 0; k0 < args.k; k0 += kBlock, columns.advance()) {
      prefetch(high + 2 * args.panel_bytes, kPanelQ4_0.bytes);
      prefetch(low + 2 * args.low_panel_bytes, kSplitLowUnit);
      const __m512 d = high.halves();
      __m512i codes[8];
      load(high + kPanelQ4_0.unit_offset, low, codes);
#pragma GCC unroll 16
      for (int c = 0; c < kColumns; ++c) {
        const __m512 factor = _mm512_mul_ps(d, _mm512_set1_ps(columns.d[c * columns.blocks]));
        acc[c] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot_pair_signed(codes, columns, c)), factor, acc[c]);
      }
      high = high + kPanelQ4_0.bytes;
      low = low + kSplitLowUnit;
    }
#pragma GCC unroll 16
    for (int c = 0; c < kColumns; ++c) store_rows(args, panel, column + static_cast<uint32_t>(c), acc[c]);
  }
};

}  // namespace
}  // namespace lutra::kernels::avx512
