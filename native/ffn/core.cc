#include <algorithm>

#include "ffn/ffn.h"

namespace lutra::ffn {

// Gathered row i is hidden channel neurons[i]: a tile's values go straight to their places.
void gate_core(base::ThreadTeam& team, const kernels::KernelTable& kernels, quant::Activations& h,
               const GatedInput& input, const CoreRows& core, quant::Activations& hidden) {
  hidden.begin(h.n(), input.gate->rows, input.tables);
  std::fill_n(hidden.row(0), static_cast<uint64_t>(h.n()) * input.gate->rows, 0.0f);
  const auto activate = input.activation == Activation::kSilu ? kernels.silu_mul : kernels.gelu_mul;
  const auto scatter = [&](const quant::ResultTile& tile) {
    for (uint32_t i = 0; i < tile.n; ++i) {
      float* const values = tile.values + static_cast<uint64_t>(i) * tile.n_rows;
      activate(values, tile.second + static_cast<uint64_t>(i) * tile.n_rows, tile.n_rows, values);
      float* const out = hidden.row(tile.t_begin + i);
      for (uint32_t r = 0; r < tile.n_rows; ++r) out[core.neurons[tile.row_begin + r]] = values[r];
    }
  };
  quant::multiply_tiles(team, kernels, h, core.rows->first, &core.rows->second, scatter);
}

}  // namespace lutra::ffn
