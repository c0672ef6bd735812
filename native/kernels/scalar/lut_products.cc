// Products with codebooks by table lookup, reference twin: one row and element at a time. Floats are those of
// scalar/matmul_tile.h.
#include <cstdint>

#include "kernels/kernels.h"
#include "kernels/lut/build_products.h"
#include "kernels/panel_layout.h"
#include "kernels/scalar/lut_tile.h"
#include "kernels/scalar/scalar.h"

namespace lutra::kernels::scalar {
namespace {

template <LutTables kTables>
constexpr uint64_t kHalfBytes = 16ull * lut_group_bytes(kTables);

/// Σ of the entries of half a unit of one row.
template <LutTables kTables>
int32_t half_sum(const uint8_t* codes, uint32_t row, uint32_t half, const uint8_t* entries) {
  int32_t sum = 0;
  for (uint32_t m = 0; m < 16; ++m) {
    const uint8_t* found = entries + kLutEntries * m + ((codes[kLutRows * m + row] >> (4 * half)) & 15u);
    constexpr uint32_t kDigit = 16 * kLutEntries;
    if constexpr (kTables == LutTables::kInt8) {
      sum += found[0];
    } else {
      sum += found[0] + 256 * found[kDigit] + 65536 * found[2 * kDigit] - kLutProductOffset;
    }
  }
  return sum;
}

/// Rows [first, first + 8) of a unit of column `column`'s block `block`.
template <const PanelShape& kPanel, LutTables kTables>
void add_unit(const uint8_t* super_block, uint32_t u, uint32_t first, const LutMatmulArgs& args, uint64_t block,
              float* acc) {
  const uint8_t* codes = super_block + 4 * kPanel.unit_offset + 4 * u * kPanel.unit_bytes;
  const uint8_t* entries = args.entries + block * 2 * kHalfBytes<kTables>;
  float w[8];
  load_row_scales<kPanel.d>(super_block + (kPanel.d == RowScale::kHalf ? 2 : 1) * first, w);
  if constexpr (kPanel.scale_offset != 0) {
    const uint8_t* scales = super_block + 4 * kPanel.scale_offset + kLutRows * u + first;
    for (int r = 0; r < 8; ++r) w[r] *= static_cast<float>(static_cast<int8_t>(scales[r]));
  }
  int32_t sums[2][8];
  for (uint32_t r = 0; r < 8; ++r) {
    for (uint32_t h = 0; h < 2; ++h) {
      sums[h][r] = half_sum<kTables>(codes, first + r, h, entries + h * kHalfBytes<kTables>);
    }
  }
  if constexpr (kTables == LutTables::kExact) {
    for (int r = 0; r < 8; ++r) sums[0][r] += sums[1][r];
    return add_scaled(sums[0], w, args.d[block], acc);
  }
  for (uint32_t h = 0; h < 2; ++h) {
    for (int r = 0; r < 8; ++r) sums[h][r] = 4 * sums[h][r] + args.biases[2 * block + h];
    add_scaled(sums[h], w, args.d[2 * block + h], acc);
  }
}

template <const PanelShape& kPanel, LutTables kTables>
void matmul_tiles(const LutMatmulArgs& args) noexcept {
  walk_lut_tiles<kPanel>(args, [&](const uint8_t* super_block, uint32_t u, uint32_t first, uint64_t block, float* acc) {
    add_unit<kPanel, kTables>(super_block, u, first, args, block, acc);
  });
}

template <LutTables kTables>
void fill(LutKernels& lut) noexcept {
  using base::TensorType;
  const auto set = [&lut](TensorType type, LutMatmulFn matmul) {
    lut.matmul[static_cast<uint32_t>(kTables)][static_cast<uint32_t>(type)] = matmul;
  };
  set(TensorType::IQ4_NL, matmul_tiles<kPanelIQ4_NL, kTables>);
  set(TensorType::IQ4_XS, matmul_tiles<kPanelIQ4_XS, kTables>);
  set(TensorType::MXFP4, matmul_tiles<kPanelMXFP4, kTables>);
}

}  // namespace

void fill_lut_products(KernelTable& table) noexcept {
  lut::fill_product_builders(table.lut);
  fill<LutTables::kExact>(table.lut);
  fill<LutTables::kInt8>(table.lut);
}

}  // namespace lutra::kernels::scalar
