// LLaMA and its kin (Llama 2 and 3, Mistral, SmolLM2): pre-norm, rotary positions, grouped-query attention, SwiGLU.
// Sources: Touvron et al. 2023 (LLaMA); Ainslie et al. 2023 (GQA); Llama 3's frequency factors come as
// rope_freqs.weight.
#include "model/architecture.h"

namespace lutra::model {

Architecture llama_architecture() {
  return {
      .name = "llama",
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
      .needs_qkv_bias = false,
      .read_special =
          [](const gguf::File&, HyperParameters& hyper) {
            hyper.rope_style = RopeStyle::kInterleaved;  // GGUF stores q and k permuted for adjacent pairs
            return base::Status();
          },
  };
}

}  // namespace lutra::model
