// Picked rows of packed matrices as small matrices of the same panel layout (kernels/panel_layout.h): their products
// have the bits of the picked rows' products, since a row's sum depends on that row and the activations alone. Bytes
// are moved, nothing is decoded.
//
// Sources are plain panels, alternating with another matrix or not; not tiles, and not split (can_gather). Row ids
// ascend and are the source's. Memory is the caller's, 64-byte aligned, and must outlive the matrix.
#pragma once

#include <cstdint>
#include <span>

#include "quant/matrix.h"

namespace lutra::quant {

bool can_gather(const Matrix& source);

/// The same rows of two matrices of one shape, whose groups alternate (Matrix::group_bytes) as gate's and up's do.
struct GatheredPair {
  Matrix first, second;
};
/// Bytes that gather_row_pair fills for n_rows rows: panels, then the biases of those that have some.
uint64_t gathered_pair_bytes(const Matrix& first, const Matrix& second, uint32_t n_rows);
GatheredPair gather_row_pair(const Matrix& first, const Matrix& second, std::span<const uint32_t> rows, uint8_t* out);

}  // namespace lutra::quant
