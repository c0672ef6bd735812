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

/// Below this, 127/max overflows: such a block (|x| < 3.8e-37) is stored as zeros.
constexpr float kSmallestBlockMax = 3.8e-37f;

void quantize_block(const float* x, int8_t* q, float* d, float* s, int16_t* sums16) {
  // Magnitudes compare as integers, and NaN compares above infinity: one maximum finds both.
  uint32_t max_bits = 0;
  for (uint32_t i = 0; i < kBlock; ++i) {
    const uint32_t magnitude = std::bit_cast<uint32_t>(x[i]) & 0x7fffffffu;
    max_bits = magnitude > max_bits ? magnitude : max_bits;
  }
  const float max = std::bit_cast<float>(max_bits);
  const bool finite = max_bits < 0x7f800000u;
  if (!finite || max < kSmallestBlockMax) {
    for (uint32_t i = 0; i < kBlock; ++i) q[i] = 0;
    sums16[0] = sums16[1] = 0;
    *d = *s = finite ? 0.0f : std::numeric_limits<float>::quiet_NaN();
    return;
  }
  const float inverse = 127.0f / max;
  int32_t sums[2] = {0, 0};
  for (uint32_t i = 0; i < kBlock; ++i) {
    // |x · inverse| ≤ 127·(1 + 2^-22) < 127.5, so the code stays in [-127, 127].
    const int32_t code = static_cast<int32_t>(std::nearbyint(x[i] * inverse));
    q[i] = static_cast<int8_t>(code);
    sums[i / 16] += code;
  }
  sums16[0] = static_cast<int16_t>(sums[0]);
  sums16[1] = static_cast<int16_t>(sums[1]);
  *d = max / 127.0f;
  *s = static_cast<float>(sums[0] + sums[1]) * *d;
}

void quantize_q8(const float* x, uint32_t k, int8_t* q, float* d, float* s, int16_t* sums16) noexcept {
  for (uint32_t b = 0; b < k / kBlock; ++b) {
    quantize_block(x + uint64_t{b} * kBlock, q + uint64_t{b} * kBlock, d + b, s + b, sums16 + 2 * uint64_t{b});
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
  table.quantize_q8 = quantize_q8;
  table.rms_norm = rms_norm;
  table.add = add;
  table.scale = scale;
  table.rope_interleaved = rope_interleaved;
  table.rope_halves = rope_halves;
}

}  // namespace lutra::kernels::scalar
