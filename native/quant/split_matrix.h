// A Q8_0 matrix whose four high and four low bits of each weight lie apart (kernels/panel_layout.h): the high bits
// alone rank rows within a proven bound (forward/head_screen.h), both together are the Q8_0 panel again, bit for bit.
// The bytes of Q8_0, one more for a block of eight rows and the padding (1.2 % at k = 640).
#pragma once

#include <cstdint>

#include "quant/matrix.h"

namespace lutra::quant {

/// Whether a head of this type and size is worth splitting.
bool worth_splitting(base::TensorType type, uint64_t rows, uint64_t k);
/// Sets the bytes of the panels' two parts, multiples of 64.
void plan_split(Matrix& matrix);
/// Points it to its bytes: all high parts, then all low ones.
void place_split(Matrix& matrix, const uint8_t* place);

/// Packs n_rows (1..8) consecutive GGUF rows of Q8_0 into one panel. Missing rows have zero scales.
void pack_split_panel(const uint8_t* rows, uint32_t n_rows, uint64_t k, uint8_t* high, uint8_t* low);

/// Row `row` of any matrix, split, in bit planes or plain, as floats.
void dequantize_matrix_row(const Matrix& matrix, uint32_t row, float* out);

}  // namespace lutra::quant
