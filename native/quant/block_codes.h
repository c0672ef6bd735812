// One row's block taken apart: the common ground between GGUF blocks, packed panels and floats. Internal to quant.
#pragma once

#include <cstdint>

#include "base/tensor_type.h"
#include "kernels/panel_layout.h"

namespace lutra::quant {

/// A block of 32 or 256 elements of one row. Codes, scales and mins as panel_layout.h describes them.
struct BlockCodes {
  uint16_t d;  ///< fp16 bits; of MXFP4 the E8M0 byte
  uint16_t m;  ///< fp16 bits of the min or of dmin; 0 when the type has none
  uint8_t scales[16];
  uint8_t mins[8];
  uint8_t codes[256];
};

/// The panel shape of a quantised type; nullptr for F32, F16, BF16 and unsupported types.
const kernels::PanelShape* panel_shape(base::TensorType type);

/// Takes one GGUF block of a quantised type apart.
void read_gguf_block(base::TensorType type, const uint8_t* block, BlockCodes& out);
/// Block values in the float operation order of the `gguf` package.
void block_values(base::TensorType type, const BlockCodes& block, float* out);

/// Row `r` of a super-block. write_panel_block expects the super-block's bits of that row to be zero.
void write_panel_block(const kernels::PanelShape& shape, const BlockCodes& block, uint32_t r, uint8_t* super_block);
void read_panel_block(const kernels::PanelShape& shape, const uint8_t* super_block, uint32_t r, BlockCodes& out);

}  // namespace lutra::quant
