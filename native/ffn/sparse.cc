#include "ffn/gated_tile.h"
#include "quant/column_product.h"

namespace lutra::ffn {

void gate_sparse(base::ThreadTeam& team, const kernels::KernelTable& kernels, quant::ChannelList& channels,
                 const GatedInput& input, quant::Activations& hidden) {
  hidden.begin(channels.x().n(), input.gate->rows, input.tables);
  quant::multiply_column_tiles(team, kernels, channels, *input.gate, input.up, GatedTile(kernels, input, hidden));
  if (input.kept != Hidden::kFloats) hidden.mark_quantized();
}

}  // namespace lutra::ffn
