#include <algorithm>

#include "ffn/ffn.h"

namespace lutra::ffn {

void gate_dense(base::ThreadTeam& team, const kernels::KernelTable& kernels, quant::Activations& h,
                const GatedInput& input, quant::Activations& hidden) {
  const uint32_t hidden_dim = input.gate->rows;
  hidden.begin(h.n(), hidden_dim);
  // The gate is computed where its activated product will stand.
  const quant::Product products[] = {{input.gate, hidden.row(0), hidden_dim}, {input.up, input.up_out, hidden_dim}};
  quant::multiply(team, kernels, h, products);
  const auto activate = input.activation == Activation::kSilu ? kernels.silu_mul : kernels.gelu_mul;
  constexpr uint32_t kRows = 4;
  team.parallel_for((h.n() + kRows - 1) / kRows, [&](uint32_t chunk, int) {
    for (uint32_t t = chunk * kRows; t < std::min(h.n(), (chunk + 1) * kRows); ++t) {
      const uint64_t row = static_cast<uint64_t>(t) * hidden_dim;
      activate(hidden.row(t), input.up_out + row, hidden_dim, hidden.row(t));
    }
  });
}

}  // namespace lutra::ffn
