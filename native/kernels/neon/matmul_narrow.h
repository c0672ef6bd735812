// Tiles of types whose sub-scales cover 16 elements (Q2_K, Q3_K, Q6_K): the sub-scales multiply integers, so a unit
// ends in one integer per row, column and plane:
//   H = Σ_h sc_h · Σ code·high, L likewise of low;  acc = fma(fma(float(H), 256, float(L)), d·d_a, acc)
// then the zero point (m_h = −zero · (d·sc_h)) or Q2_K's min (m_h = −(dmin·mn_h)), in float:
//   acc = fma(m_0, s16_a[0], acc); acc = fma(m_1, s16_a[1], acc)
// |H|, |L| < 2^25, so 256·H would leave int32: hence the float join.
#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "kernels/neon/matmul_codes.h"
#include "kernels/neon/matmul_sweep.h"

namespace lutra::kernels::neon {
namespace {

template <typename Dots, const PanelShape& kPanel, int kZero>
struct NarrowTile {
  static constexpr int kMaxTile = Dots::kMaxTile;
  static constexpr bool kHasMin = kPanel.min_offset != 0;

  /// The sub-scale of 16 elements and its float offset.
  struct Scale {
    int32x4_t scale;
    float32x4_t offset;
  };

  static LUTRA_INLINE Scale load_scale(const uint8_t* bytes, float32x4_t d, float32x4_t min) {
    if constexpr (kHasMin) {
      const int32x4_t both = load_unsigned(bytes);
      const float32x4_t mins = vcvtq_f32_s32(vshrq_n_s32(both, 4));
      return {vandq_s32(both, vdupq_n_s32(15)), vnegq_f32(vmulq_f32(min, mins))};
    }
    const int32x4_t scale = load_signed(bytes);
    return {scale, vmulq_n_f32(vmulq_f32(d, vcvtq_f32_s32(scale)), static_cast<float>(-kZero))};
  }

  /// Half h of unit u of the super-block at `super_block` against kColumns columns.
  template <int kColumns>
  static LUTRA_INLINE void half_unit(const uint8_t* super_block, uint32_t u, uint32_t h, const Columns& columns,
                                     float32x4_t* acc) {
    const float32x4_t d = load_halves(super_block + 8 * h);
    const float32x4_t min = kHasMin ? load_halves(super_block + kPanel.min_offset + 8 * h) : d;
    const uint8_t* scales = super_block + kPanel.scale_offset + 16 * u + 4 * h;
    const Scale first = load_scale(scales, d, min), second = load_scale(scales + 8, d, min);
    const uint8_t* bytes = super_block + kPanel.unit_offset + u * kPanel.unit_bytes + 16 * h;
    const typename Dots::template Narrow<kPanel.low, kPanel.high> dots(bytes, first.scale, second.scale);
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) {
      const float* s16 = columns.s16 + c * columns.blocks * 2;
      const PlaneSums sums = dots.planes(columns, c);
      const float32x4_t sum = vfmaq_n_f32(vcvtq_f32_s32(sums.low), vcvtq_f32_s32(sums.high), 256.0f);
      acc[c] = vfmaq_f32(acc[c], sum, vmulq_n_f32(d, columns.d[c * columns.blocks]));
      acc[c] = vfmaq_n_f32(acc[c], first.offset, s16[0]);
      acc[c] = settled(vfmaq_n_f32(acc[c], second.offset, s16[1]));
    }
  }

  template <int kColumns>
  static void run(const MatmulArgs& args, uint32_t panel, uint32_t column) {
    walk_units<NarrowTile, kPanel, kColumns>(args, panel, column);
  }
};

}  // namespace
}  // namespace lutra::kernels::neon
