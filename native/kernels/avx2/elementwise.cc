// AVX2 norm, rotation, and activation quantisation; bit-equal to scalar/elementwise.cc.
#include <immintrin.h>

#include "kernels/avx2/avx2.h"
#include "kernels/avx2/vector_math.h"

namespace lutra::kernels::avx2 {
namespace {

constexpr float kLargestCode = 32512.0f;
/// Just below this, 32512/max overflows: such a block is stored as zeros.
constexpr float kSmallestBlockMax = 1e-34f;

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

/// Stores four vectors of values in [-127, 127] as 32 bytes.
void store_bytes(const __m256i* values, int8_t* out) {
  const __m256i bytes =
      _mm256_packs_epi16(_mm256_packs_epi32(values[0], values[1]), _mm256_packs_epi32(values[2], values[3]));
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);  // packs work per 128-bit half
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_permutevar8x32_epi32(bytes, order));
}

void quantize_block(const float* x, int8_t* planes, float* d, float* s, float* s16) {
  __m256 v[4];
  for (int i = 0; i < 4; ++i) v[i] = _mm256_loadu_ps(x + 8 * i);
  // Magnitudes compare as integers, and NaN compares above infinity: one maximum finds both.
  const uint32_t max_bits = max_magnitude(v);
  const float max = __builtin_bit_cast(float, max_bits);
  const bool finite = max_bits < 0x7f800000u;
  if (!finite || max < kSmallestBlockMax) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(planes), _mm256_setzero_si256());
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(planes + kBlock), _mm256_setzero_si256());
    *d = *s = s16[0] = s16[1] = finite ? 0.0f : __builtin_nanf("");
    return;
  }
  const __m256 inverse = _mm256_set1_ps(kLargestCode / max);
  __m256i high[4], low[4], stored[4];
  for (int i = 0; i < 4; ++i) {
    // |x · inverse| ≤ 32512·(1 + 2^-22) < 32512.5, so |code| ≤ 32512 = 127 · 256 and high stays in [-127, 127].
    const __m256i code = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
    high[i] = _mm256_srai_epi32(_mm256_add_epi32(code, _mm256_set1_epi32(128)), 8);
    const __m256i shifted = _mm256_slli_epi32(high[i], 8);
    low[i] = _mm256_max_epi32(_mm256_sub_epi32(code, shifted), _mm256_set1_epi32(-127));
    stored[i] = _mm256_add_epi32(shifted, low[i]);
  }
  store_bytes(high, planes);
  store_bytes(low, planes + kBlock);
  const int32_t first = sum_of_8(_mm256_add_epi32(stored[0], stored[1]));
  const int32_t second = sum_of_8(_mm256_add_epi32(stored[2], stored[3]));
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
  table.quantize_planes = quantize_planes;
  table.rms_norm = rms_norm;
  table.add = add;
  table.scale = scale;
  table.rope_interleaved = rope_interleaved;
  table.rope_halves = rope_halves;
}

}  // namespace lutra::kernels::avx2
