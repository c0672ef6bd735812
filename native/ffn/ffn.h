// The feed-forward branch: g = act(gate·h) ∘ (up·h), then down·g. `dense` is the only implementation so far.
#pragma once

#include "base/thread_team.h"
#include "kernels/kernels.h"
#include "quant/matrix.h"

namespace lutra::ffn {

enum class Activation { kSilu, kGelu };

struct GatedInput {
  const quant::Matrix* gate;  ///< [hidden_dim, dim]
  const quant::Matrix* up;    ///< [hidden_dim, dim]
  Activation activation;
  bool as_floats;
  kernels::LutSets tables;  ///< that the product with hidden asks for
};

/// hidden (begun here: rows of h, hidden_dim wide) = act(gate·h) ∘ (up·h), as floats for a `down` that takes floats,
/// else quantised only.
void gate_dense(base::ThreadTeam& team, const kernels::KernelTable& kernels, quant::Activations& h,
                const GatedInput& input, quant::Activations& hidden);

}  // namespace lutra::ffn
