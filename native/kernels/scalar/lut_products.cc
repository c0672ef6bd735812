// Products with codebooks by table lookup, reference twin: one row and element at a time. Floats are those of
// scalar/matmul_tile.h.
#include <cstdint>

#include "kernels/kernels.h"
#include "kernels/lut/build_products.h"
#include "kernels/panel_layout.h"
#include "kernels/scalar/matmul_tile.h"
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
  const auto add_product = [&](const int32_t* integers, float d_a) {
    float floats[8], factors[8];
    for (int r = 0; r < 8; ++r) floats[r] = static_cast<float>(integers[r]);
    for (int r = 0; r < 8; ++r) factors[r] = w[r] * d_a;
    fma8(floats, factors, acc);
  };
  if constexpr (kTables == LutTables::kExact) {
    for (int r = 0; r < 8; ++r) sums[0][r] += sums[1][r];
    return add_product(sums[0], args.d[block]);
  }
  for (uint32_t h = 0; h < 2; ++h) {
    for (int r = 0; r < 8; ++r) sums[h][r] = 4 * sums[h][r] + args.biases[2 * block + h];
    add_product(sums[h], args.d[2 * block + h]);
  }
}

template <const PanelShape& kPanel, LutTables kTables>
void matmul_tiles(const LutMatmulArgs& args) noexcept {
  const uint64_t blocks = args.k / 32;
  for (uint64_t column = 0; column < args.n; ++column) {
    for (uint32_t row = 0; row < args.rows; row += 8) {
      const uint8_t* super_block = args.tiles + row / kLutRows * args.tile_bytes;
      float acc[8] = {};
      for (uint64_t k = 0; k < args.k; k += kPanel.elements, super_block += 4 * kPanel.bytes) {
        for (uint32_t u = 0; u < kPanel.elements / 32u; ++u) {
          add_unit<kPanel, kTables>(super_block, u, row % kLutRows, args, column * blocks + k / 32 + u, acc);
        }
      }
      float* out = args.out + column * args.out_stride + row;
      for (uint32_t r = 0; r < 8 && row + r < args.rows; ++r) out[r] = acc[r];
    }
  }
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
