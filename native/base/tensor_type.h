// The tensor types a GGUF file can name: id, spelling, block geometry, and whether this engine computes with it.
// Source: the GGUF format's type table (ids are fixed by the format).
#pragma once

#include <cstdint>

namespace lutra::base {

/// Ids as GGUF stores them.
enum class TensorType : uint32_t {
  F32 = 0,
  F16 = 1,
  Q4_0 = 2,
  Q4_1 = 3,
  Q5_0 = 6,
  Q5_1 = 7,
  Q8_0 = 8,
  Q2_K = 10,
  Q3_K = 11,
  Q4_K = 12,
  Q5_K = 13,
  Q6_K = 14,
  IQ4_NL = 20,
  IQ4_XS = 23,
  BF16 = 30,
  TQ1_0 = 34,
  TQ2_0 = 35,
  MXFP4 = 39,
};

/// One more than the highest id a table indexed by type has to hold.
constexpr uint32_t kTensorTypeLimit = 40;

struct TensorTypeTraits {
  const char* name;         ///< as GGUF spells it; nullptr for an id the format never assigned or has removed
  uint32_t block_elements;  ///< elements a block covers
  uint32_t block_bytes;     ///< bytes a block takes in the file
  bool supported;           ///< this engine can compute with it
};

/// Traits of any id; `name == nullptr` for unknown ids (also those ≥ kTensorTypeLimit).
const TensorTypeTraits& tensor_type_traits(uint32_t id);
inline const TensorTypeTraits& tensor_type_traits(TensorType type) {
  return tensor_type_traits(static_cast<uint32_t>(type));
}

}  // namespace lutra::base
