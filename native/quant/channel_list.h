// The channels that a product with column strips reads, and the activations of just those.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/column_kernels.h"
#include "quant/activations.h"

namespace lutra::quant {

/// Of up to kColumnTokens rows of activations: the channels that any of them keeps. Arrays lie in the owner's arena.
class ChannelList {
 public:
  ChannelList() = default;
  static uint64_t bytes_needed(uint64_t max_k);
  /// `arena`: bytes_needed bytes, 64-byte aligned.
  ChannelList(uint8_t* arena, uint32_t max_k);

  /// Lists the channels that `masks` name, [x.n()][k/32] words, bit i of word w for channel 32 w + i. The rows have
  /// been kept to their masks (Activations::keep), which gave `sums` [x.n()][k/32]. A block whose scale is not finite
  /// is listed even when its words are empty. Returns how many are listed.
  uint32_t build(const kernels::KernelTable& kernels, const Activations& x, const uint32_t* masks, const int32_t* sums);

  const Activations& x() const { return *x_; }
  const int32_t* sums() const { return sums_; }
  /// For weights of this type. Made when first asked for, by one thread.
  kernels::ChannelQuads quads(base::TensorType type);

 private:
  struct Quads {
    uint32_t* ends = nullptr;
    uint8_t* channels = nullptr;
    int8_t* planes = nullptr;
    bool made = false;
  };

  Quads quads_[2];  ///< of granules of 32 and 16 channels
  uint32_t* union_ = nullptr;
  uint64_t stride_ = 0;
  const kernels::ChannelKernels* kernels_ = nullptr;
  const Activations* x_ = nullptr;
  const int32_t* sums_ = nullptr;
};

}  // namespace lutra::quant
