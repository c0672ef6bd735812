// What happens to gate and up of the same rows, by the thread that computed them, before anything is stored.
#pragma once

#include <algorithm>

#include "ffn/ffn.h"

namespace lutra::ffn {

class GatedTile {
 public:
  GatedTile(const kernels::KernelTable& kernels, const GatedInput& input, quant::Activations& hidden)
      : kernels_(kernels), input_(input), hidden_(hidden) {}

  void operator()(const quant::ResultTile& tile) const {
    const auto activate = input_.activation == Activation::kSilu ? kernels_.silu_mul : kernels_.gelu_mul;
    for (uint32_t i = 0; i < tile.n; ++i) {
      const uint64_t at = static_cast<uint64_t>(i) * tile.n_rows;
      const uint32_t t = tile.t_begin + i;
      float* const gate = tile.values + at;
      float* const out = input_.kept == Hidden::kCodes ? gate : hidden_.row(t) + tile.row_begin;
      if (input_.gates != nullptr) store_gates(activate, t, tile, gate);
      activate(gate, tile.second + at, tile.n_rows, out);
      if (input_.kept == Hidden::kFloats) continue;
      hidden_.quantize(kernels_, t, tile.row_begin, tile.row_begin + tile.n_rows, out);
    }
  }

 private:
  using Activate = void (*)(const float*, const float*, uint32_t, float*) noexcept;

  void store_gates(Activate activate, uint32_t t, const quant::ResultTile& tile, const float* gate) const {
    constexpr uint32_t kRun = 64;
    static constexpr struct Ones {
      float values[kRun];
      constexpr Ones() : values() { std::fill(values, values + kRun, 1.0f); }
    } kOnes;
    float* const gates = input_.gates + static_cast<uint64_t>(t) * hidden_.k() + tile.row_begin;
    for (uint32_t r = 0; r < tile.n_rows; r += kRun) {
      activate(gate + r, kOnes.values, std::min(kRun, tile.n_rows - r), gates + r);
    }
  }

  const kernels::KernelTable& kernels_;
  const GatedInput& input_;
  quant::Activations& hidden_;
};

}  // namespace lutra::ffn
