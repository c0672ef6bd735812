#include "ffn/select.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>

namespace lutra::ffn {

namespace {

// Bins of a histogram over the exponent and three bits of the mantissa: a bin of a thousand channels' scores rarely
// holds more than a few dozen, which are ranked one by one.
constexpr uint32_t kBinShift = 20;
constexpr uint32_t kBins = 1u << (31 - kBinShift);

uint32_t bin_of(uint32_t score) { return (score & 0x7FFFFFFFu) >> kBinShift; }

// The k-th largest score, and how many that equal it are among the first k.
struct Cut {
  uint32_t score;
  uint32_t n_equal;
};

Cut cut_at(std::span<const uint32_t> scores, uint32_t k, uint32_t* scratch) {
  uint32_t counts[2][kBins] = {};  // two, so that neighbours in one bin do not wait for each other
  for (size_t i = 0; i + 1 < scores.size(); i += 2) {
    ++counts[0][bin_of(scores[i])];
    ++counts[1][bin_of(scores[i + 1])];
  }
  uint32_t bin = kBins - 1, above = 0;
  for (; above + counts[0][bin] + counts[1][bin] < k; --bin) above += counts[0][bin] + counts[1][bin];
  uint32_t n = 0;
  for (const uint32_t score : scores) {
    scratch[n] = score;
    n += bin_of(score) == bin ? 1u : 0u;
  }
  std::nth_element(scratch, scratch + (k - above - 1), scratch + n, std::greater<>());
  const uint32_t score = scratch[k - above - 1];
  const auto larger = std::count_if(scratch, scratch + n, [&](uint32_t other) { return other > score; });
  return {score, k - above - static_cast<uint32_t>(larger)};
}

// Channels at or above `score`; of those that equal it the first `n_equal`.
uint32_t write_mask(std::span<const uint32_t> scores, Cut cut, uint32_t* mask) {
  uint32_t kept = 0;
  for (size_t word = 0; word < scores.size() / 32; ++word) {
    const uint32_t* at = scores.data() + 32 * word;
    uint32_t above = 0, equal = 0;
    for (uint32_t i = 0; i < 32; ++i) {
      above |= (at[i] > cut.score ? 1u : 0u) << i;
      equal |= (at[i] == cut.score ? 1u : 0u) << i;
    }
    for (; equal != 0 && cut.n_equal != 0; equal &= equal - 1, --cut.n_equal) above |= equal & -equal;
    mask[word] = above;
    kept += static_cast<uint32_t>(std::popcount(above));
  }
  return kept;
}

uint32_t count_from(std::span<const uint32_t> scores, uint32_t least) {
  return static_cast<uint32_t>(std::count_if(scores.begin(), scores.end(), [&](uint32_t s) { return s >= least; }));
}

uint32_t share_of(size_t n, float share) {
  return std::clamp(static_cast<uint32_t>(std::lround(share * static_cast<float>(n))), 1u, static_cast<uint32_t>(n));
}

}  // namespace

uint32_t select_channels(std::span<const uint32_t> scores, const Choice& choice, uint32_t* mask, uint32_t* scratch) {
  uint32_t k = share_of(scores.size(), choice.keep);
  if (choice.selection != Selection::kTopK) {
    const uint32_t least = std::bit_cast<uint32_t>(choice.threshold);
    const uint32_t n = count_from(scores, least);
    const uint32_t low = choice.selection == Selection::kHybrid ? share_of(scores.size(), kHybridLow * choice.keep) : 1;
    const uint32_t high = choice.selection == Selection::kHybrid ? share_of(scores.size(), kHybridHigh * choice.keep)
                                                                 : static_cast<uint32_t>(scores.size());
    if (n >= low && n <= high) return write_mask(scores, {least, n}, mask);
    k = std::clamp(n, low, high);
  }
  return write_mask(scores, cut_at(scores, k, scratch), mask);
}

}  // namespace lutra::ffn
