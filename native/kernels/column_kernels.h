// Products with column strips (column_layout.h): of a row of activations, only the channels that a list names are read.
// Part of the kernel table; the contract of kernels.h holds.
//
// A result is bit for bit that of the panels of the same weights with activations whose other channels' codes are zero
// (and whose s and s16 are of what is left): a unit's integer sum is exact in any order, becomes a float once, and
// the float operations and their order are those of the panel kernels (scalar/matmul_tile.h). So it depends neither on
// the channels a list names beside the row's own nor on the other rows. A unit without a channel adds nothing in any
// of them: fma(0, w, acc) = acc, as acc is never −0.
#pragma once

#include <cstdint>

#include "base/tensor_type.h"
#include "kernels/column_layout.h"

namespace lutra::kernels {

/// Activation rows that share a list at most.
constexpr uint32_t kColumnTokens = 4;

/// Channels of k in ascending order, in quads that stay within a granule: a unit of 32 channels, or a half of it for
/// types whose scales cover 16. A last quad is filled up with channels of the granule that weigh nothing.
struct ChannelQuads {
  uint32_t granule;         ///< 32 or 16
  const uint32_t* ends;     ///< [k/granule] where a granule's quads end
  const uint8_t* channels;  ///< [quads][4] within the unit, 0..31
  const int8_t* planes;     ///< [n][quads][8] high of the four, low of the four; zeros where a row does not keep one
  uint64_t stride;          ///< bytes from one row's planes to the next
};

/// out[t * out_stride + i] = Σ over listed channels w[64 · strip_begin + i][channel] · x[t][channel], i < rows.
struct ColumnsArgs {
  const uint8_t* group;  ///< of `strips` strips
  uint32_t strips;       ///< 1..kMaxGroupStrips
  uint32_t strip_begin;  ///< of those to compute
  uint32_t strip_end;
  uint32_t rows;  ///< to write, from the first row of strip_begin on: ≤ 64 · (strip_end − strip_begin)
  uint32_t k;
  uint32_t n;  ///< activation rows, 1..kColumnTokens
  ChannelQuads channels;
  const int32_t* sums;  ///< [n][k/32] Σ c of the channels a row keeps
  const float* d;       ///< [n][k/32] as PlaneActivations, as are s and s16, of what a row keeps
  const float* s;       ///< [n][k/32]
  const float* s16;     ///< [n][k/16]
  float* out;
  uint64_t out_stride;
};
using ColumnsFn = void (*)(const ColumnsArgs& args) noexcept;

}  // namespace lutra::kernels
