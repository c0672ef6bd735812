#include "attention/nomad_tail.h"

#include <algorithm>
#include <cmath>

#include "attention/attention.h"

namespace lutra::attention {

using kernels::kPagePositions;

namespace {

/// Σ v over the 32 positions of a page: the weights are all exp(0).
void sum_values(const kernels::KernelTable& kernels, size_t kv_type, uint32_t head_dim, const uint8_t* page,
                float* sums) {
  const uint16_t zeros[kPagePositions] = {};
  const uint16_t* scores = zeros;
  const float nothing = 0;
  const uint32_t first = 0, last = kPagePositions;
  float max, sum;
  kernels.lookup.tile[kv_type]({.head_dim = head_dim,
                                .n_queries = 1,
                                .scores = &scores,
                                .steps = &nothing,
                                .biases = &nothing,
                                .first = &first,
                                .last = &last,
                                .tile_begin = 0,
                                .v_pages = &page,
                                .max_out = &max,
                                .sum_out = &sum,
                                .acc_out = sums});
}

}  // namespace

void add_tail(const kernels::KernelTable& kernels, size_t kv_type, const TailInput& input, const Partial& out) {
  const auto estimate = [&](size_t t) { return std::fma(static_cast<float>(input.scores[t]), input.step, input.bias); };
  double estimated = 0;
  for (const uint32_t t : input.selected) estimated += std::exp(double{estimate(t)} - out.max());
  const double correction = estimated > 0 ? std::min(1.0, out.sum() / estimated) : 1.0;
  size_t next = 0;
  for (size_t page = 0; page < input.scores.size() / kPagePositions; ++page) {
    float max = -INFINITY;
    double mass = 0;
    for (size_t t = page * kPagePositions; t < (page + 1) * kPagePositions; ++t) {
      if (next < input.selected.size() && input.selected[next] == t) {
        ++next;
        continue;
      }
      const float score = estimate(t);
      if (score > max) mass *= std::exp(double{max} - score);
      max = std::max(max, score);
      mass += std::exp(double{score} - max);
    }
    if (!(mass > 0)) continue;
    alignas(64) float mean[kMaxHeadDim];
    sum_values(kernels, kv_type, input.head_dim, input.v_pages[page], mean);
    const auto weight = static_cast<float>(mass * correction);
    kernels.scale(mean, weight / kPagePositions, input.head_dim);
    kernels.attention_merge(&out.max(), &out.sum(), out.acc(), max, weight, mean, input.head_dim);
  }
}

}  // namespace lutra::attention
