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
using kernels::RowScale;

constexpr uint32_t kEachByte = 0x01010101u;
constexpr uint32_t kTwoBits = 3 * kEachByte;

uint32_t load_four(const uint8_t* bytes) {
  uint32_t word;
  std::memcpy(&word, bytes, 4);
  return word;
}

void or_four(uint8_t* bytes, uint32_t bits) {
  const uint32_t word = load_four(bytes) | bits;
  std::memcpy(bytes, &word, 4);
}

int low_width(LowBits low) { return low == LowBits::kByte ? 8 : low == LowBits::kNibble ? 4 : 2; }

/// 32 codes into one unit, four neighbours of k at a time: they are neighbours in the panel too.
void write_unit(const PanelShape& shape, const uint8_t* codes, uint32_t r, uint8_t* unit) {
  uint8_t* low = unit + shape.high_bytes + 4 * r;
  uint8_t* high = unit + 4 * r;
  const int width = low_width(shape.low);
  for (int j = 0; j < 8; ++j) {
    const uint32_t four = load_four(codes + 4 * j);
    if (shape.low == LowBits::kByte) or_four(low + 32 * j, four);
    if (shape.low == LowBits::kNibble) or_four(low + 32 * (j % 4), (four & (15 * kEachByte)) << (4 * (j / 4)));
    if (shape.low == LowBits::kTwo) or_four(low + 32 * (j / 4), (four & kTwoBits) << (2 * (j % 4)));
    if (shape.high == HighBits::kOne) or_four(high, ((four >> width) & kEachByte) << j);
    if (shape.high == HighBits::kTwo) or_four(high + 32 * (j / 4), ((four >> width) & kTwoBits) << (2 * (j % 4)));
  }
}

void read_unit(const PanelShape& shape, const uint8_t* unit, uint32_t r, uint8_t* codes) {
  const uint8_t* low = unit + shape.high_bytes + 4 * r;
  const uint8_t* high = unit + 4 * r;
  const int width = low_width(shape.low);
  for (int j = 0; j < 8; ++j) {
    uint32_t four = 0;
    if (shape.low == LowBits::kByte) four = load_four(low + 32 * j);
    if (shape.low == LowBits::kNibble) four = (load_four(low + 32 * (j % 4)) >> (4 * (j / 4))) & (15 * kEachByte);
    if (shape.low == LowBits::kTwo) four = (load_four(low + 32 * (j / 4)) >> (2 * (j % 4))) & kTwoBits;
    if (shape.high == HighBits::kOne) four |= ((load_four(high) >> j) & kEachByte) << width;
    if (shape.high == HighBits::kTwo) four |= ((load_four(high + 32 * (j / 4)) >> (2 * (j % 4))) & kTwoBits) << width;
    std::memcpy(codes + 4 * j, &four, 4);
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
    case TensorType::TQ1_0:
    case TensorType::TQ2_0: return &kernels::kPanelTernary;
    case TensorType::MXFP4: return &kernels::kPanelMXFP4;
    default: return nullptr;
  }
}

void write_panel_block(const PanelShape& shape, const BlockCodes& block, uint32_t r, uint8_t* super_block) {
  if (shape.d == RowScale::kHalf) {
    store_u16(super_block + 2 * r, block.d);
  } else {
    super_block[r] = static_cast<uint8_t>(block.d);
  }
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
  out.d = shape.d == RowScale::kHalf ? load_u16(super_block + 2 * r) : super_block[r];
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
