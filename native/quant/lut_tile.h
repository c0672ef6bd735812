// Tiles of 32 rows whose codes lie as bit planes, or whole where they are indices of a codebook, for products by table
// lookup (kernels/lut_kernels.h): the bytes of four panels, in another order. Packed from GGUF blocks, and turned back
// into panels for products of many columns.
#pragma once

#include <cstdint>

#include "base/tensor_type.h"
#include "kernels/lut_kernels.h"

namespace lutra::quant {

/// The tables that products with a type's tiles look up, as one bit; none for types that have no tiles.
kernels::LutSets lut_sets(base::TensorType type);
inline bool has_lut_tiles(base::TensorType type) { return lut_sets(type) != 0; }

/// Bytes of a tile: those of four panels.
uint64_t lut_tile_bytes(base::TensorType type, uint64_t k);

/// Packs `n_rows` (1..32) consecutive GGUF rows into one tile. Missing rows are zero weights.
void pack_lut_tile(base::TensorType type, const uint8_t* rows, uint32_t n_rows, uint64_t k, uint8_t* tile);

/// Writes panels [begin, end) of a tile's four, panel_bytes apart, the first at `panels`: what pack_panel gives for
/// their rows, up to the padding behind a panel.
void unpack_lut_panels(base::TensorType type, const uint8_t* tile, uint32_t begin, uint32_t end, uint64_t k,
                       uint8_t* panels);

/// Dequantises row `r` (0..31) of a tile: the same floats as dequantize_row of the row that was packed.
void dequantize_lut_row(base::TensorType type, const uint8_t* tile, uint32_t r, uint64_t k, float* out);

}  // namespace lutra::quant
