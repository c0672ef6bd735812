#include "quant/split_matrix.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/panel_layout.h"
#include "quant/block_codes.h"
#include "quant/lut_tile.h"
#include "quant/quant.h"

namespace lutra::quant {

namespace {

using kernels::kPanelRows;

// Weights of a head that is worth splitting. On a 2-core Zen 4, Gemma 3 270M's 168e6 take 0.6 of the full product's
// time when one candidate is wanted; SmolLM2-135M's 28e6 gained nothing: more of its panels are read again, and its
// head is a small part of a step. Nothing between the two was measured.
constexpr uint64_t kWorthwhileWeights = 100'000'000;
constexpr uint32_t kGgufBlockBytes = 34;

uint64_t padded(uint64_t bytes) { return (bytes + 63) / 64 * 64; }

uint64_t high_bytes(uint64_t k) {
  const uint64_t n_blocks = k / kernels::kBlock;
  return kernels::split_radii_bytes(n_blocks) + padded(n_blocks * kernels::kPanelQ4_0.bytes);
}
uint64_t low_bytes(uint64_t k) { return padded(k / kernels::kBlock * kernels::kSplitLowUnit); }

// Where code i of row r stands in a low unit.
struct LowPlace {
  uint32_t byte, shift;
};

LowPlace low_place(uint32_t r, uint32_t i) {
  const uint32_t j = i / 4;
  return {32 * (j % 4) + 4 * r + i % 4, 4 * (j / 4)};
}

// The smallest multiple of 1 / kRadiusSteps that is no less than ‖low − 7.5‖: at most 6 · 7.5 · √32 < 255.
uint8_t radius(const uint8_t* low) {
  int sum = 0;  // of (2 · low − 15)², four times the square looked for
  for (uint32_t i = 0; i < kernels::kBlock; ++i) sum += (2 * low[i] - 15) * (2 * low[i] - 15);
  return static_cast<uint8_t>(std::ceil(kernels::kRadiusSteps / 2.0 * std::sqrt(static_cast<double>(sum))));
}

}  // namespace

bool worth_splitting(base::TensorType type, uint64_t rows, uint64_t k) {
  return type == base::TensorType::Q8_0 && rows >= kWorthwhileWeights / k;
}

void plan_split(Matrix& matrix) {
  matrix.panel_bytes = high_bytes(matrix.k);
  matrix.low_panel_bytes = low_bytes(matrix.k);
}

void place_split(Matrix& matrix, const uint8_t* place) {
  matrix.panels = place + kernels::split_radii_bytes(matrix.k / kernels::kBlock);
  matrix.low = place + matrix.panel_bytes * matrix.n_panels();
}

void pack_split_panel(const uint8_t* rows, uint32_t n_rows, uint64_t k, uint8_t* high, uint8_t* low) {
  const uint64_t n_blocks = k / kernels::kBlock;
  std::memset(high, 0, high_bytes(k));
  std::memset(low, 0, low_bytes(k));
  uint8_t* radii = high;
  high += kernels::split_radii_bytes(n_blocks);
  BlockCodes block;
  uint8_t low_codes[kernels::kBlock];
  for (uint64_t b = 0; b < n_blocks; ++b) {
    for (uint32_t r = 0; r < std::min(n_rows, kPanelRows); ++r) {
      read_gguf_block(base::TensorType::Q8_0, rows + (r * n_blocks + b) * kGgufBlockBytes, block);
      for (uint32_t i = 0; i < kernels::kBlock; ++i) {
        const uint8_t code = block.codes[i] ^ 128;
        const LowPlace at = low_place(r, i);
        low[b * kernels::kSplitLowUnit + at.byte] |= static_cast<uint8_t>((code & 15) << at.shift);
        low_codes[i] = code & 15;
        block.codes[i] = code >> 4;
      }
      write_panel_block(kernels::kPanelQ4_0, block, r, high + b * kernels::kPanelQ4_0.bytes);
      radii[b] = std::max(radii[b], radius(low_codes));
    }
  }
}

void dequantize_matrix_row(const Matrix& matrix, uint32_t row, float* out) {
  const uint32_t panel = row / kPanelRows, r = row % kPanelRows;
  const uint8_t* high = matrix.panels + matrix.panel_offset(panel);
  if (matrix.tiled) {
    const uint8_t* tile = matrix.panels + matrix.panel_offset(panel / kGroupPanels * kGroupPanels);
    return dequantize_lut_row(matrix.type, tile, row % kGroupRows, matrix.k, out);
  }
  if (matrix.low == nullptr) return dequantize_panel_row(matrix.type, high, r, matrix.k, out);
  const uint8_t* low = matrix.low_panel(panel);
  BlockCodes block;
  for (uint64_t i = 0; i < matrix.k; i += kernels::kBlock, high += kernels::kPanelQ4_0.bytes) {
    read_panel_block(kernels::kPanelQ4_0, high, r, block);
    for (uint32_t e = 0; e < kernels::kBlock; ++e) {
      const LowPlace at = low_place(r, e);
      block.codes[e] = static_cast<uint8_t>((16 * block.codes[e] + (low[at.byte] >> at.shift & 15)) ^ 128);
    }
    block_values(base::TensorType::Q8_0, block, out + i);
    low += kernels::kSplitLowUnit;
  }
}

}  // namespace lutra::quant
