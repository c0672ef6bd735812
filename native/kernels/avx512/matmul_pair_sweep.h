// How a matmul of several columns walks pairs of panels: as avx2/matmul_sweep.h walks panels. The second of an odd last
// pair is the first again, and its rows are not stored.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/avx2/matmul_sweep.h"
#include "kernels/avx512/matmul_pair_codes.h"

namespace lutra::kernels::avx512 {
namespace {

/// Columns from which pairs are faster. With weights from memory and two threads, a step of 2 columns took 6.0 ms in
/// pairs and 5.2 one by one, of 4 columns 7.8 and 8.1, of 8 columns 14.0 and 15.4 (SmolLM2 135M Q4_1).
constexpr uint32_t kPairColumns = 4;

/// Tile::run<kColumns>(args, panel, column) computes kColumns outputs of the 16 rows of panels `panel`, `panel` + 1.
/// Tiles hold kPairColumns columns or more, as Tile::kMaxTile is twice that less one at least.
template <typename Tile>
void sweep_pairs(const MatmulArgs& args) noexcept {
  static_assert(Tile::kMaxTile >= 2 * kPairColumns - 1);
  const avx2::Split tiles = avx2::split_evenly(args.n, Tile::kMaxTile);
  uint32_t column = 0;
  for (uint32_t tile = 0; tile < tiles.parts; ++tile) {
    const uint32_t n_columns = tiles.size + (tile < tiles.larger ? 1 : 0);
    for (uint32_t panel = args.panel_begin; panel < args.panel_end; panel += 2) {
      avx2::run_tile<Tile, kPairColumns>(args, panel, column, n_columns);
    }
    column += n_columns;
  }
}

/// Few columns take panels one by one, as one stream from memory.
template <typename Single, typename Pair>
void sweep(const MatmulArgs& args) noexcept {
  static_assert(Single::kMaxTile + 1 == kPairColumns);
  return args.n < kPairColumns ? avx2::sweep<Single>(args) : sweep_pairs<Pair>(args);
}

/// Panels `panel` and the next of a run of panels, or twice the last.
LUTRA_INLINE PanelPair panel_pair(const MatmulArgs& args, const uint8_t* panels, uint64_t panel_bytes, uint32_t panel) {
  const uint8_t* first = panels + panel * panel_bytes;
  return {first, panel + 1 < args.panel_end ? first + panel_bytes : first};
}

/// Asks for weights: those of the next pair, two panels on. Two streams, each with jumps, are more than hardware
/// prefetching follows: asking 1 KB ahead in each, as for one panel, a step of 4 columns took 10.6 ms instead of 7.8.
LUTRA_INLINE void prefetch(PanelPair weights, uint32_t n_bytes) {
  for (uint32_t i = 0; i < n_bytes; i += 64) {
    _mm_prefetch(reinterpret_cast<const char*>(weights.first + i), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(weights.second + i), _MM_HINT_T0);
  }
}

/// Writes the rows of one column that the matrix and the panels of the call have.
LUTRA_INLINE void store_rows(const MatmulArgs& args, uint32_t panel, uint32_t column, __m512 rows) {
  const uint32_t row = panel * kPanelRows;
  const uint32_t end = args.panel_end * kPanelRows < args.rows ? args.panel_end * kPanelRows : args.rows;
  const auto mask = static_cast<__mmask16>(end - row >= 16 ? 0xffffu : (1u << (end - row)) - 1);
  _mm512_mask_storeu_ps(args.out + column * args.out_stride + row, mask, rows);
}

/// The walk along k of a tile: Tile::unit<kColumns>(super_block, u, d, min, columns, acc) adds one unit.
template <typename Tile, const PanelShape& kPanel>
struct PairTile {
  /// 8 and 10 gave prefill speeds that noise hides; 12 reads weights once for up to 12 sequences.
  static constexpr int kMaxTile = 12;
  static constexpr bool kHasMin = kPanel.min_offset != 0;

  template <int kColumns>
  static void run(const MatmulArgs& args, uint32_t panel, uint32_t column) {
    PanelPair weights = panel_pair(args, args.panels, args.panel_bytes, panel);
    Columns columns(args.activations, column, args.k);
    __m512 acc[kColumns];
#pragma GCC unroll 16
    for (int c = 0; c < kColumns; ++c) acc[c] = _mm512_setzero_ps();
    for (uint64_t k0 = 0; k0 < args.k; k0 += kPanel.elements, weights = weights + kPanel.bytes) {
      prefetch(weights + 2 * args.panel_bytes, kPanel.bytes);
      const __m512 d = weights.row_scales<kPanel.d>();
      const __m512 min = kHasMin ? (weights + kPanel.min_offset).halves() : d;
      for (uint32_t u = 0; u < kPanel.elements / 32u; ++u, columns.advance()) {
        Tile::template unit<kColumns>(weights, u, d, min, columns, acc);
      }
    }
#pragma GCC unroll 16
    for (int c = 0; c < kColumns; ++c) store_rows(args, panel, column + static_cast<uint32_t>(c), acc[c]);
  }
};

}  // namespace
}  // namespace lutra::kernels::avx512
