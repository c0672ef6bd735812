// Floats to fp16 and bf16 bits, to nearest with ties to even. For finite values; those beyond the largest become
// infinite.
#pragma once

#include <cstdint>
#include <cstring>

#include "quant/half.h"

namespace lutra::quant {

inline uint32_t float_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

/// Rounds off the low `n` bits of a magnitude.
inline uint32_t round_off(uint32_t bits, uint32_t n) { return (bits + (1u << (n - 1)) - 1 + ((bits >> n) & 1)) >> n; }

inline uint16_t float_to_half(float value) {
  const uint32_t bits = float_bits(value);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude >= 0x477FF000u) return sign | 0x7C00u;  // 65520, half way to 2^16
  // Below 2^-14 fp16 counts in steps of 2^-24: adding 2^-1, whose own last bit is 2^-24, rounds to one of them.
  if (magnitude < 0x38800000u)
    return static_cast<uint16_t>(sign | (float_bits(float_from_bits(magnitude) + 0.5f) & 0x7FFu));
  return static_cast<uint16_t>(sign | round_off(magnitude - 0x38000000u, 13));
}

inline uint16_t float_to_bfloat(float value) { return static_cast<uint16_t>(round_off(float_bits(value), 16)); }

/// Scales and offsets stay finite, whatever a fit came to.
inline uint16_t offset_to_half(float offset) {
  const uint16_t half = float_to_half(offset);
  return (half & 0x7FFFu) >= 0x7C00u ? (half & 0x8000u) | 0x7BFFu : half;
}

/// A scale that is not zero does not become zero either: the least fp16 keeps something of a block of tiny values.
inline uint16_t scale_to_half(float scale) {
  const uint16_t half = offset_to_half(scale);
  return (half & 0x7FFFu) == 0 && scale != 0 ? half | 1u : half;
}

}  // namespace lutra::quant
