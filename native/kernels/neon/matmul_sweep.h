// How a matmul walks columns, panels and units, for every weight type: columns are cut into tiles of at most
// Tile::kMaxTile whose sizes differ by at most one (so 9 columns are 5 + 4, not 8 + 1), and each tile, whose
// activations stay in L1 or L2, is swept over the panels. Each output is computed by the same operations in the same
// order whatever tile it falls in.
#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "kernels/kernels.h"
#include "kernels/neon/matmul_codes.h"

namespace lutra::kernels::neon {
namespace {

struct Split {
  uint32_t parts;
  uint32_t size;  ///< of each part, or one more for the first `larger`
  uint32_t larger;
};

/// Cuts n into as few parts of at most `limit` as possible, all about as large.
inline Split split_evenly(uint32_t n, uint32_t limit) {
  const uint32_t parts = (n + limit - 1) / limit;
  return {parts, n / parts, n % parts};
}

/// Writes 8 rows of one column; a ragged last panel writes only the rows the matrix has.
inline void store_rows(const MatmulArgs& args, uint32_t panel, uint32_t column, float32x4_t first, float32x4_t second) {
  const uint32_t row = panel * kPanelRows;
  float* out = args.out + column * args.out_stride + row;
  if (args.rows - row >= kPanelRows) {
    vst1q_f32(out, first);
    vst1q_f32(out + 4, second);
    return;
  }
  float rows[kPanelRows];
  vst1q_f32(rows, first);
  vst1q_f32(rows + 4, second);
  for (uint32_t r = 0; r < args.rows - row; ++r) out[r] = rows[r];
}

/// All units of one panel against kColumns columns: Tile::half_unit<kColumns>(super_block, u, half, columns, acc).
template <typename Tile, const PanelShape& kPanel, int kColumns>
LUTRA_INLINE void walk_units(const MatmulArgs& args, uint32_t panel, uint32_t column) {
  const uint8_t* weights = args.panels + panel * args.panel_bytes;
  const uint64_t k = args.k;
  Columns columns(args.activations, column, k);
  float32x4_t first[kColumns], second[kColumns];
#pragma GCC unroll 8
  for (int c = 0; c < kColumns; ++c) first[c] = second[c] = vdupq_n_f32(0.0f);
  for (uint64_t k0 = 0; k0 < k; k0 += kPanel.elements, weights += kPanel.bytes) {
    for (uint32_t u = 0; u < kPanel.elements / 32; ++u, columns.advance()) {
      Tile::template half_unit<kColumns>(weights, u, 0, columns, first);
      Tile::template half_unit<kColumns>(weights, u, 1, columns, second);
    }
  }
#pragma GCC unroll 8
  for (int c = 0; c < kColumns; ++c) store_rows(args, panel, column + static_cast<uint32_t>(c), first[c], second[c]);
}

/// Tile::run<kColumns>(args, panel, column) computes kColumns outputs of one panel's 8 rows.
template <typename Tile, int kColumns = 1>
inline void run_tile(const MatmulArgs& args, uint32_t panel, uint32_t column, uint32_t n_columns) {
  if constexpr (kColumns < Tile::kMaxTile) {
    if (n_columns != kColumns) return run_tile<Tile, kColumns + 1>(args, panel, column, n_columns);
  }
  Tile::template run<kColumns>(args, panel, column);
}

template <typename Tile>
void sweep(const MatmulArgs& args) noexcept {
  const Split tiles = split_evenly(args.n, Tile::kMaxTile);
  uint32_t column = 0;
  for (uint32_t tile = 0; tile < tiles.parts; ++tile) {
    const uint32_t n_columns = tiles.size + (tile < tiles.larger ? 1 : 0);
    for (uint32_t panel = args.panel_begin; panel < args.panel_end; ++panel) {
      run_tile<Tile>(args, panel, column, n_columns);
    }
    column += n_columns;
  }
}

}  // namespace
}  // namespace lutra::kernels::neon
