// AVX-512 activation quantisation; bit-equal to scalar/elementwise.cc. A block of 32 is two vectors.
#include <immintrin.h>

#include "kernels/avx512/avx512.h"

namespace lutra::kernels::avx512 {
namespace {

constexpr float kLargestCode = 32512.0f;
/// Just below this, 32512/max overflows: such a block is stored as zeros.
constexpr float kSmallestBlockMax = 1e-34f;

struct Half {
  __m128i high, low;
  int32_t sum;  ///< of the codes as stored
};

/// Codes of 16 elements. |x · inverse| ≤ 32512·(1 + 2^-22) < 32512.5, so high stays in [-127, 127].
Half quantize_half(__m512 x, __m512 inverse) {
  const __m512i code = _mm512_cvtps_epi32(_mm512_mul_ps(x, inverse));
  const __m512i high = _mm512_srai_epi32(_mm512_add_epi32(code, _mm512_set1_epi32(128)), 8);
  const __m512i shifted = _mm512_slli_epi32(high, 8);
  const __m512i low = _mm512_max_epi32(_mm512_sub_epi32(code, shifted), _mm512_set1_epi32(-127));
  return {_mm512_cvtepi32_epi8(high), _mm512_cvtepi32_epi8(low),
          _mm512_reduce_add_epi32(_mm512_add_epi32(shifted, low))};
}

void store_bytes(__m128i bytes, int8_t* out) { _mm_storeu_si128(reinterpret_cast<__m128i*>(out), bytes); }

void quantize_planes(const float* x, uint32_t k, int8_t* planes, float* d, float* s, float* s16) noexcept {
  const __m512i clear_sign = _mm512_set1_epi32(0x7fffffff);
  for (uint32_t b = 0; b < k / kBlock; ++b, x += kBlock, planes += 2 * kBlock, s16 += 2) {
    const __m512 first = _mm512_loadu_ps(x), second = _mm512_loadu_ps(x + 16);
    // Magnitudes compare as integers, and NaN compares above infinity: one maximum finds both.
    const uint32_t max_bits =
        _mm512_reduce_max_epu32(_mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(first), clear_sign),
                                                 _mm512_and_si512(_mm512_castps_si512(second), clear_sign)));
    const float max = __builtin_bit_cast(float, max_bits);
    const bool finite = max_bits < 0x7f800000u;
    if (!finite || max < kSmallestBlockMax) {
      _mm512_storeu_si512(planes, _mm512_setzero_si512());
      d[b] = s[b] = s16[0] = s16[1] = finite ? 0.0f : __builtin_nanf("");
      continue;
    }
    const __m512 inverse = _mm512_set1_ps(kLargestCode / max);
    const Half left = quantize_half(first, inverse), right = quantize_half(second, inverse);
    store_bytes(left.high, planes);
    store_bytes(right.high, planes + 16);
    store_bytes(left.low, planes + kBlock);
    store_bytes(right.low, planes + kBlock + 16);
    d[b] = max / kLargestCode;
    s[b] = static_cast<float>(left.sum + right.sum) * d[b];
    s16[0] = static_cast<float>(left.sum) * d[b];
    s16[1] = static_cast<float>(right.sum) * d[b];
  }
}

}  // namespace

void fill_elementwise(KernelTable& table) noexcept { table.quantize_planes = quantize_planes; }

}  // namespace lutra::kernels::avx512
