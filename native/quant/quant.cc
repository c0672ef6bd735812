// The room's public functions (quant.h), on top of block_codes.h.
#include "quant/quant.h"

#include <cstring>

#include "kernels/kernels.h"
#include "quant/block_codes.h"
#include "quant/half.h"

namespace lutra::quant {

namespace {

using kernels::kPanelRows;
using kernels::PanelShape;

bool finite_half(uint16_t half) { return (half & 0x7C00u) != 0x7C00u; }

uint32_t element_bytes(TensorType type) { return type == TensorType::F32 ? 4 : 2; }

bool is_float(TensorType type) {
  return type == TensorType::F32 || type == TensorType::F16 || type == TensorType::BF16;
}

float float_element(TensorType type, const uint8_t* bytes) {
  if (type == TensorType::F16) return half_to_float(load_u16(bytes));
  if (type == TensorType::BF16) return bfloat_to_float(load_u16(bytes));
  float value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

bool finite_element(TensorType type, const uint8_t* bytes) {
  if (type == TensorType::F16) return finite_half(load_u16(bytes));
  if (type == TensorType::BF16) return (load_u16(bytes) & 0x7F80u) != 0x7F80u;
  uint32_t bits;
  std::memcpy(&bits, bytes, sizeof bits);
  return (bits & 0x7F800000u) != 0x7F800000u;
}

/// Where a GGUF block keeps its fp16 scale and second fp16 (−1: none).
struct ScaleOffsets {
  int d;
  int m;
};

ScaleOffsets scale_offsets(TensorType type) {
  switch (type) {
    case TensorType::Q4_1:
    case TensorType::Q5_1:
    case TensorType::Q4_K:
    case TensorType::Q5_K: return {0, 2};
    case TensorType::Q2_K: return {80, 82};
    case TensorType::Q3_K: return {108, -1};
    case TensorType::Q6_K: return {208, -1};
    case TensorType::TQ1_0: return {52, -1};
    case TensorType::TQ2_0: return {64, -1};
    default: return {0, -1};
  }
}

/// The last E8M0 byte whose largest value, 6 · 2^(252 − 127), is a float.
constexpr uint8_t kLastExponent = 252;

bool finite_block(TensorType type, const uint8_t* block) {
  if (type == TensorType::MXFP4) return block[0] <= kLastExponent;
  const ScaleOffsets at = scale_offsets(type);
  return finite_half(load_u16(block + at.d)) && (at.m < 0 || finite_half(load_u16(block + at.m)));
}

template <typename T>
void interleave(const uint8_t* rows, uint32_t n_rows, uint64_t k, uint8_t* panel) {
  for (uint32_t r = 0; r < n_rows; ++r) {
    const uint8_t* row = rows + r * k * sizeof(T);
    uint8_t* out = panel + r * sizeof(T);
    for (uint64_t i = 0; i < k; ++i) std::memcpy(out + i * kPanelRows * sizeof(T), row + i * sizeof(T), sizeof(T));
  }
}

}  // namespace

uint64_t row_bytes(TensorType type, uint64_t k) {
  const base::TensorTypeTraits& traits = base::tensor_type_traits(type);
  return traits.block_elements == 0 ? 0 : k / traits.block_elements * traits.block_bytes;
}

void dequantize_row(TensorType type, const uint8_t* row, uint64_t k, float* out) {
  if (is_float(type)) {
    const uint32_t bytes = element_bytes(type);
    for (uint64_t i = 0; i < k; ++i) out[i] = float_element(type, row + i * bytes);
    return;
  }
  const PanelShape* shape = panel_shape(type);
  if (shape == nullptr) return;
  const uint32_t block_bytes = base::tensor_type_traits(type).block_bytes;
  BlockCodes block;
  for (uint64_t i = 0; i < k; i += shape->elements, row += block_bytes) {
    read_gguf_block(type, row, block);
    block_values(type, block, out + i);
  }
}

int64_t find_nonfinite(TensorType type, const uint8_t* row, uint64_t k) {
  if (is_float(type)) {
    const uint32_t bytes = element_bytes(type);
    for (uint64_t i = 0; i < k; ++i) {
      if (!finite_element(type, row + i * bytes)) return static_cast<int64_t>(i);
    }
    return -1;
  }
  const base::TensorTypeTraits& traits = base::tensor_type_traits(type);
  if (panel_shape(type) == nullptr) return -1;
  const uint64_t n_blocks = k / traits.block_elements;
  for (uint64_t b = 0; b < n_blocks; ++b, row += traits.block_bytes) {
    if (!finite_block(type, row)) return static_cast<int64_t>(b);
  }
  return -1;
}

uint64_t panel_bytes(TensorType type, uint64_t k) {
  uint64_t bytes = 0;
  if (is_float(type)) {
    bytes = k * kPanelRows * element_bytes(type);
  } else if (const PanelShape* shape = panel_shape(type)) {
    bytes = k / shape->elements * shape->bytes;
  }
  return (bytes + 63) & ~uint64_t{63};
}

void pack_panel(TensorType type, const uint8_t* rows, uint32_t n_rows, uint64_t k, uint8_t* panel) {
  if (n_rows > kPanelRows) n_rows = kPanelRows;
  std::memset(panel, 0, panel_bytes(type, k));
  if (type == TensorType::F32) return interleave<uint32_t>(rows, n_rows, k, panel);
  if (is_float(type)) return interleave<uint16_t>(rows, n_rows, k, panel);
  const PanelShape* shape = panel_shape(type);
  if (shape == nullptr) return;
  const uint32_t block_bytes = base::tensor_type_traits(type).block_bytes;
  const uint64_t stride = row_bytes(type, k);
  const uint64_t n_blocks = k / shape->elements;
  BlockCodes block;
  for (uint64_t b = 0; b < n_blocks; ++b) {
    for (uint32_t r = 0; r < n_rows; ++r) {
      read_gguf_block(type, rows + r * stride + b * block_bytes, block);
      write_panel_block(*shape, block, r, panel + b * shape->bytes);
    }
  }
}

void dequantize_panel_row(TensorType type, const uint8_t* panel, uint32_t r, uint64_t k, float* out) {
  if (is_float(type)) {
    const uint32_t bytes = element_bytes(type);
    for (uint64_t i = 0; i < k; ++i) out[i] = float_element(type, panel + (i * kPanelRows + r) * bytes);
    return;
  }
  const PanelShape* shape = panel_shape(type);
  if (shape == nullptr) return;
  BlockCodes block;
  for (uint64_t i = 0; i < k; i += shape->elements, panel += shape->bytes) {
    read_panel_block(*shape, panel, r, block);
    block_values(type, block, out + i);
  }
}

}  // namespace lutra::quant
