// GGUF block types on the host side: dequantise (bit for bit as the format defines), pack rows into kernel panels and
// back, and look for non-finite scales. Kernels never see GGUF bytes, only packed panels (kernels/panel_layout.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/tensor_type.h"

namespace lutra::quant {

using base::TensorType;

/// Bytes of one GGUF row of k elements (k a multiple of the type's block).
uint64_t row_bytes(TensorType type, uint64_t k);

/// Dequantises k elements of a GGUF row into floats, bit-identical to the `gguf` Python package.
void dequantize_row(TensorType type, const uint8_t* row, uint64_t k, float* out);

/// Index of the first block whose scale (or, for F32/F16/BF16, an element) is NaN or infinite; -1 when all are finite.
/// An MXFP4 scale is also refused when the format's largest code would be infinite under it.
int64_t find_nonfinite(TensorType type, const uint8_t* row, uint64_t k);

/// Bytes of one packed panel of kPanelRows rows; a multiple of 64.
uint64_t panel_bytes(TensorType type, uint64_t k);

/// Packs `n_rows` (1..8) consecutive GGUF rows (row i at rows + i·row_bytes) into one panel. Missing rows are zero
/// weights.
void pack_panel(TensorType type, const uint8_t* rows, uint32_t n_rows, uint64_t k, uint8_t* panel);

/// Dequantises row `r` (0..7) of a packed panel: the same floats as dequantize_row of the row that was packed.
void dequantize_panel_row(TensorType type, const uint8_t* panel, uint32_t r, uint64_t k, float* out);

}  // namespace lutra::quant
