// Which channels a token keeps, by scores of its own: the k best, those above a threshold, or both.
//
// Scores are bits of floats without a sign, compared as integers: NaN stands above infinity, so what is not finite is
// kept. Sources: threshold, TEAL (Liu et al. 2024); exact top-k, WINA (Chen et al. 2025).
#pragma once

#include <cstdint>
#include <span>

#include "kernels/kernels.h"

namespace lutra::ffn {

enum class Selection : uint8_t {
  kTopK,       ///< exactly round(keep · n), ties by the lowest channel
  kThreshold,  ///< those whose score is no less than the threshold; their number floats
  kHybrid,     ///< the threshold's, while their number is within kHybridLow..kHybridHigh of round(keep · n), else as
               ///< many of the best as the nearer bound says
};

constexpr float kHybridLow = 0.7f, kHybridHigh = 1.3f;

struct Choice {
  Selection selection = Selection::kTopK;
  float keep = 1;       ///< (0, 1]
  float threshold = 0;  ///< of scores; not for kTopK
};

/// Sets bit i % 32 of mask[i / 32] for each channel kept (scores.size() % 32 == 0), at least one. Returns how many.
/// `scratch`: as many words as there are scores.
uint32_t select_channels(const kernels::ChannelKernels& kernels, std::span<const uint32_t> scores, const Choice& choice,
                         uint32_t* mask, uint32_t* scratch);

}  // namespace lutra::ffn
