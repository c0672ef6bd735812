#include "ffn/select.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace lutra::ffn {

namespace {

uint32_t share_of(size_t n, float share) {
  return std::clamp(static_cast<uint32_t>(std::lround(share * static_cast<float>(n))), 1u, static_cast<uint32_t>(n));
}

}  // namespace

uint32_t select_channels(const kernels::ChannelKernels& kernels, std::span<const uint32_t> scores, const Choice& choice,
                         uint32_t* mask, uint32_t* scratch) {
  const auto n = static_cast<uint32_t>(scores.size());
  uint32_t k = share_of(n, choice.keep);
  if (choice.selection != Selection::kTopK) {
    const bool is_hybrid = choice.selection == Selection::kHybrid;
    const uint32_t low = is_hybrid ? share_of(n, kHybridLow * choice.keep) : 1;
    const uint32_t high = is_hybrid ? share_of(n, kHybridHigh * choice.keep) : n;
    const uint32_t found = kernels.from(scores.data(), n, std::bit_cast<uint32_t>(std::fabs(choice.threshold)), mask);
    if (found >= low && found <= high) return found;
    k = std::clamp(found, low, high);
  }
  kernels.top({.n = n, .k = k, .scores = scores.data(), .scratch = scratch, .mask = mask});
  return k;
}

}  // namespace lutra::ffn
