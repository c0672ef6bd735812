// Gemma 3 (text): norms before and after each branch, q and k normalised per head, GeGLU, and five sliding-window
// layers (local rope base) for each layer with full attention. Source: Gemma Team 2025, "Gemma 3 Technical Report", §2.
// GGUF stores norm weights with the paper's +1 folded in.
#include <cmath>

#include "model/architecture.h"

namespace lutra::model {

namespace {

constexpr uint32_t kLayersOf27B = 62;

base::Status read_special(const gguf::File& file, HyperParameters& hyper) {
  hyper.rope_style = RopeStyle::kHalves;
  hyper.embedding_scale = std::sqrt(static_cast<float>(hyper.dim));
  // The 27B model scales queries by its dim per head instead of head_dim.
  if (hyper.n_layers == kLayersOf27B) {
    hyper.attention_scale = 1.0f / std::sqrt(static_cast<float>(hyper.dim) / static_cast<float>(hyper.n_heads));
  }
  auto window = gguf::require_unsigned(file, "gemma3.attention.sliding_window", 1, 1u << 24);
  if (!window.ok()) return window.status();
  hyper.window = static_cast<uint32_t>(window.value());
  auto period = gguf::unsigned_or(file, "gemma3.attention.sliding_window_pattern", 6, 1, 1u << 16);
  if (!period.ok()) return period.status();
  hyper.window_period = static_cast<uint32_t>(period.value());
  auto local_base = gguf::float_or(file, "gemma3.rope.freq_base_swa", 10000.0);
  if (!local_base.ok()) return local_base.status();
  hyper.local_rope = {.base = local_base.value(), .scale = 1.0};
  return {};
}

}  // namespace

Architecture gemma3_architecture() {
  return {
      .name = "gemma3",
      .layer =
          {
              {Op::kNorm, "attn_norm"},
              {Op::kQkv, "attn_q", "attn_k", "attn_v"},
              {Op::kPosition, "attn_q_norm", "attn_k_norm"},
              {Op::kAttend},
              {Op::kOutput, "attn_output", "post_attention_norm"},
              {Op::kNorm, "ffn_norm"},
              {Op::kGeglu, "ffn_gate", "ffn_up", "ffn_down", "post_ffw_norm"},
          },
      .needs_qkv_bias = false,
      .read_special = read_special,
  };
}

}  // namespace lutra::model
