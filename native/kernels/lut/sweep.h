// How a product walks columns and tiles: columns in as few sweeps of at most kLutColumns as possible, all about as
// large; each sweep goes over all tiles, one stream from memory. An output is computed by the same operations whatever
// the columns beside it.
#pragma once

#include <cstdint>

#include "kernels/fetch.h"
#include "kernels/kernels.h"
#include "kernels/lut/nibble_tile.h"
#include "kernels/lut/pair_tile.h"
#include "kernels/lut/product_tile.h"

namespace lutra::kernels::lut {
namespace {

/// Asks for unit u's share of the weights that come kFetchAhead bytes later. Lookups take so many instructions a byte
/// that the core alone has little under way from memory (GB/s of one thread, AVX-512: Q2_K exact 5.7, int8 7.2 with 1
/// KB ahead, 12.4 and 14.8 with 4, 12.7 and 17.5 with 8; Q4_0 6.7 and 16.1, 16.0 and 15.4, 19.1 and 22.5).
constexpr uint32_t kFetchAhead = 8192;
template <typename Tile>
LUTRA_LUT_INLINE void fetch_unit(const uint8_t* super_block, uint32_t u) {
  constexpr uint32_t kBytes = 4 * Tile::kShape.bytes / (Tile::kShape.elements / 32u);
#pragma GCC unroll 8
  for (uint32_t i = 0; i < kBytes; i += 64) fetch_line(super_block + kFetchAhead + u * kBytes + i);
}

/// kColumns outputs of the rows of one tile.
template <typename Lanes, typename Tile, int kColumns>
inline void run_tile(const LutMatmulArgs& args, uint32_t tile, uint32_t column) {
  const uint8_t* weights = args.tiles + tile * args.tile_bytes;
  typename Tile::TableColumns columns(args, column);
  typename Lanes::Floats acc[kColumns][Tile::kSlices];
#pragma GCC unroll 4
  for (int c = 0; c < kColumns; ++c) {
#pragma GCC unroll 8
    for (int i = 0; i < Tile::kSlices; ++i) acc[c][i] = Lanes::broadcast(0.0f);
  }
  for (uint32_t k = 0; k < args.k; k += Tile::kShape.elements, weights += 4 * Tile::kShape.bytes) {
    const typename Tile::Scales scales(weights);
    for (uint32_t u = 0; u < Tile::kShape.elements / 32u; ++u, columns.advance()) {
      fetch_unit<Tile>(weights, u);
      Tile::template unit<kColumns>(weights, u, scales, columns, acc);
    }
  }
  const uint32_t row = tile * kLutRows;
  const uint32_t n_rows = args.rows - row < kLutRows ? args.rows - row : kLutRows;
#pragma GCC unroll 4
  for (int c = 0; c < kColumns; ++c) {
    float* out = args.out + (column + static_cast<uint32_t>(c)) * args.out_stride + row;
    float rows[kLutRows];
    float* const place = n_rows == kLutRows ? out : rows;
#pragma GCC unroll 8
    for (int i = 0; i < Tile::kSlices; ++i) Lanes::store(place + Tile::first_row(i), acc[c][i]);
    if (n_rows < kLutRows) {
      for (uint32_t r = 0; r < n_rows; ++r) out[r] = rows[r];
    }
  }
}

template <typename Lanes, typename Tile>
void sweep(const LutMatmulArgs& args) noexcept {
  const uint32_t n_tiles = (args.rows + kLutRows - 1) / kLutRows;
  const uint32_t sweeps = (args.n + kLutColumns - 1) / kLutColumns;
  const uint32_t larger = args.n % sweeps;
  uint32_t column = 0;
  for (uint32_t i = 0; i < sweeps; ++i) {
    const uint32_t n = args.n / sweeps + (i < larger ? 1 : 0);
    for (uint32_t tile = 0; tile < n_tiles; ++tile) {
      switch (n) {
        case 1: run_tile<Lanes, Tile, 1>(args, tile, column); break;
        case 2: run_tile<Lanes, Tile, 2>(args, tile, column); break;
        case 3: run_tile<Lanes, Tile, 3>(args, tile, column); break;
        default: run_tile<Lanes, Tile, 4>(args, tile, column); break;
      }
    }
    column += n;
  }
}

template <typename Lanes, LutTables kTables>
void fill_tables(LutKernels& lut) noexcept {
  using base::TensorType;
  const auto set = [&lut](TensorType type, LutMatmulFn matmul) {
    lut.matmul[static_cast<uint32_t>(kTables)][static_cast<uint32_t>(type)] = matmul;
  };
  set(TensorType::Q4_0, sweep<Lanes, NibbleTile<Lanes, kPanelQ4_0, 8, kTables>>);
  set(TensorType::Q4_1, sweep<Lanes, NibbleTile<Lanes, kPanelQ4_1, 0, kTables>>);
  set(TensorType::Q5_0, sweep<Lanes, NibbleTile<Lanes, kPanelQ5_0, 16, kTables>>);
  set(TensorType::Q5_1, sweep<Lanes, NibbleTile<Lanes, kPanelQ5_1, 0, kTables>>);
  set(TensorType::Q4_K, sweep<Lanes, NibbleTile<Lanes, kPanelQ4_K, 0, kTables>>);
  set(TensorType::Q5_K, sweep<Lanes, NibbleTile<Lanes, kPanelQ5_K, 0, kTables>>);
  set(TensorType::Q2_K, sweep<Lanes, PairTile<Lanes, kPanelQ2_K, 0, kTables>>);
  set(TensorType::Q3_K, sweep<Lanes, PairTile<Lanes, kPanelQ3_K, 4, kTables>>);
  set(TensorType::TQ1_0, sweep<Lanes, PairTile<Lanes, kPanelTernary, 1, kTables>>);
  set(TensorType::TQ2_0, sweep<Lanes, PairTile<Lanes, kPanelTernary, 1, kTables>>);
}

template <typename Lanes, LutTables kTables>
void fill_product_tables(LutKernels& lut) noexcept {
  using base::TensorType;
  const auto set = [&lut](TensorType type, LutMatmulFn matmul) {
    lut.matmul[static_cast<uint32_t>(kTables)][static_cast<uint32_t>(type)] = matmul;
  };
  set(TensorType::IQ4_NL, sweep<Lanes, ProductTile<Lanes, kPanelIQ4_NL, kTables>>);
  set(TensorType::IQ4_XS, sweep<Lanes, ProductTile<Lanes, kPanelIQ4_XS, kTables>>);
  set(TensorType::MXFP4, sweep<Lanes, ProductTile<Lanes, kPanelMXFP4, kTables>>);
}

}  // namespace
}  // namespace lutra::kernels::lut
