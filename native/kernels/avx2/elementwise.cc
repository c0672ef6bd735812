// AVX2 norm, rotation, and activation quantisation; bit-equal to scalar/elementwise.cc.
#include <immintrin.h>

#include "kernels/avx2/avx2.h"
#include "kernels/avx2/vector_math.h"

namespace lutra::kernels::avx2 {
namespace {

/// Below this, 127/max overflows: such a block is stored as zeros.
constexpr float kSmallestBlockMax = 3.8e-37f;

uint32_t max_magnitude(const __m256* v) {
  const __m256i clear_sign = _mm256_set1_epi32(0x7fffffff);
  __m256i max = _mm256_setzero_si256();
  for (int i = 0; i < 4; ++i) max = _mm256_max_epu32(max, _mm256_and_si256(_mm256_castps_si256(v[i]), clear_sign));
  __m128i m = _mm_max_epu32(_mm256_castsi256_si128(max), _mm256_extracti128_si256(max, 1));
  m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4e));
  m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xb1));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(m));
}

int32_t sum_of_8(__m256i v) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

void quantize_block(const float* x, int8_t* q, float* d, float* s, int16_t* sums16) {
  __m256 v[4];
  for (int i = 0; i < 4; ++i) v[i] = _mm256_loadu_ps(x + 8 * i);
  // Magnitudes compare as integers, and NaN compares above infinity: one maximum finds both.
  const uint32_t max_bits = max_magnitude(v);
  const float max = __builtin_bit_cast(float, max_bits);
  const bool finite = max_bits < 0x7f800000u;
  if (!finite || max < kSmallestBlockMax) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(q), _mm256_setzero_si256());
    sums16[0] = sums16[1] = 0;
    *d = *s = finite ? 0.0f : __builtin_nanf("");
    return;
  }
  const __m256 inverse = _mm256_set1_ps(127.0f / max);
  __m256i codes[4];
  // |x · inverse| ≤ 127·(1 + 2^-22) < 127.5, so codes stay in [-127, 127] and the packs never saturate.
  for (int i = 0; i < 4; ++i) codes[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
  const int32_t low = sum_of_8(_mm256_add_epi32(codes[0], codes[1]));
  const int32_t high = sum_of_8(_mm256_add_epi32(codes[2], codes[3]));
  const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(codes[0], codes[1]),
                                           _mm256_packs_epi32(codes[2], codes[3]));
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);  // packs work per 128-bit half
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(q), _mm256_permutevar8x32_epi32(bytes, order));
  sums16[0] = static_cast<int16_t>(low);
  sums16[1] = static_cast<int16_t>(high);
  *d = max / 127.0f;
  *s = static_cast<float>(low + high) * *d;
}

void quantize_q8(const float* x, uint32_t k, int8_t* q, float* d, float* s, int16_t* sums16) noexcept {
  for (uint32_t b = 0; b < k / kBlock; ++b) {
    quantize_block(x + uint64_t{b} * kBlock, q + uint64_t{b} * kBlock, d + b, s + b, sums16 + 2 * uint64_t{b});
  }
}

void rms_norm(const float* x, const float* weight, uint32_t n, float eps, float* out) noexcept {
  const uint32_t whole = n & ~7u, rest = n & 7u;
  __m256 lanes = _mm256_setzero_ps();
  for (uint32_t i = 0; i < whole; i += 8) {
    const __m256 v = _mm256_loadu_ps(x + i);
    lanes = _mm256_fmadd_ps(v, v, lanes);
  }
  if (rest != 0) {
    const __m256 v = load_partial(x + whole, rest);
    lanes = _mm256_fmadd_ps(v, v, lanes);
  }
  const float mean = merge_lanes(lanes) / static_cast<float>(n);
  const float root = _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(mean + eps)));
  const __m256 factor = _mm256_set1_ps(1.0f / root);
  for (uint32_t i = 0; i < whole; i += 8) {
    __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), factor);
    if (weight != nullptr) v = _mm256_mul_ps(v, _mm256_loadu_ps(weight + i));
    _mm256_storeu_ps(out + i, v);
  }
  if (rest == 0) return;
  __m256 v = _mm256_mul_ps(load_partial(x + whole, rest), factor);
  if (weight != nullptr) v = _mm256_mul_ps(v, load_partial(weight + whole, rest));
  store_partial(out + whole, rest, v);
}

void add(float* x, const float* y, uint32_t n) noexcept {
  const uint32_t whole = n & ~7u, rest = n & 7u;
  for (uint32_t i = 0; i < whole; i += 8) {
    _mm256_storeu_ps(x + i, _mm256_add_ps(_mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i)));
  }
  if (rest == 0) return;
  store_partial(x + whole, rest, _mm256_add_ps(load_partial(x + whole, rest), load_partial(y + whole, rest)));
}

void scale(float* x, float factor, uint32_t n) noexcept {
  const uint32_t whole = n & ~7u, rest = n & 7u;
  const __m256 factors = _mm256_set1_ps(factor);
  for (uint32_t i = 0; i < whole; i += 8) _mm256_storeu_ps(x + i, _mm256_mul_ps(_mm256_loadu_ps(x + i), factors));
  if (rest == 0) return;
  store_partial(x + whole, rest, _mm256_mul_ps(load_partial(x + whole, rest), factors));
}

/// Four pairs [a b a b a b a b]; cos and sin hold four values.
__m256 rotate_pairs(__m256 pairs, __m128 cos, __m128 sin) {
  const __m256i twice = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
  const __m256 cos2 = _mm256_permutevar8x32_ps(_mm256_castps128_ps256(cos), twice);
  const __m256 sin2 = _mm256_permutevar8x32_ps(_mm256_castps128_ps256(sin), twice);
  const __m256 swapped = _mm256_permute_ps(pairs, 0xb1);
  return _mm256_fmaddsub_ps(pairs, cos2, _mm256_mul_ps(swapped, sin2));
}

void rope_interleaved(float* head, const float* cos, const float* sin, uint32_t n_pairs) noexcept {
  const uint32_t whole = n_pairs & ~3u, rest = n_pairs & 3u;
  for (uint32_t i = 0; i < whole; i += 4) {
    const __m256 pairs = _mm256_loadu_ps(head + 2 * i);
    _mm256_storeu_ps(head + 2 * i, rotate_pairs(pairs, _mm_loadu_ps(cos + i), _mm_loadu_ps(sin + i)));
  }
  if (rest == 0) return;
  const __m128i mask = _mm256_castsi256_si128(lane_mask(rest));
  const __m256 pairs = load_partial(head + 2 * whole, 2 * rest);
  const __m256 rotated = rotate_pairs(pairs, _mm_maskload_ps(cos + whole, mask), _mm_maskload_ps(sin + whole, mask));
  store_partial(head + 2 * whole, 2 * rest, rotated);
}

void rope_halves(float* head, const float* cos, const float* sin, uint32_t n_pairs) noexcept {
  float* other = head + n_pairs;
  for (uint32_t i = 0; i < n_pairs; i += 8) {
    const uint32_t lanes = n_pairs - i < 8 ? n_pairs - i : 8;
    const __m256 a = load_partial(head + i, lanes), b = load_partial(other + i, lanes);
    const __m256 c = load_partial(cos + i, lanes), s = load_partial(sin + i, lanes);
    store_partial(head + i, lanes, _mm256_fmsub_ps(a, c, _mm256_mul_ps(b, s)));
    store_partial(other + i, lanes, _mm256_fmadd_ps(b, c, _mm256_mul_ps(a, s)));
  }
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

}  // namespace lutra::kernels::avx2
