// 128-bit vectors of the lookup products (lut/half_sums.h). 4 int32 rows; four vectors of pairs hold 32 rows. Bytes of
// 16 and 32 bits are reinterpreted, so everything is little-endian.
#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "kernels/neon/matmul_codes.h"

namespace lutra::kernels::neon {
namespace {

struct LutLanes {
  using Bytes = uint8x16_t;
  using Rows = uint8x16x2_t;
  using Shorts = int16x8_t;
  using Partial = int32x4_t;
  using Ints = int32x4_t;
  using Floats = float32x4_t;
  static constexpr int kBytes = 16;
  static constexpr int kInts = 4;
  static constexpr int kPairVectors = 4;

  /// Vectors of nibble types taken at once: a table is loaded once for all, sums must fit 32 registers.
  static constexpr int nibble_vectors(int n_columns, int n_digits) { return n_columns * n_digits <= 6 ? 2 : 1; }

  static LUTRA_INLINE Bytes load(const uint8_t* bytes) { return vld1q_u8(bytes); }
  template <int kHalf>
  static LUTRA_INLINE Bytes nibbles(Bytes packed) {
    if constexpr (kHalf == 1) return vshrq_n_u8(packed, 4);
    return vandq_u8(packed, vdupq_n_u8(15));
  }
  static LUTRA_INLINE Bytes table(const uint8_t* entries) { return vld1q_u8(entries); }
  static LUTRA_INLINE Bytes lookup(Bytes table, Bytes index) { return vqtbl1q_u8(table, index); }
  static LUTRA_INLINE Bytes add_bytes(Bytes a, Bytes b) { return vaddq_u8(a, b); }

  static LUTRA_INLINE Rows load_rows(const uint8_t* bytes) { return {{vld1q_u8(bytes), vld1q_u8(bytes + 16)}}; }
  template <int kHalf>
  static LUTRA_INLINE Rows row_nibbles(Rows packed) {
    return {{nibbles<kHalf>(packed.val[0]), nibbles<kHalf>(packed.val[1])}};
  }
  static LUTRA_INLINE Rows lookup_rows(const uint8_t* entries, Rows index) {
    const Bytes from = table(entries);
    return {{vqtbl1q_u8(from, index.val[0]), vqtbl1q_u8(from, index.val[1])}};
  }
  static LUTRA_INLINE Rows add_rows(Rows a, Rows b) {
    return {{vaddq_u8(a.val[0], b.val[0]), vaddq_u8(a.val[1], b.val[1])}};
  }
  template <bool kSigned>
  static LUTRA_INLINE Shorts widened(Rows rows, int v) {
    const uint8x16_t both = rows.val[v / 2];
    const uint8x8_t eight = v % 2 == 0 ? vget_low_u8(both) : vget_high_u8(both);
    return kSigned ? vmovl_s8(vreinterpret_s8_u8(eight)) : vreinterpretq_s16_u16(vmovl_u8(eight));
  }

  /// Planes 0 and 1 of each 16-bit lane with weights kUnit and 2 kUnit, kUnit 1 or 4.
  template <bool kSigned, int kUnit>
  static LUTRA_INLINE Shorts joined(Bytes bytes) {
    const Shorts sum = joined_once<kSigned>(bytes);
    return kUnit == 1 ? sum : vshlq_n_s16(sum, 2);
  }
  static LUTRA_INLINE Shorts broadcast_short(int value) { return vdupq_n_s16(static_cast<int16_t>(value)); }
  static LUTRA_INLINE Shorts add_shorts(Shorts a, Shorts b) { return vaddq_s16(a, b); }
  static LUTRA_INLINE Shorts and_shorts(Shorts a, Shorts b) { return vandq_s16(a, b); }
  /// Left, or right (logical) when negative.
  template <int kShift>
  static LUTRA_INLINE Shorts shifted_shorts(Shorts a) {
    if constexpr (kShift < 0) return vreinterpretq_s16_u16(vshrq_n_u16(vreinterpretq_u16_s16(a), -kShift));
    return vshlq_n_s16(a, kShift);
  }

  static LUTRA_INLINE Partial no_partial() { return vdupq_n_s32(0); }
  /// Planes 0 to 3 of each 32-bit lane with weights kUnit, 2 kUnit, 4 kUnit and 8 kUnit.
  template <bool kSigned, int kUnit>
  static LUTRA_INLINE Partial add_planes(Partial sum, Bytes bytes) {
    const uint8x16_t weights = vreinterpretq_u8_u32(vdupq_n_u32(0x08040201 * kUnit));
    if constexpr (kSigned) return vdotq_s32(sum, vreinterpretq_s8_u8(bytes), vreinterpretq_s8_u8(weights));
    return vreinterpretq_s32_u32(vdotq_u32(vreinterpretq_u32_s32(sum), bytes, weights));
  }
  template <int kShift>
  static LUTRA_INLINE Ints ints(Partial sum) {
    return shifted<kShift>(sum);
  }

  static LUTRA_INLINE Ints broadcast_int(int32_t value) { return vdupq_n_s32(value); }
  static LUTRA_INLINE Ints add_ints(Ints a, Ints b) { return vaddq_s32(a, b); }
  template <int kShift>
  static LUTRA_INLINE Ints shifted(Ints a) {
    return vshlq_n_s32(a, kShift);
  }
  /// The lower (0) or upper (1) half of the 16-bit lanes.
  static LUTRA_INLINE Ints run_of_shorts(Shorts a, int half) {
    return vmovl_s16(half == 0 ? vget_low_s16(a) : vget_high_s16(a));
  }
  static LUTRA_INLINE Ints even_ints(Shorts a) { return vshrq_n_s32(vshlq_n_s32(vreinterpretq_s32_s16(a), 16), 16); }
  static LUTRA_INLINE Ints odd_ints(Shorts a) { return vshrq_n_s32(vreinterpretq_s32_s16(a), 16); }
  static LUTRA_INLINE Ints even_factors(Shorts a) { return even_ints(a); }
  static LUTRA_INLINE Ints odd_factors(Shorts a) { return odd_ints(a); }
  /// sum + even lanes times their factors.
  static LUTRA_INLINE Ints add_even(Ints sum, Shorts a, Ints factors) { return vmlaq_s32(sum, even_ints(a), factors); }
  static LUTRA_INLINE Ints add_odd(Ints sum, Shorts a, Ints factors) { return vmlaq_s32(sum, odd_ints(a), factors); }
  static LUTRA_INLINE Ints load_unsigned(const uint8_t* bytes) { return neon::load_unsigned(bytes); }

  static LUTRA_INLINE Floats load_halves(const uint8_t* bytes) { return neon::load_halves(bytes); }
  static LUTRA_INLINE Floats broadcast(float value) { return vdupq_n_f32(value); }
  static LUTRA_INLINE Floats floats(Ints a) { return vcvtq_f32_s32(a); }
  static LUTRA_INLINE Floats multiply(Floats a, Floats b) { return vmulq_f32(a, b); }
  static LUTRA_INLINE Floats fused(Floats a, Floats b, Floats sum) { return vfmaq_f32(sum, a, b); }
  static LUTRA_INLINE Floats negated(Floats a) { return vnegq_f32(a); }
  static LUTRA_INLINE void store(float* out, Floats a) { vst1q_f32(out, a); }

 private:
  template <bool kSigned>
  static LUTRA_INLINE Shorts joined_once(Bytes bytes) {
    if constexpr (kSigned) {
      const int16x8_t both = vreinterpretq_s16_u8(bytes);
      const int16x8_t first = vshrq_n_s16(vshlq_n_s16(both, 8), 8);
      return vaddq_s16(first, vshlq_n_s16(vshrq_n_s16(both, 8), 1));
    }
    const uint16x8_t both = vreinterpretq_u16_u8(bytes);
    const uint16x8_t second = vshlq_n_u16(vshrq_n_u16(both, 8), 1);
    return vreinterpretq_s16_u16(vaddq_u16(vandq_u16(both, vdupq_n_u16(255)), second));
  }
};

}  // namespace
}  // namespace lutra::kernels::neon
