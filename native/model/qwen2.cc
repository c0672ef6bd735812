// Qwen 2 and 2.5: LLaMA's layer with biases on q, k, v and half-split rotary pairs.
// Source: Qwen Team 2024, "Qwen2 Technical Report", §2.2.
#include "model/architecture.h"

namespace lutra::model {

Architecture qwen2_architecture() {
  return {
      .name = "qwen2",
      .layer =
          {
              {Op::kNorm, "attn_norm"},
              {Op::kQkv, "attn_q", "attn_k", "attn_v"},
              {Op::kPosition},
              {Op::kAttend},
              {Op::kOutput, "attn_output"},
              {Op::kNorm, "ffn_norm"},
              {Op::kSwiglu, "ffn_gate", "ffn_up", "ffn_down"},
          },
      .needs_qkv_bias = true,
      .read_special =
          [](const gguf::File&, HyperParameters& hyper) {
            hyper.rope_style = RopeStyle::kHalves;
            return base::Status();
          },
  };
}

}  // namespace lutra::model
