// Scalar gated activations. Relative error against double ≤ 1e-6 where |result| ≥ 1e-36; below that, exp may overflow
// and the result is 0.
#include <cmath>

#include "kernels/scalar/float_math.h"
#include "kernels/scalar/scalar.h"

namespace lutra::kernels::scalar {
namespace {

void silu_mul(const float* gate, const float* up, uint32_t n, float* out) noexcept {
  for (uint32_t i = 0; i < n; ++i) out[i] = gate[i] / (1.0f + exp_f32(-gate[i])) * up[i];
}

/// gelu_tanh(x) = x / (1 + exp(-z)), z = x·(a + b·x²), a = 2·sqrt(2/π), b = 0.044715·a.
/// The error of z becomes a relative error of exp(-z), so z is kept in two floats (Dekker products by fma, Knuth sum).
float gelu_f32(float x) {
  const float a_high = 0x1.988454p+0f, a_low = -0x1.857936p-25f;
  const float b_high = 0x1.2444f2p-4f, b_low = 0x1.49b16ap-29f;
  float c = 16.0f < x ? 16.0f : x;  // exp(±317) is already 0 or inf; keeps x² finite
  c = -16.0f > c ? -16.0f : c;
  const float square = c * c;
  const float square_low = std::fma(c, c, -square);
  const float product = b_high * square;
  const float product_low = std::fma(b_high, square, -product) + std::fma(b_high, square_low, b_low * square);
  const float sum = product + a_high;
  const float part = sum - product;
  const float sum_low = ((product - (sum - part)) + (a_high - part)) + (product_low + a_low);
  const float z = c * sum;
  const float z_low = std::fma(c, sum, -z) + c * sum_low;
  const float e = exp_f32(-z) * (1.0f - z_low);
  return x / (1.0f + e);
}

void gelu_mul(const float* gate, const float* up, uint32_t n, float* out) noexcept {
  for (uint32_t i = 0; i < n; ++i) out[i] = gelu_f32(gate[i]) * up[i];
}

}  // namespace

void fill_activation(KernelTable& table) noexcept {
  table.silu_mul = silu_mul;
  table.gelu_mul = gelu_mul;
}

}  // namespace lutra::kernels::scalar
