// The kernels of lookup attention, a part of the kernel table, and what those take that read values. Codes, tables and
// scores are described in lookup_args.h, whose contract holds here too.
#pragma once

#include <cstdint>

#include "kernels/lookup_args.h"

namespace lutra::kernels {

/// A page of one head in 8 bits, for single positions to be read: codes of keys [32][head_dim], of values the same,
/// then 32 pairs of scales (of a key and of its value), upper halves of floats. An element is code · scale.
constexpr uint64_t lookup_rows_bytes(uint64_t head_dim) { return 32 * 2 * (head_dim + sizeof(uint16_t)); }

/// Writes such a page. Of a key or value with the largest magnitude m (one that is NaN counts as largest): scale =
/// m / 127, its lower half rounded up; code = round-half-even(x · (1 / scale)), kept in ±127. Where m < 2^-100 or is
/// not finite: codes 0; the scale says which.
struct LookupPackArgs {
  uint32_t head_dim;
  const float* keys;      ///< [head_dim][32]
  const uint8_t* values;  ///< a page of the cache
  uint8_t* rows;          ///< lookup_rows_bytes
};

/// Attention of a group of queries over listed positions, whose rows are read. Score of query code q and key code k:
/// fma(float(Σ q · k), query scale · key scale, bias); the integer sum is exact: 512 · 32767 · 127 < 2^31. Weights and
/// sum (lane: index in the list % 8) are those of attention tiles; acc[d] adds fma(weight · value scale, code) in list
/// order, from 0.
struct LookupRefineArgs {
  uint32_t head_dim;  ///< multiple of 8, ≤ 512
  uint32_t n_queries;
  const int16_t* const* queries;  ///< [n_queries] → [head_dim] codes, not permuted, in ±32767
  const float* query_scales;      ///< [n_queries]
  const float* query_biases;      ///< [n_queries]
  uint32_t n_selected;
  const uint32_t* selected;    ///< position p is slot p % 32 of page p / 32
  const uint8_t* const* rows;  ///< pages
  float* scores;               ///< scratch [n_queries][score_stride]
  uint64_t score_stride;       ///< ≥ n_selected, a multiple of 16
  float* max_out;              ///< [n_queries] -inf when nothing is listed
  float* sum_out;
  float* acc_out;  ///< [n_queries][head_dim]
};

/// An attention tile whose scores are known: score = fma(U, step, bias). The rest is as AttentionTileArgs.
struct LookupTileArgs {
  uint32_t head_dim;
  uint32_t n_queries;
  const uint16_t* const* scores;  ///< [n_queries] → [kTilePositions]; pages it does not see are not read
  const float* steps;             ///< [n_queries]
  const float* biases;            ///< [n_queries]
  const uint32_t* first;
  const uint32_t* last;
  uint32_t tile_begin;
  const uint8_t* const* v_pages;
  float* max_out;
  float* sum_out;
  float* acc_out;
};

/// The control: plain 4-bit multiply-adds over codes of the size that d_sub = 1 has. sums[t] = Σ_d code[d] · q[d] for
/// 32 positions. Row p of 32 bytes is dimensions 2p and 2p + 1: byte 2j + i has the code of dimension 2p + i of
/// position j in the low nibble, of position j + 16 in the high one. |Σ of 8 rows| ≤ 16 · 15 · 127 = 30480 < 2^15.
struct NibbleDotArgs {
  uint32_t head_dim;  ///< even, ≤ 512
  uint32_t n_pages;
  uint32_t n_queries;
  const uint8_t* const* codes;   ///< [n_pages] → [head_dim / 2][32]
  const int8_t* const* queries;  ///< [n_queries] → [head_dim], in ±127
  int32_t* sums;                 ///< [n_queries][32 · n_pages]
};

/// Part of the kernel table.
struct LookupKernels {
  /// out [head_dim][32]: the keys of a page, exactly. Indexed by KvType.
  void (*unpack_keys[2])(const uint8_t* page, uint32_t head_dim, float* out) noexcept;
  void (*encode)(const LookupEncodeArgs& args) noexcept;
  void (*tables)(const LookupTablesArgs& args) noexcept;
  void (*scan)(const LookupScanArgs& args) noexcept;
  void (*histogram)(const LookupHistogramArgs& args) noexcept;
  void (*select)(const LookupSelectArgs& args) noexcept;
  void (*pack[2])(const LookupPackArgs& args) noexcept;  ///< indexed by the KvType of the values
  void (*refine)(const LookupRefineArgs& args) noexcept;
  void (*tile[2])(const LookupTileArgs& args) noexcept;  ///< indexed by KvType
  void (*nibble_dot)(const NibbleDotArgs& args) noexcept;
};

}  // namespace lutra::kernels
