#include "ffn/gated_tile.h"

namespace lutra::ffn {

void gate_dense(base::ThreadTeam& team, const kernels::KernelTable& kernels, quant::Activations& h,
                const GatedInput& input, quant::Activations& hidden) {
  hidden.begin(h.n(), input.gate->rows, input.tables);
  quant::multiply_tiles(team, kernels, h, *input.gate, input.up, GatedTile(kernels, input, hidden));
  if (input.kept != Hidden::kFloats) hidden.mark_quantized();
}

}  // namespace lutra::ffn
