// Floats to GGUF blocks: the inverse of dequantize_row, for every type of the engine. Where the format leaves the
// scales to the writer, they are searched for the least squared error of the dequantised values, all weights alike. A
// block is a function of its own elements: rows may be cut anywhere between blocks. Scalar, the same bits on every
// machine.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/tensor_type.h"

namespace lutra::quant {

/// True for the types encode_row writes.
bool can_encode(base::TensorType type);

/// Largest magnitude that fits: greater ones would need a scale, or an element, beyond the format's largest float.
float largest_encodable(base::TensorType type);

/// Encodes k elements (whole blocks), all finite and within largest_encodable, to row_bytes(type, k) bytes.
void encode_row(base::TensorType type, const float* values, uint64_t k, uint8_t* out);

}  // namespace lutra::quant
