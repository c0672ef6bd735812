// Typed metadata look-ups, in one error wording.
#include <cmath>

#include "gguf/gguf.h"
#include "gguf/text.h"

namespace lutra::gguf {

namespace {

base::Status mismatch(std::string_view key, const std::string& expected, const std::string& found) {
  return {"MODEL_BAD_METADATA", "metadata " + quote(key) + ": expected " + expected + ", found " + found};
}

std::string described_type(const Value* value) {
  return value == nullptr ? "none" : std::string("type ") + value_type_name(value->type);
}

bool is_signed(ValueType type) {
  return type == ValueType::kI8 || type == ValueType::kI16 || type == ValueType::kI32 || type == ValueType::kI64;
}

bool is_unsigned(ValueType type) {
  return type == ValueType::kU8 || type == ValueType::kU16 || type == ValueType::kU32 || type == ValueType::kU64;
}

base::Result<uint64_t> to_unsigned(const Value* value, std::string_view key, uint64_t min, uint64_t max) {
  const auto expected = [&] { return "an integer from " + std::to_string(min) + " to " + std::to_string(max); };
  if (value == nullptr || (!is_signed(value->type) && !is_unsigned(value->type))) {
    return mismatch(key, expected(), described_type(value));
  }
  if (is_signed(value->type) && value->i < 0) return mismatch(key, expected(), std::to_string(value->i));
  if (value->u < min || value->u > max) return mismatch(key, expected(), std::to_string(value->u));
  return value->u;
}

base::Result<double> to_float(const Value* value, std::string_view key) {
  if (value == nullptr || (value->type != ValueType::kF32 && value->type != ValueType::kF64)) {
    return mismatch(key, "a float", described_type(value));
  }
  return value->f;
}

base::Result<std::string> to_string(const Value* value, std::string_view key) {
  if (value == nullptr || value->type != ValueType::kString) return mismatch(key, "a string", described_type(value));
  return value->text;
}

}  // namespace

base::Result<uint64_t> require_unsigned(const File& file, std::string_view key, uint64_t min, uint64_t max) {
  return to_unsigned(file.find(key), key, min, max);
}

base::Result<uint64_t> unsigned_or(const File& file, std::string_view key, uint64_t fallback, uint64_t min,
                                   uint64_t max) {
  const Value* value = file.find(key);
  if (value == nullptr) return fallback;
  return to_unsigned(value, key, min, max);
}

base::Result<double> require_float(const File& file, std::string_view key) { return to_float(file.find(key), key); }

base::Result<double> float_or(const File& file, std::string_view key, double fallback) {
  const Value* value = file.find(key);
  if (value == nullptr) return fallback;
  return to_float(value, key);
}

base::Result<bool> bool_or(const File& file, std::string_view key, bool fallback) {
  const Value* value = file.find(key);
  if (value == nullptr) return fallback;
  if (value->type != ValueType::kBool) return mismatch(key, "a bool", described_type(value));
  return value->u != 0;
}

base::Result<std::string> require_string(const File& file, std::string_view key) {
  return to_string(file.find(key), key);
}

base::Result<std::string> string_or(const File& file, std::string_view key, std::string_view fallback) {
  const Value* value = file.find(key);
  if (value == nullptr) return std::string(fallback);
  return to_string(value, key);
}

}  // namespace lutra::gguf
