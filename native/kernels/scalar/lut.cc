// Products by table lookup, reference twin: one row, plane and group at a time. Floats are those of
// scalar/matmul_tile.h.
#include <cstdint>

#include "kernels/kernels.h"
#include "kernels/lut/build_tables.h"
#include "kernels/panel_layout.h"
#include "kernels/scalar/lut_tile.h"
#include "kernels/scalar/scalar.h"

namespace lutra::kernels::scalar {
namespace {

/// Where things stand in a tile's super-block.
template <const PanelShape& kPanel>
struct TileShape {
  static constexpr bool kPairs = kPanel.low == LowBits::kTwo;
  static constexpr bool kNarrow = kPanel.n_scales == 16;
  static constexpr bool kHasMin = kPanel.min_offset != 0;
  static constexpr uint32_t kLowPlanes = kPairs ? 2 : 4;
  static constexpr uint32_t kPlanes = kLowPlanes + (kPanel.high == HighBits::kOne ? 1 : 0);

  /// The two indices of a row's plane: of groups m and m + 4.
  static uint8_t indices(const uint8_t* unit, uint32_t row, uint32_t plane, uint32_t m) {
    if (plane == kLowPlanes) return unit[32 * m + (kPairs ? lut_place(row) : row)];
    const uint8_t* low = unit + 4 * kPanel.high_bytes + kLutRows * kLowPlanes * m;
    return low[kLowPlanes * (kPairs ? lut_place(row) : row) + plane];
  }
  static uint8_t scale(const uint8_t* super_block, uint32_t index, uint32_t row) {
    return super_block[4 * kPanel.scale_offset + kLutRows * index + (kPairs ? lut_place(row) : row)];
  }
};

template <LutTables kTables>
int32_t entry(const uint8_t* group, uint32_t index) {
  if constexpr (kTables == LutTables::kInt8) return static_cast<int8_t>(group[index]);
  const int32_t third = static_cast<int8_t>(group[2 * kLutEntries + index]);
  return group[index] + 64 * group[kLutEntries + index] + 4096 * third;
}

/// A column's part of a product at one unit.
struct UnitColumn {
  const uint8_t* entries;
  const int32_t* biases;
  const float* d;  ///< one, or one a half
  float s;
  const float* s16;
};

/// Σ code·c of half a unit of one row; by 8-bit tables in quarters of an entry.
template <const PanelShape& kPanel, LutTables kTables>
int32_t half_sum(const uint8_t* unit, uint32_t row, uint32_t half, const UnitColumn& column) {
  using Shape = TileShape<kPanel>;
  int32_t sum = 0;
  for (uint32_t plane = 0; plane < Shape::kPlanes; ++plane) {
    int32_t plane_sum = 0;
    for (uint32_t m = 0; m < 4; ++m) {
      const uint32_t index = (Shape::indices(unit, row, plane, m) >> (4 * half)) & 15u;
      plane_sum += entry<kTables>(column.entries + (4 * half + m) * lut_group_bytes(kTables), index);
    }
    if constexpr (kTables == LutTables::kInt8) plane_sum = 4 * plane_sum + column.biases[half];
    sum += plane_sum * (1 << plane);
  }
  return sum;
}

/// Rows [first, first + 8) of one unit.
template <const PanelShape& kPanel, int kZero, LutTables kTables>
void add_unit(const uint8_t* super_block, uint32_t u, uint32_t first, const UnitColumn& column, float* acc) {
  using Shape = TileShape<kPanel>;
  const uint8_t* unit = super_block + 4 * kPanel.unit_offset + 4 * u * kPanel.unit_bytes;
  float d[8], min[8] = {}, w[8], offsets[2][8];
  int32_t sums[2][8];
  load_halves(super_block + 2 * first, d);
  if constexpr (Shape::kHasMin) load_halves(super_block + 4 * kPanel.min_offset + 2 * first, min);
  for (uint32_t r = 0; r < 8; ++r) {
    const uint32_t row = first + r;
    for (uint32_t h = 0; h < 2; ++h) sums[h][r] = half_sum<kPanel, kTables>(unit, row, h, column);
    w[r] = d[r];
    if constexpr (Shape::kNarrow) {
      for (uint32_t h = 0; h < 2; ++h) {
        const uint8_t byte = Shape::scale(super_block, 2 * u + h, row);
        const int32_t scale = Shape::kHasMin ? byte & 15 : static_cast<int8_t>(byte);
        sums[h][r] *= scale;
        offsets[h][r] = Shape::kHasMin ? -(min[r] * static_cast<float>(byte >> 4))
                                       : static_cast<float>(-kZero) * (d[r] * static_cast<float>(scale));
      }
    } else {
      if constexpr (kPanel.scale_offset != 0) w[r] = d[r] * static_cast<float>(Shape::scale(super_block, u, row));
      offsets[0][r] = Shape::kHasMin ? min[r] : static_cast<float>(-kZero) * d[r];
      if constexpr (kPanel.mins_offset != 0) {
        offsets[0][r] = -(min[r] * static_cast<float>(super_block[4 * kPanel.mins_offset + kLutRows * u + row]));
      }
    }
  }
  const auto add = [acc](const float* a, float b) {
    const float eight[8] = {b, b, b, b, b, b, b, b};
    fma8(a, eight, acc);
  };
  if constexpr (kTables == LutTables::kExact) {
    for (int r = 0; r < 8; ++r) sums[0][r] += sums[1][r];
    add_scaled(sums[0], w, column.d[0], acc);
  } else {
    add_scaled(sums[0], w, column.d[0], acc);
    add_scaled(sums[1], w, column.d[1], acc);
  }
  if constexpr (Shape::kNarrow) {
    add(offsets[0], column.s16[0]);
    add(offsets[1], column.s16[1]);
  } else if constexpr (Shape::kHasMin || kZero != 0) {
    add(offsets[0], column.s);
  }
}

template <const PanelShape& kPanel, int kZero, LutTables kTables>
void matmul_tiles(const LutMatmulArgs& args) noexcept {
  constexpr bool kInt8 = kTables == LutTables::kInt8;
  walk_lut_tiles<kPanel>(args, [&](const uint8_t* super_block, uint32_t u, uint32_t first, uint64_t block, float* acc) {
    const UnitColumn column = {args.entries + block * 8 * lut_group_bytes(kTables),
                               kInt8 ? args.biases + 2 * block : nullptr, args.d + (kInt8 ? 2 * block : block),
                               args.s[block], args.s16 + 2 * block};
    add_unit<kPanel, kZero, kTables>(super_block, u, first, column, acc);
  });
}

template <LutTables kTables>
void fill(LutKernels& lut) noexcept {
  using base::TensorType;
  const auto set = [&lut](TensorType type, LutMatmulFn matmul) {
    lut.matmul[static_cast<uint32_t>(kTables)][static_cast<uint32_t>(type)] = matmul;
  };
  set(TensorType::Q4_0, matmul_tiles<kPanelQ4_0, 8, kTables>);
  set(TensorType::Q4_1, matmul_tiles<kPanelQ4_1, 0, kTables>);
  set(TensorType::Q5_0, matmul_tiles<kPanelQ5_0, 16, kTables>);
  set(TensorType::Q5_1, matmul_tiles<kPanelQ5_1, 0, kTables>);
  set(TensorType::Q4_K, matmul_tiles<kPanelQ4_K, 0, kTables>);
  set(TensorType::Q5_K, matmul_tiles<kPanelQ5_K, 0, kTables>);
  set(TensorType::Q2_K, matmul_tiles<kPanelQ2_K, 0, kTables>);
  set(TensorType::Q3_K, matmul_tiles<kPanelQ3_K, 4, kTables>);
  set(TensorType::TQ1_0, matmul_tiles<kPanelTernary, 1, kTables>);
  set(TensorType::TQ2_0, matmul_tiles<kPanelTernary, 1, kTables>);
}

}  // namespace

void fill_lut(KernelTable& table) noexcept {
  table.lut.build[static_cast<uint32_t>(LutSet::kSubsetSums)][static_cast<uint32_t>(LutTables::kExact)] =
      lut::build_exact;
  table.lut.build[static_cast<uint32_t>(LutSet::kSubsetSums)][static_cast<uint32_t>(LutTables::kInt8)] =
      lut::build_int8;
  fill<LutTables::kExact>(table.lut);
  fill<LutTables::kInt8>(table.lut);
}

}  // namespace lutra::kernels::scalar
