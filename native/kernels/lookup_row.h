// A key and value that are kept in 8 bits (LookupPackArgs): where they are in a page, and their scales. Internal
// linkage: each ISA path has its own copy.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/kernels.h"

namespace lutra::kernels {
namespace {

inline float row_scale_value(uint16_t stored) { return __builtin_bit_cast(float, uint32_t{stored} << 16); }

/// Of one position.
struct LookupRow {
  const int8_t* key;
  const int8_t* value;
  const uint16_t* scales;  ///< of the key, of the value
};

inline LookupRow lookup_row(const uint8_t* const* pages, uint32_t position, uint32_t head_dim) {
  const auto* page = reinterpret_cast<const int8_t*>(pages[position / kPagePositions]);
  const uint64_t slot = position % kPagePositions, half = uint64_t{kPagePositions} * head_dim;
  const int8_t* key = page + slot * head_dim;
  return {key, key + half, reinterpret_cast<const uint16_t*>(page + 2 * half) + 2 * slot};
}

struct RowScale {
  /// `largest`: the bits of the largest magnitude; a NaN's are above all others.
  explicit RowScale(uint32_t largest) {
    constexpr uint32_t kInfinity = 0x7f800000u;
    const float m = __builtin_bit_cast(float, largest);
    if (largest >= kInfinity) {
      stored = largest > kInfinity ? 0x7fc0 : 0x7f80;
    } else if (m >= 0x1p-100f) {
      stored = static_cast<uint16_t>((__builtin_bit_cast(uint32_t, m / 127.0f) + 0xffffu) >> 16);
      factor = 1.0f / row_scale_value(stored);
    }
  }
  int8_t code(float x) const {
    if (factor == 0.0f) return 0;
    const float code = std::nearbyint(x * factor);
    return static_cast<int8_t>(code < -127.0f ? -127.0f : code > 127.0f ? 127.0f : code);
  }

  uint16_t stored = 0;  ///< upper half of a float
  float factor = 0.0f;  ///< of an element to its code
};

}  // namespace
}  // namespace lutra::kernels
