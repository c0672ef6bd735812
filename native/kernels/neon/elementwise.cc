// NEON norm, rotation, and activation quantisation; bit-equal to scalar/elementwise.cc.
#include <arm_neon.h>

#include "kernels/neon/neon.h"
#include "kernels/neon/vector_math.h"

namespace lutra::kernels::neon {
namespace {

constexpr float kLargestCode = 32512.0f;
/// Just below this, 32512/max overflows: such a block is stored as zeros.
constexpr float kSmallestBlockMax = 1e-34f;

uint32_t max_magnitude(const float32x4_t* v) {
  uint32x4_t max = vdupq_n_u32(0);
  for (int i = 0; i < 8; ++i) max = vmaxq_u32(max, vandq_u32(vreinterpretq_u32_f32(v[i]), vdupq_n_u32(0x7fffffff)));
  return vmaxvq_u32(max);
}

/// Stores four vectors of values in [-127, 127] as 16 bytes.
void store_bytes(const int32x4_t* values, int8_t* out) {
  const int16x8_t first = vcombine_s16(vmovn_s32(values[0]), vmovn_s32(values[1]));
  const int16x8_t second = vcombine_s16(vmovn_s32(values[2]), vmovn_s32(values[3]));
  vst1q_s8(out, vcombine_s8(vmovn_s16(first), vmovn_s16(second)));
}

/// Quantises 16 elements; returns the sum of their stored codes.
int32_t quantize_half(const float32x4_t* v, float inverse, int8_t* planes) {
  int32x4_t high[4], low[4], sum = vdupq_n_s32(0);
  for (int i = 0; i < 4; ++i) {
    // |x · inverse| ≤ 32512·(1 + 2^-22) < 32512.5, so |code| ≤ 32512 = 127 · 256 and high stays in [-127, 127].
    const int32x4_t code = vcvtnq_s32_f32(vmulq_n_f32(v[i], inverse));
    high[i] = vrshrq_n_s32(code, 8);
    const int32x4_t shifted = vshlq_n_s32(high[i], 8);
    low[i] = vmaxq_s32(vsubq_s32(code, shifted), vdupq_n_s32(-127));
    sum = vaddq_s32(sum, vaddq_s32(shifted, low[i]));
  }
  store_bytes(high, planes);
  store_bytes(low, planes + kBlock);
  return vaddvq_s32(sum);
}

void quantize_block(const float* x, int8_t* planes, float* d, float* s, float* s16) {
  float32x4_t v[8];
  for (int i = 0; i < 8; ++i) v[i] = vld1q_f32(x + 4 * i);
  // Magnitudes compare as integers, and NaN compares above infinity: one maximum finds both.
  const uint32_t max_bits = max_magnitude(v);
  const float max = __builtin_bit_cast(float, max_bits);
  const bool finite = max_bits < 0x7f800000u;
  if (!finite || max < kSmallestBlockMax) {
    for (uint32_t i = 0; i < 2 * kBlock; i += 16) vst1q_s8(planes + i, vdupq_n_s8(0));
    *d = *s = s16[0] = s16[1] = finite ? 0.0f : __builtin_nanf("");
    return;
  }
  const float inverse = kLargestCode / max;
  const int32_t first = quantize_half(v, inverse, planes);
  const int32_t second = quantize_half(v + 4, inverse, planes + 16);
  *d = max / kLargestCode;
  *s = static_cast<float>(first + second) * *d;
  s16[0] = static_cast<float>(first) * *d;
  s16[1] = static_cast<float>(second) * *d;
}

void quantize_planes(const float* x, uint32_t k, int8_t* planes, float* d, float* s, float* s16) noexcept {
  for (uint64_t b = 0; b < k / kBlock; ++b) {
    quantize_block(x + b * kBlock, planes + 2 * b * kBlock, d + b, s + b, s16 + 2 * b);
  }
}

void rms_norm(const float* x, const float* weight, uint32_t n, float eps, float* out) noexcept {
  // Zeros in missing lanes add nothing: fma(0, 0, lane) is the lane.
  float32x4_t lanes[2] = {vdupq_n_f32(0.0f), vdupq_n_f32(0.0f)};
  by_fours(n, [&](uint32_t i, uint32_t count) {
    const float32x4_t v = load_some(x + i, count);
    lanes[i / 4 % 2] = vfmaq_f32(lanes[i / 4 % 2], v, v);
  });
  const float mean = merge_lanes(lanes[0], lanes[1]) / static_cast<float>(n);
  const float factor = 1.0f / __builtin_sqrtf(mean + eps);
  by_fours(n, [=](uint32_t i, uint32_t count) {
    float32x4_t v = vmulq_n_f32(load_some(x + i, count), factor);
    if (weight != nullptr) v = vmulq_f32(v, load_some(weight + i, count));
    store_some(out + i, count, v);
  });
}

void add(float* x, const float* y, uint32_t n) noexcept {
  by_fours(n, [=](uint32_t i, uint32_t count) {
    store_some(x + i, count, vaddq_f32(load_some(x + i, count), load_some(y + i, count)));
  });
}

void scale(float* x, float factor, uint32_t n) noexcept {
  by_fours(n,
           [=](uint32_t i, uint32_t count) { store_some(x + i, count, vmulq_n_f32(load_some(x + i, count), factor)); });
}

/// (a, b) → (a·cos - b·sin, a·sin + b·cos); the second product of each is fused.
inline void rotate(float32x4_t& a, float32x4_t& b, float32x4_t cos, float32x4_t sin) {
  const float32x4_t rotated_a = vfmaq_f32(vnegq_f32(vmulq_f32(b, sin)), a, cos);
  b = vfmaq_f32(vmulq_f32(a, sin), b, cos);
  a = rotated_a;
}

void rope_interleaved(float* head, const float* cos, const float* sin, uint32_t n_pairs) noexcept {
  const uint32_t whole = n_pairs & ~3u, rest = n_pairs & 3u;
  for (uint32_t i = 0; i < whole; i += 4) {
    float32x4x2_t pairs = vld2q_f32(head + 2 * i);
    rotate(pairs.val[0], pairs.val[1], vld1q_f32(cos + i), vld1q_f32(sin + i));
    vst2q_f32(head + 2 * i, pairs);
  }
  if (rest == 0) return;
  float lanes[8] = {};
  for (uint32_t i = 0; i < 2 * rest; ++i) lanes[i] = head[2 * whole + i];
  float32x4x2_t pairs = vld2q_f32(lanes);
  rotate(pairs.val[0], pairs.val[1], load_some(cos + whole, rest), load_some(sin + whole, rest));
  vst2q_f32(lanes, pairs);
  for (uint32_t i = 0; i < 2 * rest; ++i) head[2 * whole + i] = lanes[i];
}

void rope_halves(float* head, const float* cos, const float* sin, uint32_t n_pairs) noexcept {
  float* other = head + n_pairs;
  by_fours(n_pairs, [=](uint32_t i, uint32_t count) {
    float32x4_t a = load_some(head + i, count), b = load_some(other + i, count);
    rotate(a, b, load_some(cos + i, count), load_some(sin + i, count));
    store_some(head + i, count, a);
    store_some(other + i, count, b);
  });
}

}  // namespace

void fill_elementwise(KernelTable& table) noexcept {
  table.quantize_planes = quantize_planes;
  table.rms_norm = rms_norm;
  table.add = add;
  table.scale = scale;
  table.rope_interleaved = rope_interleaved;
  table.rope_halves = rope_halves;
}

}  // namespace lutra::kernels::neon
