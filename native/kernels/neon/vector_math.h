// Float building blocks of the NEON path: the same operations in the same order as scalar/float_math.h, four at once.
// Everything is static: no symbol of this header may be shared with code built for older CPUs.
#pragma once

#include <arm_neon.h>

#include <cstdint>

namespace lutra::kernels::neon {

/// x[0..n), 1 ≤ n ≤ 4, `missing` above; nothing past n is touched.
static inline float32x4_t load_some(const float* x, uint32_t n, float missing = 0.0f) {
  if (n == 4) return vld1q_f32(x);
  float lanes[4] = {missing, missing, missing, missing};
  for (uint32_t i = 0; i < n; ++i) lanes[i] = x[i];
  return vld1q_f32(lanes);
}

static inline void store_some(float* x, uint32_t n, float32x4_t v) {
  if (n == 4) return vst1q_f32(x, v);
  float lanes[4];
  vst1q_f32(lanes, v);
  for (uint32_t i = 0; i < n; ++i) x[i] = lanes[i];
}

/// body(i, lanes) for [0, n) in steps of 4; the last step may have fewer lanes. Inlined twice, the first time with a
/// constant 4.
template <typename Body>
static inline __attribute__((always_inline)) void by_fours(uint32_t n, Body body) {
  const uint32_t whole = n & ~3u;
  for (uint32_t i = 0; i < whole; i += 4) body(i, 4u);
  if (n != whole) body(whole, n - whole);
}

/// See scalar::exp_f32. FMIN and FMAX let NaN pass.
static inline float32x4_t exp_ps(float32x4_t x) {
  x = vminq_f32(x, vdupq_n_f32(100.0f));
  x = vmaxq_f32(x, vdupq_n_f32(-110.0f));
  const float32x4_t magic = vdupq_n_f32(12582912.0f);
  const float32x4_t shifted = vfmaq_f32(magic, x, vdupq_n_f32(1.44269504088896341f));
  const float32x4_t n = vsubq_f32(shifted, magic);
  float32x4_t r = vfmaq_f32(x, n, vdupq_n_f32(-0.693359375f));
  r = vfmaq_f32(r, n, vdupq_n_f32(2.12194440e-4f));
  float32x4_t p = vdupq_n_f32(1.9875691500e-4f);
  p = vfmaq_f32(vdupq_n_f32(1.3981999507e-3f), p, r);
  p = vfmaq_f32(vdupq_n_f32(8.3334519073e-3f), p, r);
  p = vfmaq_f32(vdupq_n_f32(4.1665795894e-2f), p, r);
  p = vfmaq_f32(vdupq_n_f32(1.6666665459e-1f), p, r);
  p = vfmaq_f32(vdupq_n_f32(5.0000001201e-1f), p, r);
  p = vaddq_f32(vfmaq_f32(r, p, vmulq_f32(r, r)), vdupq_n_f32(1.0f));
  const int32x4_t exponent = vsubq_s32(vreinterpretq_s32_f32(shifted), vreinterpretq_s32_f32(magic));
  const int32x4_t half = vshrq_n_s32(exponent, 1);
  const int32x4_t bias = vdupq_n_s32(127);
  const int32x4_t scale_a = vshlq_n_s32(vaddq_s32(half, bias), 23);
  const int32x4_t scale_b = vshlq_n_s32(vaddq_s32(vsubq_s32(exponent, half), bias), 23);
  return vmulq_f32(vmulq_f32(p, vreinterpretq_f32_s32(scale_a)), vreinterpretq_f32_s32(scale_b));
}

/// Lanes 0–3 and 4–7: ((0+4)+(2+6)) + ((1+5)+(3+7)), as scalar::merge_lanes.
static inline float merge_lanes(float32x4_t first, float32x4_t second) {
  const float32x4_t quads = vaddq_f32(first, second);
  const float32x2_t pairs = vadd_f32(vget_low_f32(quads), vget_high_f32(quads));
  return vget_lane_f32(pairs, 0) + vget_lane_f32(pairs, 1);
}

}  // namespace lutra::kernels::neon
