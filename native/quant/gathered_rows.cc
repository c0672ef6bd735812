#include "quant/gathered_rows.h"

#include <algorithm>
#include <cstring>

#include "kernels/panel_layout.h"
#include "quant/block_codes.h"

namespace lutra::quant {

namespace {

using kernels::kPanelRows;
using kernels::PanelShape;

// A row's `size` bytes in each of n runs of all eight rows' bytes.
template <uint32_t size>
void copy_strided(const uint8_t* from, uint32_t row, uint8_t* to, uint32_t slot, uint64_t n) {
  from += size * row;
  to += size * slot;
  for (uint64_t i = 0; i < n; ++i) std::memcpy(to + i * size * kPanelRows, from + i * size * kPanelRows, size);
}

void copy_block(const PanelShape& shape, const uint8_t* from, uint32_t row, uint8_t* to, uint32_t slot) {
  if (shape.d == kernels::RowScale::kHalf) {
    copy_strided<2>(from, row, to, slot, 1);
  } else {
    copy_strided<1>(from, row, to, slot, 1);
  }
  if (shape.min_offset != 0) copy_strided<2>(from + shape.min_offset, row, to + shape.min_offset, slot, 1);
  copy_strided<1>(from + shape.scale_offset, row, to + shape.scale_offset, slot, shape.n_scales);
  if (shape.mins_offset != 0) copy_strided<1>(from + shape.mins_offset, row, to + shape.mins_offset, slot, 8);
  const uint32_t vectors = (shape.bytes - shape.unit_offset) / 32;
  copy_strided<4>(from + shape.unit_offset, row, to + shape.unit_offset, slot, vectors);
}

// Row `row` of panel `from` to row `slot` of panel `to`.
void copy_row(const Matrix& matrix, const uint8_t* from, uint32_t row, uint8_t* to, uint32_t slot) {
  if (matrix.type == base::TensorType::F32) return copy_strided<4>(from, row, to, slot, matrix.k);
  const PanelShape* shape = panel_shape(matrix.type);
  if (shape == nullptr) return copy_strided<2>(from, row, to, slot, matrix.k);
  for (uint32_t i = 0; i < matrix.k; i += shape->elements, from += shape->bytes, to += shape->bytes) {
    copy_block(*shape, from, row, to, slot);
  }
}

void copy_rows(const Matrix& source, std::span<const uint32_t> rows, const Matrix& to, uint8_t* panels) {
  for (uint32_t i = 0; i < to.rows; ++i) {
    uint8_t* const panel = panels + to.panel_offset(i / kPanelRows);
    if (i % kPanelRows == 0) std::memset(panel, 0, to.panel_bytes);
    const uint8_t* const from = source.panels + source.panel_offset(rows[i] / kPanelRows);
    copy_row(source, from, rows[i] % kPanelRows, panel, i % kPanelRows);
  }
}

const float* copy_biases(const Matrix& source, std::span<const uint32_t> rows, uint8_t* out) {
  if (source.bias == nullptr) return nullptr;
  auto* const biases = reinterpret_cast<float*>(out);
  for (size_t i = 0; i < rows.size(); ++i) biases[i] = source.bias[rows[i]];
  return biases;
}

uint64_t bias_bytes(const Matrix& source, uint32_t n_rows) {
  return source.bias == nullptr ? 0 : (n_rows * sizeof(float) + 63) / 64 * 64;
}

Matrix plan(const Matrix& source, uint32_t n_rows) {
  Matrix matrix = source;
  matrix.rows = n_rows;
  matrix.group_bytes = kGroupPanels * source.panel_bytes;
  matrix.panels = nullptr;
  matrix.bias = nullptr;
  return matrix;
}

GatheredPair plan_pair(const Matrix& first, const Matrix& second, uint32_t n_rows) {
  GatheredPair pair = {plan(first, n_rows), plan(second, n_rows)};
  pair.first.group_bytes += pair.second.group_bytes;
  pair.second.group_bytes = pair.first.group_bytes;
  return pair;
}

}  // namespace

bool can_gather(const Matrix& source) { return !source.tiled && source.low == nullptr; }

uint64_t gathered_pair_bytes(const Matrix& first, const Matrix& second, uint32_t n_rows) {
  const Matrix planned = plan_pair(first, second, n_rows).first;
  return planned.group_bytes * planned.n_groups() + bias_bytes(first, n_rows) + bias_bytes(second, n_rows);
}

GatheredPair gather_row_pair(const Matrix& first, const Matrix& second, std::span<const uint32_t> rows, uint8_t* out) {
  const auto n_rows = static_cast<uint32_t>(rows.size());
  GatheredPair pair = plan_pair(first, second, n_rows);
  uint8_t* const second_panels = out + kGroupPanels * first.panel_bytes;
  pair.first.panels = out;
  pair.second.panels = second_panels;
  copy_rows(first, rows, pair.first, out);
  copy_rows(second, rows, pair.second, second_panels);
  uint8_t* const biases = out + pair.first.group_bytes * pair.first.n_groups();
  pair.first.bias = copy_biases(first, rows, biases);
  pair.second.bias = copy_biases(second, rows, biases + bias_bytes(first, n_rows));
  return pair;
}

}  // namespace lutra::quant
