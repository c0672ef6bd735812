// Choosing and listing channels, reference twin.
#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>

#include "kernels/column_kernels.h"
#include "kernels/kernels.h"
#include "kernels/scalar/scalar.h"

namespace lutra::kernels::scalar {
namespace {

void score(const float* x, const float* norms, uint32_t n, uint32_t* scores) noexcept {
  for (uint32_t i = 0; i < n; ++i) {
    scores[i] = std::bit_cast<uint32_t>(norms == nullptr ? x[i] : x[i] * norms[i]) & 0x7FFFFFFFu;
  }
}

// Bins of a histogram over the exponent and three bits of the mantissa: a bin of a thousand channels' scores rarely
// holds more than a few dozen, which are ranked one by one.
constexpr uint32_t kBinShift = 20;
constexpr uint32_t kBins = 1u << (31 - kBinShift);

// The k-th largest score, and how many that equal it are among the first k.
struct Cut {
  uint32_t score;
  uint32_t n_equal;
};

Cut cut_at(const TopChannelsArgs& args) {
  uint32_t counts[2][kBins] = {};  // two, so that neighbours in one bin do not wait for each other
  for (uint32_t i = 0; i < args.n; i += 2) {
    ++counts[0][args.scores[i] >> kBinShift];
    ++counts[1][args.scores[i + 1] >> kBinShift];
  }
  uint32_t bin = kBins - 1, above = 0;
  for (; above + counts[0][bin] + counts[1][bin] < args.k; --bin) above += counts[0][bin] + counts[1][bin];
  uint32_t* const ranked = args.scratch;
  uint32_t n = 0;
  for (uint32_t i = 0; i < args.n; ++i) {
    ranked[n] = args.scores[i];
    n += args.scores[i] >> kBinShift == bin ? 1u : 0u;
  }
  uint32_t* const last = ranked + (args.k - above - 1);
  std::nth_element(ranked, last, ranked + n, std::greater<>());
  const auto larger = std::count_if(ranked, last, [&](uint32_t other) { return other > *last; });
  return {*last, args.k - above - static_cast<uint32_t>(larger)};
}

void top(const TopChannelsArgs& args) noexcept {
  Cut cut = cut_at(args);
  for (uint32_t word = 0; word < args.n / 32; ++word) {
    const uint32_t* const at = args.scores + 32 * word;
    uint32_t kept = 0, equal = 0;
    for (uint32_t i = 0; i < 32; ++i) {
      kept |= (at[i] > cut.score ? 1u : 0u) << i;
      equal |= (at[i] == cut.score ? 1u : 0u) << i;
    }
    for (; equal != 0 && cut.n_equal != 0; equal &= equal - 1, --cut.n_equal) kept |= equal & -equal;
    args.mask[word] = kept;
  }
}

uint32_t from(const uint32_t* scores, uint32_t n, uint32_t least, uint32_t* mask) noexcept {
  uint32_t kept = 0;
  for (uint32_t word = 0; word < n / 32; ++word) {
    mask[word] = 0;
    for (uint32_t i = 0; i < 32; ++i) mask[word] |= (scores[32 * word + i] >= least ? 1u : 0u) << i;
    kept += static_cast<uint32_t>(std::popcount(mask[word]));
  }
  return kept;
}

void keep(const KeepChannelsArgs& args) noexcept {
  for (uint32_t b = 0; b < args.k / kBlock; ++b) {
    int8_t* const high = args.planes + 64ull * b;
    int8_t* const low = high + 32;
    int32_t halves[2] = {};
    for (uint32_t i = 0; i < kBlock; ++i) {
      const auto kept = static_cast<int8_t>(args.mask[b] >> i & 1);
      high[i] = static_cast<int8_t>(high[i] * kept);
      low[i] = static_cast<int8_t>(low[i] * kept);
      halves[i / 16] += 256 * high[i] + low[i];
      if (kept == 0 && args.floats != nullptr) args.floats[32ull * b + i] = 0;
    }
    args.sums[b] = halves[0] + halves[1];
    args.s[b] = static_cast<float>(args.sums[b]) * args.d[b];
    for (int h = 0; h < 2; ++h) args.s16[2ull * b + h] = static_cast<float>(halves[h]) * args.d[b];
  }
}

uint32_t unite(const UniteChannelsArgs& args) noexcept {
  const uint32_t words = args.k / 32;
  uint32_t listed = 0;
  for (uint32_t w = 0; w < words; ++w) {
    uint32_t any = 0;
    for (uint64_t t = 0; t < args.n; ++t) {
      any |= args.masks[t * words + w] | (std::isfinite(args.d[t * words + w]) ? 0u : 1u);
    }
    args.mask[w] = any;
    listed += static_cast<uint32_t>(std::popcount(any));
  }
  return listed;
}

void list(const ListChannelsArgs& args) noexcept {
  uint32_t n = 0;  // channels so far, fillers among them
  for (uint32_t g = 0; g < args.k / args.granule; ++g) {
    const uint32_t unit = g * args.granule / 32, shift = g * args.granule % 32;
    const uint32_t begin = n;
    uint32_t bits = args.granule == 32 ? args.mask[unit] : args.mask[unit] >> shift & 0xFFFFu;
    for (; bits != 0; bits &= bits - 1) {
      args.channels[n++] = static_cast<uint8_t>(shift + static_cast<uint32_t>(std::countr_zero(bits)));
    }
    const uint32_t real = n;
    for (; n % kChannelQuad != 0; ++n) args.channels[n] = args.channels[real - 1];
    args.ends[g] = n / kChannelQuad;
    for (uint64_t t = 0; t < args.n; ++t) {
      const int8_t* const high = args.planes + t * 2 * args.k + 64ull * unit;
      int8_t* const out = args.quads + t * args.stride;
      for (uint32_t i = begin; i < n; ++i) {
        int8_t* const quad = out + i / kChannelQuad * (2 * kChannelQuad) + i % kChannelQuad;
        const uint32_t channel = args.channels[i];
        quad[0] = i < real ? high[channel] : int8_t{0};
        quad[kChannelQuad] = i < real ? high[channel + 32] : int8_t{0};
      }
    }
  }
}

}  // namespace

void fill_channels(KernelTable& table) noexcept { table.channels = {score, top, from, keep, unite, list}; }

}  // namespace lutra::kernels::scalar
