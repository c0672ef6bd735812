// One block of floats to the codes of a type, by family. Internal to quant.
#pragma once

#include "base/tensor_type.h"
#include "quant/block_codes.h"

namespace lutra::quant {

/// Q4_0 Q5_0 Q8_0 IQ4_NL: 32 levels under one scale.
void encode_scaled_block(base::TensorType type, const float* x, BlockCodes& out);
/// Q4_1 Q5_1: 32 levels on one line.
void encode_line_block(base::TensorType type, const float* x, BlockCodes& out);
/// Q3_K Q6_K IQ4_XS: sub-blocks of levels whose scales are multiples of the block's.
void encode_scaled_super_block(base::TensorType type, const float* x, BlockCodes& out);
/// Q2_K Q4_K Q5_K: sub-blocks on lines whose scales and mins are multiples of the block's two.
void encode_line_super_block(base::TensorType type, const float* x, BlockCodes& out);

/// TQ1_0 TQ2_0: −1, 0 or 1 times the largest magnitude, which is what ternary models are made of.
void encode_ternary_block(base::TensorType type, const float* x, BlockCodes& out);
/// MXFP4: 32 values of a table under a power of two.
void encode_mxfp4_block(base::TensorType type, const float* x, BlockCodes& out);

/// Packs the bits of a block: read_gguf_block gives the same codes again.
void write_gguf_block(base::TensorType type, const BlockCodes& codes, uint8_t* block);

}  // namespace lutra::quant
