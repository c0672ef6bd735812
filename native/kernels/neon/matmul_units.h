// Integer dot products of half a unit (4 rows × 32 k) with a column by sdot: four products of signed bytes added to
// each 32-bit lane, the activations of 4 k picked from a register of 16 by lane. No step saturates: a plane's sum is at
// most 32·128·127 = 520192 < 2^20, joined 256·high + low < 2^27; times sub-scales of up to 128, six-bit codes,
// 32·63·127·128 = 32.8e6 < 2^25.
#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "kernels/neon/matmul_codes.h"

namespace lutra::kernels::neon {
namespace {

/// The eight vectors of half a unit.
template <LowBits kLow, HighBits kHigh, Codes kCodes>
struct UnitCodes {
  int8x16_t v[8];

  LUTRA_INLINE explicit UnitCodes(const uint8_t* half_unit)
      : v{load_codes<kLow, kHigh, kCodes, 0>(half_unit), load_codes<kLow, kHigh, kCodes, 1>(half_unit),
          load_codes<kLow, kHigh, kCodes, 2>(half_unit), load_codes<kLow, kHigh, kCodes, 3>(half_unit),
          load_codes<kLow, kHigh, kCodes, 4>(half_unit), load_codes<kLow, kHigh, kCodes, 5>(half_unit),
          load_codes<kLow, kHigh, kCodes, 6>(half_unit), load_codes<kLow, kHigh, kCodes, 7>(half_unit)} {}
};

/// sum + the products of four vectors with 16 activations.
LUTRA_INLINE int32x4_t dot_four(int32x4_t sum, const int8x16_t* codes, int8x16_t a) {
  sum = vdotq_laneq_s32(sum, codes[0], a, 0);
  sum = vdotq_laneq_s32(sum, codes[1], a, 1);
  sum = vdotq_laneq_s32(sum, codes[2], a, 2);
  return vdotq_laneq_s32(sum, codes[3], a, 3);
}

/// The products of one unit, as the tiles of matmul_wide.h and matmul_narrow.h ask for them.
struct SdotDots {
  /// Columns of a tile: their sums of both halves (16 registers), one half's codes (8), two planes' activations (4) and
  /// sums (2) are 30 of the 32 registers.
  static constexpr int kMaxTile = 8;

  /// sum(c) = int32 Σ w·(256·high + low) of column c.
  template <LowBits kLow, HighBits kHigh, Codes kCodes>
  struct Wide {
    UnitCodes<kLow, kHigh, kCodes> codes;

    LUTRA_INLINE explicit Wide(const uint8_t* half_unit) : codes(half_unit) {}
    LUTRA_INLINE int32x4_t plane(const int8_t* a) const {
      return dot_four(dot_four(vdupq_n_s32(0), codes.v, vld1q_s8(a)), codes.v + 4, vld1q_s8(a + 16));
    }
    LUTRA_INLINE int32x4_t sum(const Columns& columns, int c) const {
      return vaddq_s32(vshlq_n_s32(plane(columns.high(c)), 8), plane(columns.low(c)));
    }
  };

  /// planes(c) = int32 scale_first · Σ_{k<16} code·a + scale_second · Σ_{k≥16} code·a of each plane.
  template <LowBits kLow, HighBits kHigh>
  struct Narrow {
    UnitCodes<kLow, kHigh, Codes::kUnsigned> codes;
    int32x4_t first, second;

    LUTRA_INLINE Narrow(const uint8_t* half_unit, int32x4_t scale_first, int32x4_t scale_second)
        : codes(half_unit), first(scale_first), second(scale_second) {}
    LUTRA_INLINE int32x4_t plane(const int8_t* a) const {
      const int32x4_t scaled = vmulq_s32(dot_four(vdupq_n_s32(0), codes.v, vld1q_s8(a)), first);
      return vmlaq_s32(scaled, dot_four(vdupq_n_s32(0), codes.v + 4, vld1q_s8(a + 16)), second);
    }
    LUTRA_INLINE PlaneSums planes(const Columns& columns, int c) const {
      return {plane(columns.high(c)), plane(columns.low(c))};
    }
  };
};

}  // namespace
}  // namespace lutra::kernels::neon
