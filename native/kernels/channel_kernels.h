// Kernels that choose the channels of a row of activations and list them for column products, a part of the kernel
// table. The contract of kernels.h holds; results are equal on every path, bit for bit.
//
// Scores are bits of floats without a sign, at most 0x7FFFFFFF, compared as integers: NaN stands above infinity. Widths
// (n, k) are multiples of 32, at most 2^17. A mask has a bit for each channel: bit i of word w is channel 32 w + i.
#pragma once

#include <cstdint>

namespace lutra::kernels {

/// The k channels with the largest scores, ties by the lowest channel.
struct TopChannelsArgs {
  uint32_t n;
  uint32_t k;              ///< 1..n
  const uint32_t* scores;  ///< [n]
  uint32_t* scratch;       ///< [n]
  uint32_t* mask;          ///< [n/32] out
};

/// Makes a quantised row (PlaneActivations) one whose channels outside of the mask are zero; its scales stay.
struct KeepChannelsArgs {
  uint32_t k;
  const uint32_t* mask;  ///< [k/32]
  const float* d;        ///< [k/32]
  int8_t* planes;        ///< [k/32][64] in and out
  float* s;              ///< [k/32] out: d · Σc of what is kept of a block
  float* s16;            ///< [k/16] out: the same of each half block
  int32_t* sums;         ///< [k/32] out: Σc of what is kept
  float* floats;         ///< [k] in and out; null: they are left alone
};

/// The channels that any of n rows keeps, and channel 0 of each block whose scale in any row is not finite.
struct UniteChannelsArgs {
  uint32_t k;
  uint32_t n;
  const uint32_t* masks;  ///< [n][k/32]
  const float* d;         ///< [n][k/32]
  uint32_t* mask;         ///< [k/32] out
};

/// Writes the arrays of ChannelQuads (column_kernels.h) for the channels of a mask; a granule's last quad is filled up
/// with its last channel. What lies behind the last quad is undefined.
struct ListChannelsArgs {
  uint32_t k;
  uint32_t granule;      ///< 32 or 16
  uint32_t n;            ///< rows
  const uint32_t* mask;  ///< [k/32]
  const int8_t* planes;  ///< [n][k/32][64]
  uint32_t* ends;        ///< [k/granule]
  uint8_t* channels;     ///< [k + 4]
  int8_t* quads;         ///< [n][2k], rows `stride` apart
  uint64_t stride;       ///< bytes
};

/// Part of the kernel table.
struct ChannelKernels {
  /// scores[i] = bits of |x[i] · norms[i]|, or of |x[i]| where norms is null.
  void (*score)(const float* x, const float* norms, uint32_t n, uint32_t* scores) noexcept;
  void (*top)(const TopChannelsArgs& args) noexcept;
  /// The channels whose score is `least` or more; returns how many.
  uint32_t (*from)(const uint32_t* scores, uint32_t n, uint32_t least, uint32_t* mask) noexcept;
  void (*keep)(const KeepChannelsArgs& args) noexcept;
  /// Returns how many channels there are.
  uint32_t (*unite)(const UniteChannelsArgs& args) noexcept;
  void (*list)(const ListChannelsArgs& args) noexcept;
};

}  // namespace lutra::kernels
