// AVX2 gated activations; bit-equal to scalar/activation.cc, which explains the arithmetic.
#include <immintrin.h>

#include "kernels/avx2/avx2.h"
#include "kernels/avx2/vector_math.h"

namespace lutra::kernels::avx2 {
namespace {

__m256 negate(__m256 x) { return _mm256_xor_ps(x, _mm256_set1_ps(-0.0f)); }

__m256 silu(__m256 x) { return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), exp_ps(negate(x)))); }

__m256 gelu(__m256 x) {
  const __m256 a_high = _mm256_set1_ps(0x1.988454p+0f), a_low = _mm256_set1_ps(-0x1.857936p-25f);
  const __m256 b_high = _mm256_set1_ps(0x1.2444f2p-4f), b_low = _mm256_set1_ps(0x1.49b16ap-29f);
  const __m256 one = _mm256_set1_ps(1.0f);
  const __m256 c = _mm256_max_ps(_mm256_set1_ps(-16.0f), _mm256_min_ps(_mm256_set1_ps(16.0f), x));
  const __m256 square = _mm256_mul_ps(c, c);
  const __m256 square_low = _mm256_fmsub_ps(c, c, square);
  const __m256 product = _mm256_mul_ps(b_high, square);
  const __m256 product_low = _mm256_add_ps(_mm256_fmsub_ps(b_high, square, product),
                                           _mm256_fmadd_ps(b_high, square_low, _mm256_mul_ps(b_low, square)));
  const __m256 sum = _mm256_add_ps(product, a_high);
  const __m256 part = _mm256_sub_ps(sum, product);
  const __m256 rounding = _mm256_add_ps(_mm256_sub_ps(product, _mm256_sub_ps(sum, part)), _mm256_sub_ps(a_high, part));
  const __m256 sum_low = _mm256_add_ps(rounding, _mm256_add_ps(product_low, a_low));
  const __m256 z = _mm256_mul_ps(c, sum);
  const __m256 z_low = _mm256_add_ps(_mm256_fmsub_ps(c, sum, z), _mm256_mul_ps(c, sum_low));
  const __m256 e = _mm256_mul_ps(exp_ps(negate(z)), _mm256_sub_ps(one, z_low));
  return _mm256_div_ps(x, _mm256_add_ps(one, e));
}

void silu_mul(const float* gate, const float* up, uint32_t n, float* out) noexcept {
  const uint32_t whole = n & ~7u, rest = n & 7u;
  for (uint32_t i = 0; i < whole; i += 8) {
    _mm256_storeu_ps(out + i, _mm256_mul_ps(silu(_mm256_loadu_ps(gate + i)), _mm256_loadu_ps(up + i)));
  }
  if (rest == 0) return;
  const __m256 activated = silu(load_partial(gate + whole, rest));
  store_partial(out + whole, rest, _mm256_mul_ps(activated, load_partial(up + whole, rest)));
}

void gelu_mul(const float* gate, const float* up, uint32_t n, float* out) noexcept {
  const uint32_t whole = n & ~7u, rest = n & 7u;
  for (uint32_t i = 0; i < whole; i += 8) {
    _mm256_storeu_ps(out + i, _mm256_mul_ps(gelu(_mm256_loadu_ps(gate + i)), _mm256_loadu_ps(up + i)));
  }
  if (rest == 0) return;
  const __m256 activated = gelu(load_partial(gate + whole, rest));
  store_partial(out + whole, rest, _mm256_mul_ps(activated, load_partial(up + whole, rest)));
}

}  // namespace

void fill_activation(KernelTable& table) noexcept {
  table.silu_mul = silu_mul;
  table.gelu_mul = gelu_mul;
}

}  // namespace lutra::kernels::avx2
