// What lookup attention leaves out, put back as an estimate: each page's keys that were not chosen count with their
// estimated mass and the mean value of their page. Off by default: bench/results has what it does to quality.
#pragma once

#include <cstdint>
#include <span>

#include "attention/nomad_scratch.h"
#include "kernels/kernels.h"

namespace lutra::attention {

struct TailInput {
  uint32_t head_dim;
  std::span<const uint16_t> scores;    ///< of whole pages; a score is bias + step · U
  std::span<const uint32_t> selected;  ///< positions, ascending, that were read
  const uint8_t* const* v_pages;
  float step;
  float bias;
};

/// Adds the tail of a range to what its chosen keys gave. Estimates are noisy and exp of noise is biased, so they are
/// scaled by what the chosen keys show: Σ exp(score) / Σ exp(estimate) over them, where that is below 1.
void add_tail(const kernels::KernelTable& kernels, size_t kv_type, const TailInput& input, const Partial& out);

}  // namespace lutra::attention
