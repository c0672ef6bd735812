// NEON gated activations; bit-equal to scalar/activation.cc, which explains the arithmetic.
#include <arm_neon.h>

#include "kernels/neon/neon.h"
#include "kernels/neon/vector_math.h"

namespace lutra::kernels::neon {
namespace {

float32x4_t silu(float32x4_t x) { return vdivq_f32(x, vaddq_f32(vdupq_n_f32(1.0f), exp_ps(vnegq_f32(x)))); }

/// a · b - c, one rounding.
float32x4_t multiply_subtract(float32x4_t a, float32x4_t b, float32x4_t c) { return vfmaq_f32(vnegq_f32(c), a, b); }

float32x4_t gelu(float32x4_t x) {
  const float32x4_t a_high = vdupq_n_f32(0x1.988454p+0f), a_low = vdupq_n_f32(-0x1.857936p-25f);
  const float32x4_t b_high = vdupq_n_f32(0x1.2444f2p-4f), b_low = vdupq_n_f32(0x1.49b16ap-29f);
  const float32x4_t one = vdupq_n_f32(1.0f);
  const float32x4_t c = vmaxq_f32(vdupq_n_f32(-16.0f), vminq_f32(vdupq_n_f32(16.0f), x));
  const float32x4_t square = vmulq_f32(c, c);
  const float32x4_t square_low = multiply_subtract(c, c, square);
  const float32x4_t product = vmulq_f32(b_high, square);
  const float32x4_t product_low =
      vaddq_f32(multiply_subtract(b_high, square, product), vfmaq_f32(vmulq_f32(b_low, square), b_high, square_low));
  const float32x4_t sum = vaddq_f32(product, a_high);
  const float32x4_t part = vsubq_f32(sum, product);
  const float32x4_t rounding = vaddq_f32(vsubq_f32(product, vsubq_f32(sum, part)), vsubq_f32(a_high, part));
  const float32x4_t sum_low = vaddq_f32(rounding, vaddq_f32(product_low, a_low));
  const float32x4_t z = vmulq_f32(c, sum);
  const float32x4_t z_low = vaddq_f32(multiply_subtract(c, sum, z), vmulq_f32(c, sum_low));
  const float32x4_t e = vmulq_f32(exp_ps(vnegq_f32(z)), vsubq_f32(one, z_low));
  return vdivq_f32(x, vaddq_f32(one, e));
}

void silu_mul(const float* gate, const float* up, uint32_t n, float* out) noexcept {
  by_fours(n, [=](uint32_t i, uint32_t count) {
    store_some(out + i, count, vmulq_f32(silu(load_some(gate + i, count)), load_some(up + i, count)));
  });
}

void gelu_mul(const float* gate, const float* up, uint32_t n, float* out) noexcept {
  by_fours(n, [=](uint32_t i, uint32_t count) {
    store_some(out + i, count, vmulq_f32(gelu(load_some(gate + i, count)), load_some(up + i, count)));
  });
}

}  // namespace

void fill_activation(KernelTable& table) noexcept {
  table.silu_mul = silu_mul;
  table.gelu_mul = gelu_mul;
}

}  // namespace lutra::kernels::neon
