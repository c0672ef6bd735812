// Gate and up of the same rows are computed by the same thread, activated and quantised before anything is stored.
#include "ffn/ffn.h"

namespace lutra::ffn {

void gate_dense(base::ThreadTeam& team, const kernels::KernelTable& kernels, quant::Activations& h,
                const GatedInput& input, quant::Activations& hidden) {
  hidden.begin(h.n(), input.gate->rows, input.tables);
  const auto activate = input.activation == Activation::kSilu ? kernels.silu_mul : kernels.gelu_mul;
  quant::multiply_tiles(team, kernels, h, *input.gate, input.up, [&](const quant::ResultTile& tile) {
    for (uint32_t i = 0; i < tile.n; ++i) {
      const uint64_t at = static_cast<uint64_t>(i) * tile.n_rows;
      const uint32_t t = tile.t_begin + i;
      float* const out = input.as_floats ? hidden.row(t) + tile.row_begin : tile.values + at;
      activate(tile.values + at, tile.second + at, tile.n_rows, out);
      if (!input.as_floats) hidden.quantize(kernels, t, tile.row_begin, tile.row_begin + tile.n_rows, out);
    }
  });
  if (!input.as_floats) hidden.mark_quantized();
}

}  // namespace lutra::ffn
