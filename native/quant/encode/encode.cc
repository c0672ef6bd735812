// The table of encoders by type, and rows of blocks (encode.h).
#include "quant/encode.h"

#include <cstring>

#include "quant/encode/encoders.h"
#include "quant/encode/to_half.h"
#include "quant/quant.h"

namespace lutra::quant {

namespace {

using base::TensorType;

struct Encoder {
  TensorType type;
  void (*encode)(TensorType type, const float* x, BlockCodes& out);  ///< nullptr: element by element
  float largest;
};

/// The largest finite fp16, times the largest level of a type (and the largest scale of a sub-block) where it has one.
constexpr float kLargestHalf = 65504;
constexpr float kLargestFloat = 3.4028234e38f;

constexpr Encoder kEncoders[] = {
    {TensorType::F32, nullptr, kLargestFloat},
    {TensorType::F16, nullptr, kLargestHalf},
    {TensorType::BF16, nullptr, 3.3895314e38f},
    {TensorType::Q4_0, encode_scaled_block, kLargestHalf * 7},
    {TensorType::Q5_0, encode_scaled_block, kLargestHalf * 15},
    {TensorType::Q8_0, encode_scaled_block, kLargestHalf * 127},
    {TensorType::IQ4_NL, encode_scaled_block, kLargestHalf * 113},
    {TensorType::Q4_1, encode_line_block, kLargestHalf},
    {TensorType::Q5_1, encode_line_block, kLargestHalf},
    {TensorType::Q3_K, encode_scaled_super_block, kLargestHalf * 3 * 31},
    {TensorType::Q6_K, encode_scaled_super_block, kLargestHalf * 31 * 127},
    {TensorType::IQ4_XS, encode_scaled_super_block, kLargestHalf * 113 * 31},
    {TensorType::Q2_K, encode_line_super_block, kLargestHalf * 15},
    {TensorType::Q4_K, encode_line_super_block, kLargestHalf * 63},
    {TensorType::Q5_K, encode_line_super_block, kLargestHalf * 63},
    {TensorType::TQ1_0, encode_ternary_block, kLargestHalf},
    {TensorType::TQ2_0, encode_ternary_block, kLargestHalf},
    {TensorType::MXFP4, encode_mxfp4_block, 0x1p60f},  // of more, the squares would overflow
};

const Encoder* encoder_of(TensorType type) {
  for (const Encoder& encoder : kEncoders) {
    if (encoder.type == type) return &encoder;
  }
  return nullptr;
}

void encode_elements(TensorType type, const float* values, uint64_t k, uint8_t* out) {
  if (k == 0) return;  // `values` may be null then, which memcpy may not be given
  if (type == TensorType::F32) {
    std::memcpy(out, values, k * sizeof(float));
    return;
  }
  for (uint64_t i = 0; i < k; ++i) {
    store_u16(out + 2 * i, type == TensorType::F16 ? float_to_half(values[i]) : float_to_bfloat(values[i]));
  }
}

}  // namespace

bool can_encode(TensorType type) { return encoder_of(type) != nullptr; }

float largest_encodable(TensorType type) {
  const Encoder* encoder = encoder_of(type);
  return encoder == nullptr ? 0.0f : encoder->largest;
}

void encode_row(TensorType type, const float* values, uint64_t k, uint8_t* out) {
  const Encoder* encoder = encoder_of(type);
  if (encoder == nullptr) return;
  if (encoder->encode == nullptr) return encode_elements(type, values, k, out);
  const base::TensorTypeTraits& traits = base::tensor_type_traits(type);
  BlockCodes codes;
  for (uint64_t i = 0; i + traits.block_elements <= k; i += traits.block_elements, out += traits.block_bytes) {
    encoder->encode(type, values + i, codes);
    write_gguf_block(type, codes, out);
  }
}

}  // namespace lutra::quant
