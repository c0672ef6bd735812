// The bytes of column strips: 64 rows of a weight matrix with the codes of one input channel side by side, so that a
// product reads the channels that matter and skips the others. Constants only; only `quant` writes it.
//
// A group is S strips (the last group of a matrix may have fewer), 64-byte aligned, a run of super-blocks of 32 or 256
// channels. Everything of a super-block that stands once a row holds all rows of the group, strip by strip:
//   d       fp16[64 S]            scale of each row
//   m       fp16[64 S]            min (Q4_1) or dmin (Q4_K); absent elsewhere
//   then for each unit of 32 channels
//   runs    [32 channels][S]      the codes of a channel in a strip's rows: `run_bytes`; from channel to channel
//                                 `channel_stride`
//   scales  byte[n_halves][64 S]  Q4_K 0..63, Q6_K int8 for each half of the unit; absent elsewhere
//   mins    byte[64 S]            Q4_K only: 0..63
// A run holds the unsigned codes of the format (of Q8_0 the int8 plus 128) of 64 rows as two halves of 32. In a half,
// byte j is of row column_row(j): two levels of byte interleaving of four channels then leave rows in order.
//   low nibbles   32 bytes   half 0 in the low, half 1 in the high nibble of byte j      (all but Q8_0)
//   fifth bits     8 bytes   two 32-bit words, one a half: bit j                         (Q5_0)
//   two bits      16 bytes   byte j % 16: bits 2 · (2 · half + j / 16) and up            (Q6_K)
//   whole bytes   64 bytes   half 0, then half 1                                         (Q8_0)
// Rows past the matrix are zero codes with zero scales. Bytes are those of GGUF, padded to whole strips and strides;
// Q4_K +2.8 %.
#pragma once

#include <cstdint>

namespace lutra::kernels {

constexpr uint32_t kStripRows = 64;
/// Channels whose codes a kernel takes together.
constexpr uint32_t kChannelQuad = 4;
/// Strips of a group at most: a kernel keeps a partial sum for each of their rows (16 KB a token).
constexpr uint32_t kMaxGroupStrips = 64;

/// The row, within a half of 32, of byte j of a half.
constexpr uint32_t column_row(uint32_t j) { return 8 * (j % 16 / 4) + 4 * (j / 16) + j % 4; }

enum class ColumnHigh : uint8_t { kNone, kFifthBit, kTwoBits, kWhole };

struct ColumnShape {
  uint16_t elements;   ///< channels of a super-block
  uint16_t run_bytes;  ///< of a channel in a strip
  ColumnHigh high;
  bool has_min;
  uint8_t scale_halves;  ///< byte scales of a unit and row: 0, 1, or one a half
  bool has_mins;         ///< byte mins of a unit and row
  int zero;              ///< value = scale · (code − zero)

  constexpr uint32_t row_bytes() const { return has_min ? 4 : 2; }
  /// Byte scales and mins of a unit and row.
  constexpr uint32_t unit_row_bytes() const { return scale_halves + (has_mins ? 1u : 0u); }
  /// From a channel's first run to the next channel's, in a group of `strips`. Strides of 1 KB would have the lines of
  /// a strip's channels crowd a few sets of the first cache: a line that two strips share then comes twice.
  constexpr uint64_t channel_stride(uint64_t strips) const {
    return run_bytes * strips + (run_bytes * strips % 1024 == 0 ? 64 : 0);
  }
  /// Of a group of `strips`.
  constexpr uint64_t unit_bytes(uint64_t strips) const {
    return 32 * channel_stride(strips) + kStripRows * strips * unit_row_bytes();
  }
  constexpr uint64_t block_bytes(uint64_t strips) const {
    return kStripRows * strips * row_bytes() + elements / 32u * unit_bytes(strips);
  }
};

constexpr ColumnShape kColumnsQ4_0 = {32, 32, ColumnHigh::kNone, false, 0, false, 8};
constexpr ColumnShape kColumnsQ4_1 = {32, 32, ColumnHigh::kNone, true, 0, false, 0};
constexpr ColumnShape kColumnsQ5_0 = {32, 40, ColumnHigh::kFifthBit, false, 0, false, 16};
constexpr ColumnShape kColumnsQ8_0 = {32, 64, ColumnHigh::kWhole, false, 0, false, 128};
constexpr ColumnShape kColumnsQ4_K = {256, 32, ColumnHigh::kNone, true, 1, true, 0};
constexpr ColumnShape kColumnsQ6_K = {256, 48, ColumnHigh::kTwoBits, false, 2, false, 32};
static_assert(kColumnsQ4_0.block_bytes(1) == 64 * 18 && kColumnsQ4_1.block_bytes(1) == 64 * 20);
static_assert(kColumnsQ5_0.block_bytes(1) == 64 * 22 && kColumnsQ8_0.block_bytes(1) == 64 * 34);
static_assert(kColumnsQ6_K.block_bytes(1) == 64 * 210);

}  // namespace lutra::kernels
