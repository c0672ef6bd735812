#include "quant/channel_list.h"

#include <bit>
#include <cmath>
#include <cstring>

namespace lutra::quant {

namespace {

using kernels::kChannelQuad;
using kernels::kColumnTokens;

constexpr uint64_t kAlignment = 64;
constexpr uint32_t kPlaneBytes = 2 * kChannelQuad;

uint64_t align(uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Of types whose scales cover half a unit, a quad may not cross it.
uint32_t granule_of(base::TensorType type) { return type == base::TensorType::Q6_K ? 16 : 32; }

}  // namespace

uint64_t ChannelList::bytes_needed(uint64_t max_k) {
  return 2 * (align(max_k / 16 * sizeof(uint32_t)) + align(max_k) + align(2 * max_k * kColumnTokens)) +
         align(max_k / 32 * sizeof(uint32_t));
}

ChannelList::ChannelList(uint8_t* arena, uint32_t max_k) : stride_(2ull * max_k) {
  const auto take = [&arena](uint64_t bytes) {
    uint8_t* const start = arena;
    arena += align(bytes);
    return start;
  };
  for (Quads& quads : quads_) {
    quads.ends = reinterpret_cast<uint32_t*>(take(max_k / 16 * sizeof(uint32_t)));
    quads.channels = take(max_k);
    quads.planes = reinterpret_cast<int8_t*>(take(stride_ * kColumnTokens));
  }
  union_ = reinterpret_cast<uint32_t*>(take(max_k / 32 * sizeof(uint32_t)));
}

void ChannelList::build(const Activations& x, const uint32_t* masks, const int32_t* sums) {
  x_ = &x;
  sums_ = sums;
  for (Quads& quads : quads_) quads.made = false;
  const uint32_t words = x.k() / 32;
  for (uint32_t w = 0; w < words; ++w) {
    uint32_t any = 0;
    for (uint32_t t = 0; t < x.n(); ++t) {
      any |= masks[t * words + w];
      if (!std::isfinite(x.planes(t).d[w])) any |= 1;
    }
    union_[w] = any;
  }
}

kernels::ChannelQuads ChannelList::quads(base::TensorType type) {
  const uint32_t granule = granule_of(type);
  Quads& quads = quads_[granule == 32 ? 0 : 1];
  if (!quads.made) make(granule, quads);
  quads.made = true;
  return {granule, quads.ends, quads.channels, quads.planes, stride_};
}

void ChannelList::make(uint32_t granule, Quads& quads) const {
  uint32_t n = 0;  // channels so far, fillers among them
  const uint32_t granules = x_->k() / granule;
  for (uint32_t g = 0; g < granules; ++g) {
    const uint32_t unit = g * granule / 32, shift = g * granule % 32;
    uint32_t bits = granule == 32 ? union_[unit] : union_[unit] >> shift & 0xFFFFu;
    for (; bits != 0; bits &= bits - 1) {
      quads.channels[n++] = static_cast<uint8_t>(shift + static_cast<uint32_t>(std::countr_zero(bits)));
    }
    const uint32_t real = n;
    for (; n % kChannelQuad != 0; ++n) quads.channels[n] = quads.channels[real - 1];
    const uint32_t begin = g == 0 ? 0 : quads.ends[g - 1] * kChannelQuad;
    quads.ends[g] = n / kChannelQuad;
    for (uint32_t t = 0; t < x_->n(); ++t) {
      const int8_t* const high = x_->planes(t).planes + 64ull * unit;
      int8_t* const out = quads.planes + t * stride_;
      for (uint32_t i = begin; i < n; ++i) {
        int8_t* const quad = out + i / kChannelQuad * kPlaneBytes + i % kChannelQuad;
        const uint32_t channel = quads.channels[i];
        quad[0] = i < real ? high[channel] : int8_t{0};
        quad[kChannelQuad] = i < real ? high[channel + 32] : int8_t{0};
      }
    }
  }
}

}  // namespace lutra::quant
