#include "quant/column_matrix.h"

#include <algorithm>
#include <cstring>

#include "quant/block_codes.h"
#include "quant/half.h"
#include "quant/quant.h"

namespace lutra::quant {

namespace {

using base::TensorType;
using kernels::ColumnHigh;
using kernels::ColumnShape;
using kernels::kStripRows;

constexpr uint32_t kHalfRows = kStripRows / 2;

const ColumnShape* column_shape(TensorType type) {
  switch (type) {
    case TensorType::Q4_0: return &kernels::kColumnsQ4_0;
    case TensorType::Q4_1: return &kernels::kColumnsQ4_1;
    case TensorType::Q5_0: return &kernels::kColumnsQ5_0;
    case TensorType::Q8_0: return &kernels::kColumnsQ8_0;
    case TensorType::Q4_K: return &kernels::kColumnsQ4_K;
    case TensorType::Q6_K: return &kernels::kColumnsQ6_K;
    default: return nullptr;
  }
}

// Where byte j of a half is whose row is r.
constexpr uint32_t column_byte(uint32_t r) { return 16 * (r / 4 % 2) + 4 * (r / 8) + r % 4; }
static_assert(kernels::column_row(column_byte(29)) == 29 && kernels::column_row(column_byte(6)) == 6);

// Row r's place in the runs of its strip.
struct CodePlace {
  uint32_t half, byte;

  explicit CodePlace(uint32_t r) : half(r / kHalfRows), byte(column_byte(r % kHalfRows)) {}

  // `code` as the format has it; a run's bits of the row are zero.
  void write(const ColumnShape& shape, uint8_t code, uint8_t* run) const {
    if (shape.high == ColumnHigh::kWhole) {
      run[kHalfRows * half + byte] = code ^ 128;
      return;
    }
    run[byte] = static_cast<uint8_t>(run[byte] | (code & 15) << (4 * half));
    if (shape.high == ColumnHigh::kFifthBit) {
      uint8_t& bits = run[32 + 4 * half + byte / 8];
      bits = static_cast<uint8_t>(bits | (code >> 4) << (byte % 8));
    }
    if (shape.high == ColumnHigh::kTwoBits) {
      uint8_t& bits = run[32 + byte % 16];
      bits = static_cast<uint8_t>(bits | (code >> 4) << (2 * (2 * half + byte / 16)));
    }
  }

  uint8_t read(const ColumnShape& shape, const uint8_t* run) const {
    if (shape.high == ColumnHigh::kWhole) return run[kHalfRows * half + byte] ^ 128;
    int code = run[byte] >> (4 * half) & 15;
    if (shape.high == ColumnHigh::kFifthBit) code |= (run[32 + 4 * half + byte / 8] >> byte % 8 & 1) << 4;
    if (shape.high == ColumnHigh::kTwoBits) code |= (run[32 + byte % 16] >> 2 * (2 * half + byte / 16) & 3) << 4;
    return static_cast<uint8_t>(code);
  }
};

// Where a row's parts of a super-block stand in its group.
struct RowPlace {
  const ColumnShape& shape;
  uint64_t strips;  // of the group
  uint32_t strip, r;

  uint64_t row() const { return uint64_t{kStripRows} * strip + r; }
  uint64_t rows() const { return kStripRows * strips; }
  uint64_t block_bytes() const { return shape.block_bytes(strips); }
  uint64_t d() const { return 2 * row(); }
  uint64_t m() const { return 2 * rows() + 2 * row(); }
  uint64_t unit(uint32_t u) const { return shape.row_bytes() * rows() + u * shape.unit_bytes(strips); }
  uint64_t run(uint32_t u, uint32_t channel) const {
    return unit(u) + channel * shape.channel_stride(strips) + strip * shape.run_bytes;
  }
  uint64_t scale(uint32_t u, uint32_t half) const {
    return unit(u) + 32 * shape.channel_stride(strips) + half * rows() + row();
  }
  uint64_t min(uint32_t u) const { return scale(u, shape.scale_halves); }
};

RowPlace place_of(const ColumnMatrix& matrix, const ColumnShape& shape, uint32_t row) {
  const uint32_t strip = row / kStripRows, group = strip / matrix.group_strips;
  return {shape, matrix.strips_of(group), strip % matrix.group_strips, row % kStripRows};
}

uint64_t group_of(const ColumnMatrix& matrix, uint32_t row) {
  return matrix.group_offset(row / kStripRows / matrix.group_strips);
}

void write_block(const RowPlace& at, const BlockCodes& block, uint8_t* super_block) {
  const ColumnShape& shape = at.shape;
  const CodePlace code(at.r);
  store_u16(super_block + at.d(), block.d);
  if (shape.has_min) store_u16(super_block + at.m(), block.m);
  for (uint32_t u = 0; u < shape.elements / 32u; ++u) {
    for (uint32_t i = 0; i < 32; ++i) code.write(shape, block.codes[32 * u + i], super_block + at.run(u, i));
    for (uint32_t h = 0; h < shape.scale_halves; ++h) {
      super_block[at.scale(u, h)] = block.scales[u * shape.scale_halves + h];
    }
    if (shape.has_mins) super_block[at.min(u)] = block.mins[u];
  }
}

void read_block(const RowPlace& at, const uint8_t* super_block, BlockCodes& out) {
  const ColumnShape& shape = at.shape;
  const CodePlace code(at.r);
  out.d = load_u16(super_block + at.d());
  out.m = shape.has_min ? load_u16(super_block + at.m()) : uint16_t{0};
  for (uint32_t u = 0; u < shape.elements / 32u; ++u) {
    for (uint32_t i = 0; i < 32; ++i) out.codes[32 * u + i] = code.read(shape, super_block + at.run(u, i));
    for (uint32_t h = 0; h < shape.scale_halves; ++h) {
      out.scales[u * shape.scale_halves + h] = super_block[at.scale(u, h)];
    }
    if (shape.has_mins) out.mins[u] = super_block[at.min(u)];
  }
}

constexpr uint32_t divided_up(uint32_t n, uint32_t by) { return (n + by - 1) / by; }

}  // namespace

bool has_columns(TensorType type) { return column_shape(type) != nullptr; }

// Long runs: what is read in pieces with gaps comes as fast as its pieces are long. Half of the channels of 8192 × 2048
// Q4_0 from memory on two threads, of the panels' time: 0.83-0.96 with groups of 4 to 48 strips, 0.67 with 64; with
// 128, whose partial sums leave the first cache, twice that. An even number of groups, so that two threads have runs of
// their own and as many.
ColumnMatrix::ColumnMatrix(TensorType type, uint32_t rows, uint32_t k) : type(type), rows(rows), k(k) {
  const uint32_t pairs = divided_up(n_strips(), 2 * kernels::kMaxGroupStrips);
  group_strips = divided_up(n_strips(), 2 * pairs);
}

uint32_t ColumnMatrix::strips_of(uint32_t g) const { return std::min(group_strips, n_strips() - g * group_strips); }

uint64_t ColumnMatrix::group_bytes(uint32_t strips) const {
  const ColumnShape& shape = *column_shape(type);
  return k / shape.elements * shape.block_bytes(strips);
}

uint64_t ColumnMatrix::bytes() const {
  const uint32_t last = n_groups() - 1;
  return group_offset(last) + group_bytes(strips_of(last));
}

uint64_t ColumnMatrix::channel_bytes() const { return uint64_t{n_strips()} * column_shape(type)->run_bytes; }

uint64_t ColumnMatrix::scale_bytes() const {
  const ColumnShape& shape = *column_shape(type);
  const uint64_t of_row = k / shape.elements * shape.row_bytes() + k / 32 * shape.unit_row_bytes();
  return of_row * n_strips() * kStripRows;
}

void pack_columns(const ColumnMatrix& matrix, const uint8_t* rows, uint32_t row_begin, uint32_t n_rows,
                  uint8_t* place) {
  const ColumnShape& shape = *column_shape(matrix.type);
  const uint64_t block_bytes = base::tensor_type_traits(matrix.type).block_bytes;
  const uint64_t bytes = row_bytes(matrix.type, matrix.k);
  BlockCodes block;
  for (uint32_t i = 0; i < n_rows; ++i) {
    const RowPlace at = place_of(matrix, shape, row_begin + i);
    uint8_t* super_block = place + group_of(matrix, row_begin + i);
    for (uint32_t b = 0; b < matrix.k / shape.elements; ++b, super_block += at.block_bytes()) {
      read_gguf_block(matrix.type, rows + i * bytes + b * block_bytes, block);
      write_block(at, block, super_block);
    }
  }
}

void dequantize_column_row(const ColumnMatrix& matrix, uint32_t row, float* out) {
  const ColumnShape& shape = *column_shape(matrix.type);
  const RowPlace at = place_of(matrix, shape, row);
  const uint8_t* super_block = matrix.groups + group_of(matrix, row);
  BlockCodes block;
  for (uint32_t b = 0; b < matrix.k / shape.elements; ++b, super_block += at.block_bytes()) {
    read_block(at, super_block, block);
    block_values(matrix.type, block, out + uint64_t{b} * shape.elements);
  }
}

}  // namespace lutra::quant
