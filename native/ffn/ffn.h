// The feed-forward branch: g = act(gate·h) ∘ (up·h), then down·g. `dense` reads all weights, `sparse` those of the
// channels in a list. Predictors (scores.h, core_neurons.h) rank channels, select.h picks among them.
#pragma once

#include <span>

#include "base/thread_team.h"
#include "kernels/kernels.h"
#include "quant/channel_list.h"
#include "quant/gathered_rows.h"
#include "quant/matrix.h"

namespace lutra::ffn {

enum class Activation { kSilu, kGelu };

/// What is kept of hidden: the codes of a product with quantised weights, the floats, or both.
enum class Hidden : uint8_t { kCodes, kFloats, kBoth };

struct GatedInput {
  const quant::Matrix* gate;  ///< [hidden_dim, dim]
  const quant::Matrix* up;    ///< [hidden_dim, dim]
  Activation activation;
  Hidden kept;
  kernels::LutSets tables;  ///< that the product with hidden asks for
  float* gates = nullptr;   ///< [n][hidden_dim] gets act(gate·h) alone, where wanted
};

/// hidden (begun here: rows of h, hidden_dim wide) = act(gate·h) ∘ (up·h).
void gate_dense(base::ThreadTeam& team, const kernels::KernelTable& kernels, quant::Activations& h,
                const GatedInput& input, quant::Activations& hidden);

/// The same over the channels of `channels`, which lists rows of h. Both matrices have columns.
void gate_sparse(base::ThreadTeam& team, const kernels::KernelTable& kernels, quant::ChannelList& channels,
                 const GatedInput& input, quant::Activations& hidden);

/// Products that are there already; `gate` is overwritten.
struct GatedValues {
  uint32_t n;
  float* gate;  ///< [n][hidden_dim]
  float* up;    ///< [n][hidden_dim]
};

/// The same from gate·h and up·h.
void gate_values(base::ThreadTeam& team, const kernels::KernelTable& kernels, const GatedValues& values,
                 const GatedInput& input, quant::Activations& hidden);

/// Some hidden channels alone: their rows of gate and up, and which they are, ascending.
struct CoreRows {
  const quant::GatheredPair* rows;
  std::span<const uint32_t> neurons;
};

/// The same for the hidden channels of `core`; the others are zeros. Floats only, which the activated gates are not.
void gate_core(base::ThreadTeam& team, const kernels::KernelTable& kernels, quant::Activations& h,
               const GatedInput& input, const CoreRows& core, quant::Activations& hidden);

}  // namespace lutra::ffn
