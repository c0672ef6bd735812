// Reading packed codes and a tile of columns' activations. A layout vector, 8 rows × 4 consecutive k, is two registers
// of 4 rows, so a panel is worked on as two halves: the bytes of half h of every 32-byte vector start at 16·h, and
// `half_unit` below is the unit's address plus that.
#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "kernels/kernels.h"
#include "kernels/panel_layout.h"

#define LUTRA_INLINE inline __attribute__((always_inline))

namespace lutra::kernels::neon {
namespace {

/// Activations of a tile of columns at one unit. A block of planes is 64 bytes: 32 high, 32 low.
struct Columns {
  const int8_t* planes;
  const float* d;
  const float* s;
  const float* s16;
  uint64_t blocks;  ///< per column: the stride between columns

  LUTRA_INLINE Columns(const PlaneActivations& a, uint64_t column, uint64_t k)
      : planes(a.planes + column * 2 * k),
        d(a.d + column * (k / 32)),
        s(a.s + column * (k / 32)),
        s16(a.s16 + column * (k / 16)),
        blocks(k / 32) {}
  LUTRA_INLINE const int8_t* high(int c) const { return planes + static_cast<uint64_t>(c) * blocks * 64; }
  LUTRA_INLINE const int8_t* low(int c) const { return high(c) + 32; }
  LUTRA_INLINE void advance() {
    planes += 64;
    d += 1;
    s += 1;
    s16 += 2;
  }
};

/// Integer sums of the two planes, where they stay apart.
struct PlaneSums {
  int32x4_t high, low;
};

/// Keeps a column's sum where it is written. Left alone, GCC 12 interleaves the products of all columns and both halves
/// and spills their registers (Q4_K, 8 columns: 227 stack
/// accesses for 256 sdot against 130).
LUTRA_INLINE float32x4_t settled(float32x4_t value) {
#if defined(__GNUC__)
  asm volatile("" : "+w"(value));
#endif
  return value;
}

/// Four rows' fp16.
LUTRA_INLINE float32x4_t load_halves(const uint8_t* bytes) { return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(bytes))); }

/// Four rows' bytes; nothing past them is read.
LUTRA_INLINE uint8x8_t load_four_bytes(const uint8_t* bytes) {
  uint32_t word;
  __builtin_memcpy(&word, bytes, sizeof word);
  return vreinterpret_u8_u32(vdup_n_u32(word));
}
LUTRA_INLINE int32x4_t load_unsigned(const uint8_t* bytes) {
  return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(load_four_bytes(bytes)))));
}
LUTRA_INLINE int32x4_t load_signed(const uint8_t* bytes) {
  return vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u8(load_four_bytes(bytes)))));
}

/// d of four rows, those of half h, of a super-block.
template <RowScale kScale>
LUTRA_INLINE float32x4_t load_row_scales(const uint8_t* super_block, uint32_t h) {
  if constexpr (kScale == RowScale::kHalf) return load_halves(super_block + 8 * h);
  const uint32x4_t bits = vshlq_n_u32(vreinterpretq_u32_s32(load_unsigned(super_block + 4 * h)), 23);
  return vmulq_n_f32(vreinterpretq_f32_u32(vmaxq_u32(bits, vdupq_n_u32(kExponentZero))), 0.5f);
}

/// Bytes moved left by kShift bits, right when negative.
template <int kShift>
LUTRA_INLINE uint8x16_t shifted(uint8x16_t bytes) {
  if constexpr (kShift > 0) return vshlq_n_u8(bytes, kShift);
  if constexpr (kShift < 0) return vshrq_n_u8(bytes, -kShift);
  return bytes;
}

/// Codes, weights or table values of vector kJ of a unit.
template <LowBits kLow, HighBits kHigh, Codes kCodes, int kJ>
LUTRA_INLINE int8x16_t load_codes(const uint8_t* half_unit) {
  constexpr int kHighBytes = kHigh == HighBits::kNone ? 0 : kHigh == HighBits::kOne ? 32 : 64;
  constexpr int kLowWidth = kLow == LowBits::kNibble ? 4 : 2;
  const uint8_t* low = half_unit + kHighBytes;
  uint8x16_t codes;
  if constexpr (kLow == LowBits::kByte) {
    codes = vld1q_u8(low + 32 * kJ);
  } else if constexpr (kLow == LowBits::kNibble) {
    codes = vandq_u8(shifted<-4 * (kJ / 4)>(vld1q_u8(low + 32 * (kJ % 4))), vdupq_n_u8(15));
  } else {
    codes = vandq_u8(shifted<-2 * (kJ % 4)>(vld1q_u8(low + 32 * (kJ / 4))), vdupq_n_u8(3));
  }
  if constexpr (kHigh == HighBits::kOne) {
    const uint8x16_t bits = shifted<kLowWidth - kJ>(vld1q_u8(half_unit));
    codes = vorrq_u8(codes, vandq_u8(bits, vdupq_n_u8(1 << kLowWidth)));
  }
  if constexpr (kHigh == HighBits::kTwo) {
    const uint8x16_t bits = shifted<kLowWidth - 2 * (kJ % 4)>(vld1q_u8(half_unit + 32 * (kJ / 4)));
    codes = vorrq_u8(codes, vandq_u8(bits, vdupq_n_u8(3 << kLowWidth)));
  }
  if constexpr (is_table(kCodes)) {
    constexpr const int8_t* kTable = code_values(kCodes);
    return vqtbl1q_s8(vld1q_s8(kTable), codes);
  }
  return vreinterpretq_s8_u8(codes);
}

}  // namespace
}  // namespace lutra::kernels::neon
