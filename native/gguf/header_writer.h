// The header of a new GGUF v3 file: what the reader reads, written. Metadata first, entry by entry, then the tensors.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "gguf/gguf.h"

namespace lutra::gguf {

class HeaderWriter {
 public:
  HeaderWriter();

  void add(std::string_view key, const Value& value);
  void add_unsigned(std::string_view key, uint32_t value);

  /// The tensor directory, and padding up to the first tensor. Names, dimensions, types and sizes are given;
  /// offset_bytes becomes each tensor's place in the new file, one after the other at multiples of `alignment`. Called
  /// once.
  std::vector<uint8_t> finish(std::vector<TensorInfo>* tensors, uint32_t alignment);

 private:
  template <typename T>
  void put(T value);
  void put_text(std::string_view text);
  void put_scalar(const Value& value);
  void put_array(const Value& value);

  std::vector<uint8_t> bytes_;
  uint64_t n_entries_ = 0;
};

}  // namespace lutra::gguf
