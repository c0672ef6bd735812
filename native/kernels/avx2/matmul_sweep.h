// How a matmul walks panels and columns, for every weight type: columns are taken in tiles of at most Tile::kMaxTile
// whose sizes differ by at most one (so 9 columns are 5 + 4, not 8 + 1), and each tile sweeps all panels: its
// activations stay in L1 while the panels of a chunk come from L2 (against panel by panel: + 5 % at n = 64 and 128). A
// single column, too, takes one panel at a time: consecutive panels are one sequential stream, which from cold memory
// ran about twice as fast as two panels interleaved and equally fast from cache, where out-of-order execution hides the
// FMA chain. Each output is computed by the same operations in the same order whatever tile it falls in.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/fetch.h"
#include "kernels/kernels.h"

namespace lutra::kernels::avx2 {
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

inline __m256i row_mask(uint32_t n_rows) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n_rows)), lanes);
}

/// Asks for weights ahead, since hardware prefetching stays too near. One or two columns wait for memory: they ask for
/// as much as the second cache can have under way (a step of SmolLM2 Q4_1, AVX-512, two threads: 0.88 to 0.94 and 0.90
/// of the time without; 4 KB ahead gains nothing, 16 KB less). More columns compute longer on a panel than memory takes
/// to send the next, and want it near (Q4_1 from memory: n = 8 7.0 → 8.4 GB/s, n = 4 11.6 → 12.8).
template <int kColumns>
inline void prefetch_ahead(const uint8_t* weights, uint32_t n_bytes) {
  constexpr uint32_t kFar = 8192, kNear = 1024;
  for (uint32_t i = 0; i < n_bytes; i += 64) {
    if constexpr (kColumns <= 2) {
      fetch_line(weights + kFar + i);
    } else {
      _mm_prefetch(reinterpret_cast<const char*>(weights + kNear + i), _MM_HINT_T0);
    }
  }
}

/// Writes 8 rows of one column; a ragged last panel writes only the rows the matrix has.
inline void store_rows(const MatmulArgs& args, uint32_t panel, uint32_t column, __m256 rows) {
  const uint32_t row = panel * kPanelRows;
  float* out = args.out + column * args.out_stride + row;
  if (args.rows - row >= kPanelRows) {
    _mm256_storeu_ps(out, rows);
  } else {
    _mm256_maskstore_ps(out, row_mask(args.rows - row), rows);
  }
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
}  // namespace lutra::kernels::avx2
