#include <algorithm>
#include <cmath>
#include <iterator>

#include "model/architecture.h"

namespace lutra::model {

namespace {

using base::Result;
using base::Status;

constexpr uint32_t kMaxLayers = 1024;
constexpr uint32_t kMaxHeads = 1024;
constexpr uint32_t kMaxHeadDim = 512;
constexpr uint32_t kMaxGroup = 64;
constexpr uint32_t kMaxDim = 1u << 17;
constexpr uint32_t kMaxHidden = 1u << 20;
constexpr uint32_t kMaxContext = 1u << 27;

Status bad(const std::string& key, const std::string& what) { return {"MODEL_BAD_METADATA", key + ": " + what}; }

// Reads `key` of the architecture into `out`; keeps `out` when the key is absent and `required` is false.
Status read_size(const gguf::File& file, const std::string& key, uint32_t max, bool required, uint32_t& out) {
  auto value = required ? gguf::require_unsigned(file, key, 1, max) : gguf::unsigned_or(file, key, out, 1, max);
  if (!value.ok()) return value.status();
  out = static_cast<uint32_t>(value.value());
  return {};
}

Status read_sizes(const gguf::File& file, const std::string& prefix, HyperParameters& hyper) {
  struct Field {
    const char* key;
    uint32_t max;
    bool required;
    uint32_t* out;
  };
  hyper.n_kv_heads = 0;
  const Field shared[] = {
      {"block_count", kMaxLayers, true, &hyper.n_layers},
      {"embedding_length", kMaxDim, true, &hyper.dim},
      {"feed_forward_length", kMaxHidden, true, &hyper.hidden_dim},
      {"attention.head_count", kMaxHeads, true, &hyper.n_heads},
      {"context_length", kMaxContext, true, &hyper.context_length},
  };
  for (const Field& field : shared) {
    Status status = read_size(file, prefix + field.key, field.max, field.required, *field.out);
    if (!status.ok()) return status;
  }
  hyper.n_kv_heads = hyper.n_heads;
  Status status = read_size(file, prefix + "attention.head_count_kv", kMaxHeads, false, hyper.n_kv_heads);
  if (!status.ok()) return status;
  if (hyper.n_heads % hyper.n_kv_heads != 0) {
    return bad(prefix + "attention.head_count_kv", "expected a divisor of head_count (" +
                                                       std::to_string(hyper.n_heads) + "), got " +
                                                       std::to_string(hyper.n_kv_heads));
  }
  if (hyper.n_heads / hyper.n_kv_heads > kMaxGroup) {
    return bad(prefix + "attention.head_count_kv", "expected at most " + std::to_string(kMaxGroup) +
                                                       " query heads a K/V head, got " +
                                                       std::to_string(hyper.n_heads / hyper.n_kv_heads));
  }
  hyper.head_dim = hyper.dim / hyper.n_heads;
  const bool named = file.find(prefix + "attention.key_length") != nullptr;
  if (!named && hyper.dim % hyper.n_heads != 0) {
    return bad(prefix + "attention.head_count", "expected a divisor of embedding_length (" + std::to_string(hyper.dim) +
                                                    "), got " + std::to_string(hyper.n_heads));
  }
  status = read_size(file, prefix + "attention.key_length", kMaxHeadDim, false, hyper.head_dim);
  if (!status.ok()) return status;
  if (hyper.head_dim < 8 || hyper.head_dim > kMaxHeadDim || hyper.head_dim % 8 != 0) {
    return bad(prefix + "attention.key_length",
               "expected a head size that is a multiple of 8 in [8, 512], got " + std::to_string(hyper.head_dim));
  }
  uint32_t value_dim = hyper.head_dim;
  status = read_size(file, prefix + "attention.value_length", kMaxHeadDim, false, value_dim);
  if (!status.ok()) return status;
  if (value_dim != hyper.head_dim) {
    return {"MODEL_UNSUPPORTED_ARCH", prefix + "attention.value_length: expected key_length (" +
                                          std::to_string(hyper.head_dim) + "), got " + std::to_string(value_dim)};
  }
  hyper.q_dim = hyper.n_heads * hyper.head_dim;
  hyper.kv_dim = hyper.n_kv_heads * hyper.head_dim;
  return {};
}

Status check_positive(const std::string& key, double value) {
  if (std::isfinite(value) && value > 0) return {};
  return bad(key, "expected a positive finite number, got " + std::to_string(value));
}

// Linear position scaling is a factor on positions; other schemes change the frequencies and are refused by name.
Status read_rope(const gguf::File& file, const std::string& prefix, HyperParameters& hyper) {
  hyper.rope_dim = hyper.head_dim;
  Status status = read_size(file, prefix + "rope.dimension_count", kMaxHeadDim, false, hyper.rope_dim);
  if (!status.ok()) return status;
  if (hyper.rope_dim % 2 != 0 || hyper.rope_dim > hyper.head_dim) {
    return bad(prefix + "rope.dimension_count", "expected an even number up to the head size " +
                                                    std::to_string(hyper.head_dim) + ", got " +
                                                    std::to_string(hyper.rope_dim));
  }
  auto base = gguf::float_or(file, prefix + "rope.freq_base", 10000.0);
  if (!base.ok()) return base.status();
  status = check_positive(prefix + "rope.freq_base", base.value());
  if (!status.ok()) return status;
  auto scaling = gguf::string_or(file, prefix + "rope.scaling.type", "none");
  if (!scaling.ok()) return scaling.status();
  double scale = 1.0;
  if (scaling.value() == "linear") {
    auto factor = gguf::float_or(file, prefix + "rope.scaling.factor", 1.0);
    if (!factor.ok()) return factor.status();
    status = check_positive(prefix + "rope.scaling.factor", factor.value());
    if (!status.ok()) return status;
    scale = 1.0 / factor.value();
  } else if (scaling.value() != "none") {
    return {"MODEL_UNSUPPORTED_ARCH",
            prefix + "rope.scaling.type: expected none or linear, got \"" + scaling.value().substr(0, 64) + "\""};
  }
  hyper.rope = {.base = base.value(), .scale = scale};
  hyper.local_rope = hyper.rope;
  return {};
}

}  // namespace

Result<Architecture> find_architecture(const gguf::File& file) {
  auto name = gguf::require_string(file, "general.architecture");
  if (!name.ok()) return name.status();
  std::string known;
  for (Architecture (*make)() : {llama_architecture, gemma3_architecture, qwen2_architecture, qwen3_architecture}) {
    Architecture architecture = make();
    if (architecture.name == name.value()) return architecture;
    known += (known.empty() ? "" : ", ") + std::string(architecture.name);
  }
  return Status("MODEL_UNSUPPORTED_ARCH",
                "general.architecture: expected one of " + known + ", got \"" + name.value().substr(0, 64) + "\"");
}

Result<HyperParameters> read_hyper_parameters(const gguf::File& file, const Architecture& architecture) {
  HyperParameters hyper;
  hyper.architecture = architecture.name;
  const std::string prefix = hyper.architecture + ".";
  auto name = gguf::string_or(file, "general.name", "");
  if (!name.ok()) return name.status();
  hyper.name = name.value();
  Status status = read_sizes(file, prefix, hyper);
  if (!status.ok()) return status;

  auto experts = gguf::unsigned_or(file, prefix + "expert_count", 0, 0, UINT32_MAX);
  if (!experts.ok()) return experts.status();
  if (experts.value() != 0) {
    return Status("MODEL_UNSUPPORTED_ARCH",
                  prefix + "expert_count: expected 0 (mixture-of-experts models are not supported), got " +
                      std::to_string(experts.value()));
  }
  auto pooling = gguf::unsigned_or(file, prefix + "pooling_type", 0, 0, UINT32_MAX);
  if (!pooling.ok()) return pooling.status();
  constexpr const char* kPoolings[] = {"", "mean", "cls", "last"};  // 4, "rank", does not give a vector
  if (pooling.value() < std::size(kPoolings)) hyper.pooling = kPoolings[pooling.value()];
  auto eps = gguf::require_float(file, prefix + "attention.layer_norm_rms_epsilon");
  if (!eps.ok()) return eps.status();
  status = check_positive(prefix + "attention.layer_norm_rms_epsilon", eps.value());
  if (!status.ok()) return status;
  hyper.rms_eps = static_cast<float>(eps.value());
  hyper.attention_scale = 1.0f / std::sqrt(static_cast<float>(hyper.head_dim));

  status = read_rope(file, prefix, hyper);
  if (!status.ok()) return status;
  status = architecture.read_special(file, hyper);
  if (!status.ok()) return status;
  status = check_positive(prefix + "rope.freq_base_swa", hyper.local_rope.base);
  if (!status.ok()) return status;
  return hyper;
}

}  // namespace lutra::model
