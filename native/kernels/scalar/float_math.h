// Float building blocks of the scalar path: exp, half precision, and the 8-lane sum every reduction uses.
// The AVX2 twin (avx2/vector_math.h) does the same operations in the same order, so results are equal bit for bit.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace lutra::kernels::scalar {

/// exp(x), relative error ≤ 2e-7; exp(-inf) = 0, overflow gives inf, NaN stays NaN, denormal results are rounded once.
/// Cephes expf (S. Moshier): x = n·ln2 + r with |r| ≤ ln2/2, exp(r) by a polynomial of degree 6, scaled by 2^n in two
/// factors so that neither leaves the normal range. `n` comes from the bits of x·log2(e) + 1.5·2^23, which needs no
/// float-to-int conversion and is defined for NaN too.
static inline float exp_f32(float x) {
  const float high = 100.0f, low = -110.0f;  // exp(100) = inf, exp(-110) = 0 in float
  x = high < x ? high : x;
  x = low > x ? low : x;
  const float magic = 12582912.0f;
  const float shifted = std::fma(x, 1.44269504088896341f, magic);
  const float n = shifted - magic;
  float r = std::fma(n, -0.693359375f, x);
  r = std::fma(n, 2.12194440e-4f, r);
  float p = 1.9875691500e-4f;
  p = std::fma(p, r, 1.3981999507e-3f);
  p = std::fma(p, r, 8.3334519073e-3f);
  p = std::fma(p, r, 4.1665795894e-2f);
  p = std::fma(p, r, 1.6666665459e-1f);
  p = std::fma(p, r, 5.0000001201e-1f);
  p = std::fma(p, r * r, r) + 1.0f;
  const uint32_t exponent = std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(magic);
  const uint32_t half = static_cast<uint32_t>(static_cast<int32_t>(exponent) >> 1);
  const float scale_a = std::bit_cast<float>((half + 127u) << 23);
  const float scale_b = std::bit_cast<float>((exponent - half + 127u) << 23);
  return p * scale_a * scale_b;
}

/// The fixed merge order of eight partial sums: ((0+4)+(2+6)) + ((1+5)+(3+7)).
static inline float merge_lanes(const float* lanes) {
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

/// Round to nearest even; overflow gives inf, NaN stays a quiet NaN (IEEE 754-2008 binary16).
static inline uint16_t f16_from_f32(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // ≥ 65520 rounds to inf
  if (magnitude < 0x38800000u) {
    // Below 2^-14 the unit is 2^-24: adding 0.5 puts that unit at the last bit of a float, whose own rounding is ours.
    const float rounded = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(rounded) - 0x3f000000u));
  }
  const uint32_t even = (magnitude >> 13) & 1u;
  return static_cast<uint16_t>(sign | ((magnitude - 0x38000000u + 0xfffu + even) >> 13));
}

static inline float f32_from_f16(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t magnitude = half & 0x7fffu;
  if (magnitude >= 0x7c00u) {
    const uint32_t quiet = magnitude > 0x7c00u ? 0x400000u : 0u;
    return std::bit_cast<float>(sign | 0x7f800000u | quiet | ((magnitude & 0x3ffu) << 13));
  }
  if (magnitude < 0x400u) {
    const float value = static_cast<float>(magnitude) * 5.9604644775390625e-8f;  // 2^-24, exact
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(value));
  }
  return std::bit_cast<float>(sign | ((magnitude << 13) + 0x38000000u));
}

}  // namespace lutra::kernels::scalar
