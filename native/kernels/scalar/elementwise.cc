// Scalar norm, rotation, and activation quantisation. Reductions keep eight partial sums (element i goes to lane i % 8,
// ascending) merged by merge_lanes, exactly as the SIMD twin does.
#include <bit>
#include <cfloat>
#include <cmath>
#include <limits>

#include "kernels/scalar/float_math.h"
#include "kernels/scalar/scalar.h"

namespace lutra::kernels::scalar {
namespace {

constexpr float kLargestCode = 32512.0f;
/// Just below this, 32512/max overflows: such a block is stored as zeros.
constexpr float kSmallestBlockMax = 1e-34f;

void quantize_block(const float* x, int8_t* planes, float* d, float* s, float* s16) {
  // Magnitudes compare as integers, and NaN compares above infinity: one maximum finds both.
  uint32_t max_bits = 0;
  for (uint32_t i = 0; i < kBlock; ++i) {
    const uint32_t magnitude = std::bit_cast<uint32_t>(x[i]) & 0x7fffffffu;
    max_bits = magnitude > max_bits ? magnitude : max_bits;
  }
  const float max = std::bit_cast<float>(max_bits);
  const bool finite = max_bits < 0x7f800000u;
  if (!finite || max < kSmallestBlockMax) {
    for (uint32_t i = 0; i < 2 * kBlock; ++i) planes[i] = 0;
    *d = *s = s16[0] = s16[1] = finite ? 0.0f : std::numeric_limits<float>::quiet_NaN();
    return;
  }
  const float inverse = kLargestCode / max;
  int32_t sums[2] = {0, 0};
  for (uint32_t i = 0; i < kBlock; ++i) {
    // |x · inverse| ≤ 32512·(1 + 2^-22) < 32512.5, so |code| ≤ 32512 = 127 · 256 and high stays in [-127, 127].
    const int32_t code = static_cast<int32_t>(std::nearbyint(x[i] * inverse));
    const int32_t high = (code + 128) >> 8;
    const int32_t rest = code - 256 * high;
    const int32_t low = rest < -127 ? -127 : rest;
    planes[i] = static_cast<int8_t>(high);
    planes[kBlock + i] = static_cast<int8_t>(low);
    sums[i / 16] += 256 * high + low;
  }
  *d = max / kLargestCode;
  *s = static_cast<float>(sums[0] + sums[1]) * *d;
  s16[0] = static_cast<float>(sums[0]) * *d;
  s16[1] = static_cast<float>(sums[1]) * *d;
}

void quantize_planes(const float* x, uint32_t k, int8_t* planes, float* d, float* s, float* s16) noexcept {
  for (uint64_t b = 0; b < k / kBlock; ++b) {
    quantize_block(x + b * kBlock, planes + 2 * b * kBlock, d + b, s + b, s16 + 2 * b);
  }
}

void rms_norm(const float* x, const float* weight, uint32_t n, float eps, float* out) noexcept {
  float lanes[8] = {};
  for (uint32_t i = 0; i < n; ++i) lanes[i % 8] = std::fma(x[i], x[i], lanes[i % 8]);
  const float mean = merge_lanes(lanes) / static_cast<float>(n);
  const float factor = 1.0f / std::sqrt(mean + eps);
  for (uint32_t i = 0; i < n; ++i) {
    const float scaled = x[i] * factor;
    out[i] = weight == nullptr ? scaled : scaled * weight[i];
  }
}

void add(float* x, const float* y, uint32_t n) noexcept {
  for (uint32_t i = 0; i < n; ++i) x[i] += y[i];
}

void scale(float* x, float factor, uint32_t n) noexcept {
  for (uint32_t i = 0; i < n; ++i) x[i] *= factor;
}

/// (a, b) → (a·cos - b·sin, a·sin + b·cos); the second product of each is fused.
void rotate(float& a, float& b, float cos, float sin) {
  const float rotated_a = std::fma(a, cos, -(b * sin));
  b = std::fma(b, cos, a * sin);
  a = rotated_a;
}

void rope_interleaved(float* head, const float* cos, const float* sin, uint32_t n_pairs) noexcept {
  for (uint32_t i = 0; i < n_pairs; ++i) rotate(head[2 * i], head[2 * i + 1], cos[i], sin[i]);
}

void rope_halves(float* head, const float* cos, const float* sin, uint32_t n_pairs) noexcept {
  for (uint32_t i = 0; i < n_pairs; ++i) rotate(head[i], head[i + n_pairs], cos[i], sin[i]);
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

}  // namespace lutra::kernels::scalar
