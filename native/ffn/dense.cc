#include "ffn/gated_tile.h"

namespace lutra::ffn {

void gate_dense(base::ThreadTeam& team, const kernels::KernelTable& kernels, quant::Activations& h,
                const GatedInput& input, quant::Activations& hidden) {
  hidden.begin(h.n(), input.gate->rows, input.tables);
  quant::multiply_tiles(team, kernels, h, *input.gate, input.up, GatedTile(kernels, input, hidden));
  if (input.kept != Hidden::kFloats) hidden.mark_quantized();
}

void gate_values(base::ThreadTeam& team, const kernels::KernelTable& kernels, const GatedValues& values,
                 const GatedInput& input, quant::Activations& hidden) {
  const uint32_t width = input.gate->rows;
  hidden.begin(values.n, width, input.tables);
  const GatedTile finish(kernels, input, hidden);
  team.parallel_for(values.n, [&](uint32_t t, int) {
    const uint64_t at = uint64_t{t} * width;
    finish({0, width, t, 1, values.gate + at, values.up + at});
  });
  if (input.kept != Hidden::kFloats) hidden.mark_quantized();
}

}  // namespace lutra::ffn
