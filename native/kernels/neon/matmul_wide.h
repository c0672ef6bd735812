// Tiles of types whose sub-scales cover 32 elements: a float scale w and offset m per row and unit, and
//   acc = fma(float(Σ code·(256·high + low)), w·d_a, acc); acc = fma(m, s_a, acc)
// unit by unit in ascending k, one accumulator lane per output.
#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "kernels/neon/matmul_codes.h"
#include "kernels/neon/matmul_sweep.h"

namespace lutra::kernels::neon {
namespace {

template <typename Dots, const PanelShape& kPanel, Codes kCodes, int kZero>
struct WideTile {
  static constexpr int kMaxTile = Dots::kMaxTile;
  static constexpr bool kHasMin = kPanel.min_offset != 0;
  static constexpr bool kHasOffset = kHasMin || kZero != 0;

  /// Half h of unit u of the super-block at `super_block` against kColumns columns.
  template <int kColumns>
  static LUTRA_INLINE void half_unit(const uint8_t* super_block, uint32_t u, uint32_t h, const Columns& columns,
                                     float32x4_t* acc) {
    const uint8_t* bytes = super_block + kPanel.unit_offset + u * kPanel.unit_bytes + 16 * h;
    const typename Dots::template Wide<kPanel.low, kPanel.high, kCodes> dots(bytes);
    const float32x4_t d = load_row_scales<kPanel.d>(super_block, h);
    const float32x4_t w = scale(super_block, u, h, d);
    const float32x4_t m = offset(super_block, u, h, d);
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) {
      const float32x4_t factor = vmulq_n_f32(w, columns.d[c * columns.blocks]);
      acc[c] = vfmaq_f32(acc[c], vcvtq_f32_s32(dots.sum(columns, c)), factor);
      if constexpr (kHasOffset) acc[c] = vfmaq_n_f32(acc[c], m, columns.s[c * columns.blocks]);
      acc[c] = settled(acc[c]);
    }
  }

  template <int kColumns>
  static void run(const MatmulArgs& args, uint32_t panel, uint32_t column) {
    walk_units<WideTile, kPanel, kColumns>(args, panel, column);
  }

 private:
  static LUTRA_INLINE float32x4_t scale(const uint8_t* super_block, uint32_t u, uint32_t h, float32x4_t d) {
    if constexpr (kPanel.scale_offset == 0) return d;
    const int32x4_t codes = load_signed(super_block + kPanel.scale_offset + 8 * u + 4 * h);
    return vmulq_f32(d, vcvtq_f32_s32(codes));
  }

  static LUTRA_INLINE float32x4_t offset(const uint8_t* super_block, uint32_t u, uint32_t h, float32x4_t d) {
    if constexpr (!kHasMin) return vmulq_n_f32(d, static_cast<float>(-kZero));  // exact: kZero is a power of two
    const float32x4_t min = load_halves(super_block + kPanel.min_offset + 8 * h);
    if constexpr (kPanel.mins_offset == 0) return min;
    const int32x4_t codes = load_unsigned(super_block + kPanel.mins_offset + 8 * u + 4 * h);
    return vnegq_f32(vmulq_f32(min, vcvtq_f32_s32(codes)));
  }
};

}  // namespace
}  // namespace lutra::kernels::neon
