// The kernels of lookup attention, a part of the kernel table, and what those take that read values. Codes, tables and
// scores are described in lookup_args.h, whose contract holds here too.
#pragma once

#include <cstdint>

#include "kernels/lookup_args.h"

namespace lutra::kernels {

/// Exact attention of a group of queries over listed positions. Keys lie position-major, as values do.
/// A score keeps eight lanes (d % 8), each ascending by fma, merged as merge_lanes does; of
/// q8_0, an element is its code times its scale, rounded once to float. Weights, sum (lane: index in the list % 8) and
/// acc (ascending list order, by fma) are those of attention tiles.
struct LookupRefineArgs {
  uint32_t head_dim;  ///< multiple of 8, ≤ 512
  uint32_t n_queries;
  const float* const* queries;  ///< [n_queries] → [head_dim], not permuted
  uint32_t n_selected;
  const uint32_t* selected;        ///< position p is slot p % 32 of page p / 32
  const uint8_t* const* key_rows;  ///< pages, position-major
  const uint8_t* const* v_pages;
  float* scores;          ///< scratch [n_queries][score_stride]
  uint64_t score_stride;  ///< ≥ n_selected, a multiple of 16
  float* max_out;         ///< [n_queries] -inf when nothing is listed
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
  void (*refine[2])(const LookupRefineArgs& args) noexcept;  ///< indexed by KvType, as is the next
  void (*tile[2])(const LookupTileArgs& args) noexcept;
  void (*nibble_dot)(const NibbleDotArgs& args) noexcept;
};

}  // namespace lutra::kernels
