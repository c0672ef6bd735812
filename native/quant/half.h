// fp16, bf16 and E8M0 bits to float, exact for every input (subnormals, infinities, NaN payloads).
#pragma once

#include <cstdint>
#include <cstring>

namespace lutra::quant {

inline float float_from_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline float half_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 31u;
  const uint32_t mantissa = half & 0x3FFu;
  if (exponent == 31) return float_from_bits(sign | 0x7F800000u | (mantissa << 13));
  if (exponent != 0) return float_from_bits(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
  return sign != 0 ? -magnitude : magnitude;
}

/// 2^(e − 128), half of what the E8M0 byte e stands for: subnormal for 0 and 1, and 255, E8M0's NaN, gives 2^127.
inline float exponent_to_float(uint32_t e) { return float_from_bits(e < 2 ? 0x00200000u << e : (e - 1) << 23); }

inline float bfloat_to_float(uint16_t bits) { return float_from_bits(static_cast<uint32_t>(bits) << 16); }

inline uint16_t load_u16(const uint8_t* bytes) { return static_cast<uint16_t>(bytes[0] | (bytes[1] << 8)); }

inline void store_u16(uint8_t* bytes, uint16_t value) {
  bytes[0] = static_cast<uint8_t>(value);
  bytes[1] = static_cast<uint8_t>(value >> 8);
}

}  // namespace lutra::quant
