// What a model is, before any weight is read: its hyper-parameters and the steps of one layer.
//
// Each architecture is one file that returns an Architecture: how its metadata reads, and a list of layer steps in the
// order of the paper. The steps name the tensors they use; weights.cc binds exactly those, forward/ runs them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "gguf/gguf.h"

namespace lutra::model {

/// Which elements of a head rotate together.
enum class RopeStyle : uint8_t { kInterleaved, kHalves };

/// Rotation angles of position t: t · scale · base^(-2i/rope_dim) / factor[i].
struct RopeParameters {
  double base = 10000.0;
  double scale = 1.0;
};

struct HyperParameters {
  std::string architecture;
  std::string name;
  uint32_t n_layers = 0;
  uint32_t n_heads = 0;
  uint32_t n_kv_heads = 0;
  uint32_t head_dim = 0;
  uint32_t dim = 0;         ///< width of the residual stream
  uint32_t q_dim = 0;       ///< n_heads · head_dim
  uint32_t kv_dim = 0;      ///< n_kv_heads · head_dim
  uint32_t hidden_dim = 0;  ///< width of the feed-forward layer
  uint32_t vocab_size = 0;
  uint32_t context_length = 0;  ///< tokens the model was trained for
  const char* pooling = "";     ///< how a text's hidden states become one: "mean", "cls", "last"; empty: not named
  float rms_eps = 0;
  float embedding_scale = 1;
  float attention_scale = 0;  ///< factor on q·k
  RopeStyle rope_style = RopeStyle::kInterleaved;
  uint32_t rope_dim = 0;       ///< rotated elements of a head, even
  RopeParameters rope;         ///< of layers with full attention
  RopeParameters local_rope;   ///< of sliding-window layers
  uint32_t window = 0;         ///< positions a sliding layer sees, itself included; 0: no sliding layers
  uint32_t window_period = 0;  ///< every window_period-th layer has full attention, the others slide

  bool is_sliding(uint32_t layer) const {
    return window != 0 && window_period != 0 && (layer + 1) % window_period != 0;
  }
};

/// x is the residual stream [dim]. A step is as much as runs between two barriers of the thread team, or one token's
/// row-wise work: what could be a step of its own (an activation, a residual sum) is part of the product before it.
enum class Op : uint8_t {
  kNorm,      ///< h = rms_norm(x) · a
  kQkv,       ///< q, k, v = a·h, b·h, c·h
  kPosition,  ///< q = rms_norm(q) · a, k = rms_norm(k) · b, each head by itself, if named; q, k rotated; k, v cached
  kAttend,    ///< h = softmax(q·k) · v over what the layer sees
  kOutput,    ///< x += a·h, from q_dim back to dim; x += rms_norm(a·h) · b, if named
  kSwiglu,    ///< x += c·(silu(a·h) · (b·h)); with a norm's d: x += rms_norm(c·(…)) · d
  kGeglu,     ///< the same with gelu_tanh
};

/// One step of a layer. a to d are tensor names within the layer ("attn_q" is "blk.N.attn_q.weight").
struct LayerStep {
  Op op;
  const char* a = nullptr;
  const char* b = nullptr;
  const char* c = nullptr;
  const char* d = nullptr;
};

struct Architecture {
  std::string_view name;
  std::vector<LayerStep> layer;
  bool needs_qkv_bias;  ///< a missing bias of q, k, v is an error (elsewhere biases are used when the file has them)
  /// Reads what is special to this architecture, after the shared keys were read.
  base::Status (*read_special)(const gguf::File& file, HyperParameters& hyper);
};

Architecture llama_architecture();
Architecture gemma3_architecture();
Architecture qwen2_architecture();
Architecture qwen3_architecture();

/// The architecture a file names, or MODEL_UNSUPPORTED_ARCH listing those there are.
base::Result<Architecture> find_architecture(const gguf::File& file);

/// Reads and checks every hyper-parameter. MODEL_BAD_METADATA names the key; no later code divides by an unchecked
/// value.
base::Result<HyperParameters> read_hyper_parameters(const gguf::File& file, const Architecture& architecture);

}  // namespace lutra::model
