// The scalar twin's tile loop over packed panels: weights of 8 rows × 32 k are unpacked once to int16 and used by a
// tile of columns. The float operations and their order are the contract the SIMD paths repeat:
//   32-wide scales: acc = fma(float(256·H + L), w·d_a, acc), H and L = Σ code·high and Σ code·low as integers;
//                   then, when the type has an offset, acc = fma(m, s_a, acc)
//   16-wide scales: acc = fma(fma(float(H), 256, float(L)), d·d_a, acc), H and L carrying the integer sub-scales;
//                   then, for each half h of the block, acc = fma(m_h, s16_a[h], acc)
// block by block in ascending k, one accumulator per output. w and m are per row: see each type's policy.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "kernels/kernels.h"
#include "kernels/panel_layout.h"
#include "kernels/scalar/float_math.h"
#include "kernels/scalar/matmul_lanes.h"

namespace lutra::kernels::scalar {
namespace {

constexpr uint32_t kTileColumns = 16;

/// Eight rows' fp16 at `bytes`.
[[maybe_unused]] void load_halves(const uint8_t* bytes, float* out) {
  uint16_t halves[8];
  std::memcpy(halves, bytes, sizeof halves);
  for (int r = 0; r < 8; ++r) out[r] = f32_from_f16(halves[r]);
}

/// Eight rows' d.
template <RowScale kScale>
void load_row_scales(const uint8_t* bytes, float* out) {
  if constexpr (kScale == RowScale::kHalf) return load_halves(bytes, out);
  for (int r = 0; r < 8; ++r) {
    const uint32_t bits = static_cast<uint32_t>(bytes[r]) << 23;  // 2^(byte − 127), but for byte 0
    out[r] = 0.5f * std::bit_cast<float>(bits == 0 ? kExponentZero : bits);
  }
}

/// Writes a finished tile, leaving out the rows a ragged last panel does not have.
[[maybe_unused]] void store_tile(const MatmulArgs& args, uint32_t panel, uint32_t column, uint32_t n_columns,
                                 const float (*acc)[8]) {
  const uint32_t row = panel * kPanelRows;
  const uint32_t n_rows = args.rows - row < kPanelRows ? args.rows - row : kPanelRows;
  for (uint32_t c = 0; c < n_columns; ++c) {
    float* out = args.out + (column + c) * args.out_stride + row;
    for (uint32_t r = 0; r < n_rows; ++r) out[r] = acc[c][r];
  }
}

/// Runs Policy over every panel and tile of columns. Policy: kShape, begin(super_block), unit(super_block, u), and
/// accumulate(the column's block: planes, d, s, s16, then acc).
template <typename Policy>
void matmul_blocks(const MatmulArgs& args) noexcept {
  const uint64_t k = args.k;
  const uint32_t n_units = Policy::kShape.elements / kBlock;
  for (uint32_t p = args.panel_begin; p < args.panel_end; ++p) {
    for (uint32_t column = 0; column < args.n; column += kTileColumns) {
      const uint32_t n_columns = args.n - column < kTileColumns ? args.n - column : kTileColumns;
      const uint8_t* super_block = args.panels + p * args.panel_bytes;
      float acc[kTileColumns][8] = {};
      Policy policy;
      if constexpr (requires { policy.low; }) policy.low = args.low_panels + p * args.low_panel_bytes;
      for (uint64_t k0 = 0; k0 < k; k0 += Policy::kShape.elements, super_block += Policy::kShape.bytes) {
        policy.begin(super_block);
        for (uint32_t u = 0; u < n_units; ++u) {
          policy.unit(super_block, u);
          const uint64_t at = k0 + u * kBlock;
          for (uint32_t c = 0; c < n_columns; ++c) {
            const uint64_t element = (column + c) * k + at;
            const PlaneActivations& a = args.activations;
            policy.accumulate(a.planes + 2 * element, a.d[element / 32], a.s[element / 32], a.s16 + element / 16,
                              acc[c]);
          }
        }
      }
      store_tile(args, p, column, n_columns, acc);
    }
  }
}

}  // namespace
}  // namespace lutra::kernels::scalar
