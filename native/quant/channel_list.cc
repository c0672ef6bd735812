#include "quant/channel_list.h"

namespace lutra::quant {

namespace {

using kernels::kColumnTokens;

constexpr uint64_t kAlignment = 64;

uint64_t align(uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Of types whose scales cover half a unit, a quad may not cross it.
uint32_t granule_of(base::TensorType type) { return type == base::TensorType::Q6_K ? 16 : 32; }

}  // namespace

uint64_t ChannelList::bytes_needed(uint64_t max_k) {
  return 2 * (align(max_k / 16 * sizeof(uint32_t)) + align(max_k + kernels::kChannelQuad) +
              align(2 * max_k * kColumnTokens)) +
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
    quads.channels = take(max_k + kernels::kChannelQuad);
    quads.planes = reinterpret_cast<int8_t*>(take(stride_ * kColumnTokens));
  }
  union_ = reinterpret_cast<uint32_t*>(take(max_k / 32 * sizeof(uint32_t)));
}

uint32_t ChannelList::build(const kernels::KernelTable& kernels, const Activations& x, const uint32_t* masks,
                            const int32_t* sums) {
  kernels_ = &kernels.channels;
  x_ = &x;
  sums_ = sums;
  for (Quads& quads : quads_) quads.made = false;
  return kernels_->unite({.k = x.k(), .n = x.n(), .masks = masks, .d = x.planes(0).d, .mask = union_});
}

kernels::ChannelQuads ChannelList::quads(base::TensorType type) {
  const uint32_t granule = granule_of(type);
  Quads& quads = quads_[granule == 32 ? 0 : 1];
  if (!quads.made) {
    kernels_->list({
        .k = x_->k(),
        .granule = granule,
        .n = x_->n(),
        .mask = union_,
        .planes = x_->planes(0).planes,
        .ends = quads.ends,
        .channels = quads.channels,
        .quads = quads.planes,
        .stride = stride_,
    });
    quads.made = true;
  }
  return {granule, quads.ends, quads.channels, quads.planes, stride_};
}

}  // namespace lutra::quant
