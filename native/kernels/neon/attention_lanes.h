// What NEON attention over tiles and over lists have in common. Internal linkage.
#pragma once

#include <arm_neon.h>

#include "kernels/kernels.h"
#include "kernels/neon/vector_math.h"

namespace lutra::kernels::neon {
namespace {

constexpr float kLowest = -__builtin_inff();

inline float32x4_t load_f16(const uint16_t* x) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(x))); }
inline const uint16_t* halves_of(const uint8_t* page) { return reinterpret_cast<const uint16_t*>(page); }

/// All-ones in the lanes whose position t + lane lies in [begin, end).
inline uint32x4_t visible_lanes(uint32_t t, uint32_t begin, uint32_t end) {
  constexpr uint32_t kLanes[4] = {0, 1, 2, 3};
  const uint32x4_t position = vaddq_u32(vdupq_n_u32(t), vld1q_u32(kLanes));
  return vandq_u32(vcgeq_u32(position, vdupq_n_u32(begin)), vcltq_u32(position, vdupq_n_u32(end)));
}

/// Turns the scores of [begin, end) into weights. False when nothing is left to add. Masked lanes may hold garbage:
/// they are replaced, never multiplied. The maximum is NaN when a visible score is: FMAX lets it pass.
inline bool weigh(float* scores, uint32_t begin, uint32_t end, float* max_out, float* sum_out) {
  const float32x4_t lowest = vdupq_n_f32(kLowest);
  float32x4_t max = lowest;
  for (uint32_t t = begin & ~3u; t < end; t += 4) {
    max = vmaxq_f32(max, vbslq_f32(visible_lanes(t, begin, end), vld1q_f32(scores + t), lowest));
  }
  *max_out = vmaxvq_f32(max) + 0.0f;  // one zero, whichever of the two came first
  *sum_out = 0.0f;
  if (*max_out == kLowest) return false;
  const float32x4_t shift = vdupq_n_f32(*max_out), zero = vdupq_n_f32(0.0f);
  float32x4_t sums[2] = {zero, zero};
  for (uint32_t t = begin & ~7u; t < end; t += 8) {
    for (uint32_t h = 0; h < 2; ++h) {
      float* four = scores + t + 4 * h;
      const float32x4_t weight = exp_ps(vsubq_f32(vld1q_f32(four), shift));
      const float32x4_t seen = vbslq_f32(visible_lanes(t + 4 * h, begin, end), weight, zero);
      vst1q_f32(four, seen);
      sums[h] = vaddq_f32(sums[h], seen);
    }
  }
  *sum_out = merge_lanes(sums[0], sums[1]);
  return true;
}

}  // namespace
}  // namespace lutra::kernels::neon
