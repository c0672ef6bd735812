// A weight matrix in column strips (kernels/column_layout.h): the codes and scales of GGUF, lossless, so that a product
// may leave out input channels.
#pragma once

#include <cstdint>

#include "base/tensor_type.h"
#include "kernels/column_kernels.h"

namespace lutra::quant {

/// Whether a type has column strips: Q4_0, Q4_1, Q4_K, Q5_0, Q6_K, Q8_0.
bool has_columns(base::TensorType type);

/// rows × k weights in groups of strips. A view: the model's arena owns the bytes.
struct ColumnMatrix {
  base::TensorType type = base::TensorType::F32;
  uint32_t rows = 0;
  uint32_t k = 0;
  uint32_t group_strips = 0;        ///< of all groups but the last, which may have fewer
  const uint8_t* groups = nullptr;  ///< null: there is none

  ColumnMatrix() = default;
  /// The geometry; `groups` is set once the bytes are there.
  ColumnMatrix(base::TensorType type, uint32_t rows, uint32_t k);

  uint32_t n_strips() const { return (rows + kernels::kStripRows - 1) / kernels::kStripRows; }
  uint32_t n_groups() const { return (n_strips() + group_strips - 1) / group_strips; }
  /// Strips of group g.
  uint32_t strips_of(uint32_t g) const;
  /// Of a group of `strips`, and of all.
  uint64_t group_bytes(uint32_t strips) const;
  uint64_t bytes() const;
  /// Where group g stands, from the first byte.
  uint64_t group_offset(uint32_t g) const { return g * group_bytes(group_strips); }
  /// Bytes of a channel's codes, and of everything that is read whatever the channels.
  uint64_t channel_bytes() const;
  uint64_t scale_bytes() const;
};

/// Packs consecutive GGUF rows [row_begin, row_begin + n_rows) of a matrix whose strips' bytes begin at `place`; strips
/// start out as zeros, and are written by one thread.
void pack_columns(const ColumnMatrix& matrix, const uint8_t* rows, uint32_t row_begin, uint32_t n_rows, uint8_t* place);

/// Row `row` as floats: the same as dequantize_row of the row that was packed.
void dequantize_column_row(const ColumnMatrix& matrix, uint32_t row, float* out);

}  // namespace lutra::quant
