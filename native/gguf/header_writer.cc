#include "gguf/header_writer.h"

#include <cstring>

namespace lutra::gguf {

namespace {

// Magic and version, then two counts that finish() fills in.
constexpr size_t kTensorCountAt = 8;
constexpr size_t kEntryCountAt = 16;

uint64_t padded(uint64_t size, uint64_t alignment) { return (size + alignment - 1) / alignment * alignment; }

}  // namespace

HeaderWriter::HeaderWriter() {
  for (const char c : {'G', 'G', 'U', 'F'}) put(c);
  put<uint32_t>(3);
  put<uint64_t>(0);
  put<uint64_t>(0);
}

template <typename T>
void HeaderWriter::put(T value) {
  const size_t at = bytes_.size();
  bytes_.resize(at + sizeof value);
  std::memcpy(bytes_.data() + at, &value, sizeof value);
}

void HeaderWriter::put_text(std::string_view text) {
  put<uint64_t>(text.size());
  bytes_.insert(bytes_.end(), text.begin(), text.end());
}

void HeaderWriter::put_scalar(const Value& value) {
  switch (value.type) {
    case ValueType::kU8:
    case ValueType::kBool: return put(static_cast<uint8_t>(value.u));
    case ValueType::kI8: return put(static_cast<int8_t>(value.i));
    case ValueType::kU16: return put(static_cast<uint16_t>(value.u));
    case ValueType::kI16: return put(static_cast<int16_t>(value.i));
    case ValueType::kU32: return put(static_cast<uint32_t>(value.u));
    case ValueType::kI32: return put(static_cast<int32_t>(value.i));
    case ValueType::kU64: return put(value.u);
    case ValueType::kI64: return put(value.i);
    case ValueType::kF32: return put(static_cast<float>(value.f));
    case ValueType::kF64: return put(value.f);
    case ValueType::kString: return put_text(value.text);
    case ValueType::kArray: return put_array(value);
  }
}

void HeaderWriter::put_array(const Value& value) {
  put(static_cast<uint32_t>(value.element_type));
  put(value.count);
  bytes_.insert(bytes_.end(), value.bytes.begin(), value.bytes.end());
  for (const std::string& element : value.strings) put_text(element);
}

void HeaderWriter::add(std::string_view key, const Value& value) {
  put_text(key);
  put(static_cast<uint32_t>(value.type));
  put_scalar(value);
  ++n_entries_;
}

void HeaderWriter::add_unsigned(std::string_view key, uint32_t value) {
  Value entry{};
  entry.type = ValueType::kU32;
  entry.u = value;
  add(key, entry);
}

std::vector<uint8_t> HeaderWriter::finish(std::vector<TensorInfo>* tensors, uint32_t alignment) {
  uint64_t offset = 0;
  for (TensorInfo& tensor : *tensors) {
    put_text(tensor.name);
    put(tensor.n_dims);
    for (uint32_t i = 0; i < tensor.n_dims; ++i) put(tensor.dims[i]);
    put(tensor.type_id);
    put(offset);
    tensor.offset_bytes = offset;
    offset = padded(offset + tensor.size_bytes, alignment);
  }
  const uint64_t n_tensors = tensors->size();
  std::memcpy(bytes_.data() + kTensorCountAt, &n_tensors, sizeof n_tensors);
  std::memcpy(bytes_.data() + kEntryCountAt, &n_entries_, sizeof n_entries_);
  bytes_.resize(padded(bytes_.size(), alignment));
  for (TensorInfo& tensor : *tensors) tensor.offset_bytes += bytes_.size();
  return std::move(bytes_);
}

}  // namespace lutra::gguf
