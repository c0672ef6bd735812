// Reads and writes one row of a packed super-block (layout: kernels/panel_layout.h).
#include <cstdint>
#include <cstring>

#include "quant/block_codes.h"
#include "quant/half.h"

namespace lutra::quant {

namespace {

using base::TensorType;
using kernels::HighBits;
using kernels::LowBits;
using kernels::PanelShape;

/// 32 codes into one unit, four neighbours of k at a time (they are neighbours in the panel too).
void write_unit(const PanelShape& shape, const uint8_t* codes, uint32_t r, uint8_t* unit) {
  uint8_t* low = unit + shape.high_bytes + 4 * r;
  uint8_t* high = unit + 4 * r;
  switch (shape.low) {
    case LowBits::kByte:
      for (int j = 0; j < 8; ++j) std::memcpy(low + 32 * j, codes + 4 * j, 4);
      break;
    case LowBits::kNibble:
      for (int j = 0; j < 4; ++j) {
        for (int t = 0; t < 4; ++t) {
          low[32 * j + t] = static_cast<uint8_t>((codes[4 * j + t] & 15) | (codes[16 + 4 * j + t] << 4));
        }
      }
      break;
    case LowBits::kTwo:
      for (int k = 0; k < 32; ++k) {
        const int j = k >> 2;
        uint8_t& byte = low[32 * (j >> 2) + (k & 3)];
        byte = static_cast<uint8_t>(byte | ((codes[k] & 3) << (2 * (j & 3))));
      }
      break;
  }
  if (shape.high == HighBits::kNone) return;
  const int low_width = shape.low == LowBits::kNibble ? 4 : 2;
  for (int k = 0; k < 32; ++k) {
    const int j = k >> 2, t = k & 3, bits = codes[k] >> low_width;
    uint8_t& byte = shape.high == HighBits::kOne ? high[t] : high[32 * (j >> 2) + t];
    byte = static_cast<uint8_t>(byte | (bits << (shape.high == HighBits::kOne ? j : 2 * (j & 3))));
  }
}

void read_unit(const PanelShape& shape, const uint8_t* unit, uint32_t r, uint8_t* codes) {
  const uint8_t* low = unit + shape.high_bytes + 4 * r;
  const uint8_t* high = unit + 4 * r;
  for (int k = 0; k < 32; ++k) {
    const int j = k >> 2, t = k & 3;
    int code = 0, low_width = 8;
    if (shape.low == LowBits::kByte) {
      code = low[32 * j + t];
    } else if (shape.low == LowBits::kNibble) {
      code = (low[32 * (j & 3) + t] >> (4 * (j >> 2))) & 15;
      low_width = 4;
    } else {
      code = (low[32 * (j >> 2) + t] >> (2 * (j & 3))) & 3;
      low_width = 2;
    }
    if (shape.high == HighBits::kOne) code |= ((high[t] >> j) & 1) << low_width;
    if (shape.high == HighBits::kTwo) code |= ((high[32 * (j >> 2) + t] >> (2 * (j & 3))) & 3) << low_width;
    codes[k] = static_cast<uint8_t>(code);
  }
}

}  // namespace

const PanelShape* panel_shape(TensorType type) {
  switch (type) {
    case TensorType::Q4_0: return &kernels::kPanelQ4_0;
    case TensorType::Q4_1: return &kernels::kPanelQ4_1;
    case TensorType::Q5_0: return &kernels::kPanelQ5_0;
    case TensorType::Q5_1: return &kernels::kPanelQ5_1;
    case TensorType::Q8_0: return &kernels::kPanelQ8_0;
    case TensorType::IQ4_NL: return &kernels::kPanelIQ4_NL;
    case TensorType::Q2_K: return &kernels::kPanelQ2_K;
    case TensorType::Q3_K: return &kernels::kPanelQ3_K;
    case TensorType::Q4_K: return &kernels::kPanelQ4_K;
    case TensorType::Q5_K: return &kernels::kPanelQ5_K;
    case TensorType::Q6_K: return &kernels::kPanelQ6_K;
    case TensorType::IQ4_XS: return &kernels::kPanelIQ4_XS;
    default: return nullptr;
  }
}

void write_panel_block(const PanelShape& shape, const BlockCodes& block, uint32_t r, uint8_t* super_block) {
  store_u16(super_block + 2 * r, block.d);
  if (shape.min_offset != 0) store_u16(super_block + shape.min_offset + 2 * r, block.m);
  for (uint32_t s = 0; s < shape.n_scales; ++s) super_block[shape.scale_offset + 8 * s + r] = block.scales[s];
  if (shape.mins_offset != 0) {
    for (uint32_t s = 0; s < 8; ++s) super_block[shape.mins_offset + 8 * s + r] = block.mins[s];
  }
  for (uint32_t u = 0; u < shape.elements / 32u; ++u) {
    write_unit(shape, block.codes + 32 * u, r, super_block + shape.unit_offset + u * shape.unit_bytes);
  }
}

void read_panel_block(const PanelShape& shape, const uint8_t* super_block, uint32_t r, BlockCodes& out) {
  out.d = load_u16(super_block + 2 * r);
  out.m = shape.min_offset != 0 ? load_u16(super_block + shape.min_offset + 2 * r) : uint16_t{0};
  for (uint32_t s = 0; s < shape.n_scales; ++s) out.scales[s] = super_block[shape.scale_offset + 8 * s + r];
  if (shape.mins_offset != 0) {
    for (uint32_t s = 0; s < 8; ++s) out.mins[s] = super_block[shape.mins_offset + 8 * s + r];
  }
  for (uint32_t u = 0; u < shape.elements / 32u; ++u) {
    read_unit(shape, super_block + shape.unit_offset + u * shape.unit_bytes, r, out.codes + 32 * u);
  }
}

}  // namespace lutra::quant
