// What the reference twins of products by table lookup share.
#pragma once

#include <cstdint>

#include "kernels/kernels.h"
#include "kernels/panel_layout.h"
#include "kernels/scalar/matmul_tile.h"

namespace lutra::kernels::scalar {
namespace {

/// acc += integers · (w · d_a), rounded as the vector paths round.
inline void add_scaled(const int32_t* integers, const float* w, float d_a, float* acc) {
  float floats[8], factors[8];
  for (int r = 0; r < 8; ++r) floats[r] = static_cast<float>(integers[r]);
  for (int r = 0; r < 8; ++r) factors[r] = w[r] * d_a;
  fma8(floats, factors, acc);
}

/// Eight rows after the other, add_unit(super_block, u, first, block, acc) for each unit: `first` is the first row's
/// place in the tile, `block` counts the blocks of 32 of all columns.
template <const PanelShape& kPanel, typename F>
void walk_lut_tiles(const LutMatmulArgs& args, F&& add_unit) {
  const uint64_t blocks = args.k / 32;
  for (uint64_t column = 0; column < args.n; ++column) {
    for (uint32_t row = 0; row < args.rows; row += 8) {
      const uint8_t* super_block = args.tiles + row / kLutRows * args.tile_bytes;
      float acc[8] = {};
      for (uint64_t k = 0; k < args.k; k += kPanel.elements, super_block += 4 * kPanel.bytes) {
        for (uint32_t u = 0; u < kPanel.elements / 32u; ++u) {
          add_unit(super_block, u, row % kLutRows, column * blocks + k / 32 + u, acc);
        }
      }
      float* out = args.out + column * args.out_stride + row;
      for (uint32_t r = 0; r < 8 && row + r < args.rows; ++r) out[r] = acc[r];
    }
  }
}

}  // namespace
}  // namespace lutra::kernels::scalar
