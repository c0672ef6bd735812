// Qwen 3 (dense): q and k normalised per head instead of Qwen 2's biases; half-split rotary pairs.
// Source: Qwen Team 2025, "Qwen3 Technical Report", §2.
#include "model/architecture.h"

namespace lutra::model {

Architecture qwen3_architecture() {
  return {
      .name = "qwen3",
      .layer =
          {
              {Op::kNorm, "attn_norm"},
              {Op::kQkv, "attn_q", "attn_k", "attn_v"},
              {Op::kPosition, "attn_q_norm", "attn_k_norm"},
              {Op::kAttend},
              {Op::kOutput, "attn_output"},
              {Op::kNorm, "ffn_norm"},
              {Op::kSwiglu, "ffn_gate", "ffn_up", "ffn_down"},
          },
      .needs_qkv_bias = false,
      .read_special =
          [](const gguf::File&, HyperParameters& hyper) {
            hyper.rope_style = RopeStyle::kHalves;
            return base::Status();
          },
  };
}

}  // namespace lutra::model
