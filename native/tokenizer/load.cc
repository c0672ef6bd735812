// Reads the tokenizer.ggml.* metadata of a GGUF file into a VocabSource and builds the tokenizer. See tokenizer.h.
#include <cstring>
#include <utility>

#include "tokenizer/vocab.h"

namespace lutra::tokenizer {
namespace {

base::Status wrong_type(const char* key, const char* expected, const gguf::Value& found) {
  std::string type = gguf::value_type_name(found.type);
  if (found.type == gguf::ValueType::kArray)
    type = std::string("array of ") + gguf::value_type_name(found.element_type);
  return {"MODEL_BAD_METADATA", std::string(key) + ": expected " + expected + ", found " + type};
}

base::Status read_strings(const gguf::File& file, const char* key, std::span<const std::string>& out) {
  const gguf::Value* value = file.find(key);
  if (value == nullptr) return {};
  if (value->type != gguf::ValueType::kArray || value->element_type != gguf::ValueType::kString) {
    return wrong_type(key, "an array of strings", *value);
  }
  out = value->strings;
  return {};
}

/// Arrays of 4-byte elements of one of two types.
template <typename T>
base::Status read_numbers(const gguf::File& file, const char* key, gguf::ValueType type, gguf::ValueType other,
                          std::optional<std::vector<T>>& out) {
  static_assert(sizeof(T) == 4);
  const gguf::Value* value = file.find(key);
  if (value == nullptr) return {};
  if (value->type != gguf::ValueType::kArray || (value->element_type != type && value->element_type != other)) {
    return wrong_type(key, (std::string("an array of ") + gguf::value_type_name(type)).c_str(), *value);
  }
  out.emplace(value->bytes.size() / sizeof(T));
  std::memcpy(out->data(), value->bytes.data(), out->size() * sizeof(T));
  return {};
}

base::Status read_flag(const gguf::File& file, const char* key, std::optional<bool>& out) {
  if (file.find(key) == nullptr) return {};
  auto flag = gguf::bool_or(file, key, false);
  if (!flag.ok()) return flag.status();
  out = flag.value();
  return {};
}

base::Status read_id(const gguf::File& file, const char* key, std::optional<uint64_t>& out) {
  if (file.find(key) == nullptr) return {};
  // The bound is the vocabulary's size, which the tokenizer checks with a message of its own.
  auto id = gguf::require_unsigned(file, key, 0, UINT64_MAX);
  if (!id.ok()) return id.status();
  out = id.value();
  return {};
}

base::Status read_text(const gguf::File& file, const char* key, std::string& out) {
  auto text = gguf::string_or(file, key, "");
  if (!text.ok()) return text.status();
  out = text.value();
  return {};
}

base::Status read_source(const gguf::File& file, VocabSource& source) {
  using gguf::ValueType;
  if (file.find("tokenizer.ggml.model") == nullptr) {
    return {"TOKENIZER_UNSUPPORTED", "tokenizer.ggml.model: expected \"gpt2\" or \"llama\", found nothing"};
  }
  const std::pair<const char*, std::string*> texts[] = {
      {"tokenizer.ggml.model", &source.model}, {"tokenizer.ggml.pre", &source.pre}, {"general.name", &source.name}};
  for (const auto& [key, out] : texts) {
    if (auto status = read_text(file, key, *out); !status.ok()) return status;
  }
  if (auto status = read_strings(file, "tokenizer.ggml.tokens", source.tokens); !status.ok()) return status;
  if (auto status = read_strings(file, "tokenizer.ggml.merges", source.merges); !status.ok()) return status;
  if (auto status = read_numbers(file, "tokenizer.ggml.scores", ValueType::kF32, ValueType::kF32, source.scores);
      !status.ok()) {
    return status;
  }
  if (auto status = read_numbers(file, "tokenizer.ggml.token_type", ValueType::kI32, ValueType::kU32, source.types);
      !status.ok()) {
    return status;
  }
  const std::pair<const char*, std::optional<uint64_t>*> ids[] = {
      {"tokenizer.ggml.bos_token_id", &source.bos},     {"tokenizer.ggml.eos_token_id", &source.eos},
      {"tokenizer.ggml.eot_token_id", &source.eot},     {"tokenizer.ggml.eom_token_id", &source.eom},
      {"tokenizer.ggml.unknown_token_id", &source.unk}, {"tokenizer.ggml.padding_token_id", &source.pad},
  };
  for (const auto& [key, out] : ids) {
    if (auto status = read_id(file, key, *out); !status.ok()) return status;
  }
  const std::pair<const char*, std::optional<bool>*> flags[] = {
      {"tokenizer.ggml.add_bos_token", &source.add_bos},
      {"tokenizer.ggml.add_eos_token", &source.add_eos},
      {"tokenizer.ggml.add_space_prefix", &source.add_space_prefix}};
  for (const auto& [key, out] : flags) {
    if (auto status = read_flag(file, key, *out); !status.ok()) return status;
  }
  return {};
}

}  // namespace

base::Result<std::shared_ptr<const Tokenizer>> Tokenizer::load(const gguf::File& file) {
  VocabSource source;
  if (auto status = read_source(file, source); !status.ok()) return status;
  return build_tokenizer(source);
}

}  // namespace lutra::tokenizer
