// The K/V stores, the attention tile of eight lanes and the merge of tiles; bit-equal to scalar/attention.cc.
#include <immintrin.h>

#include "kernels/avx2/attention_lanes.h"
#include "kernels/avx2/attention_tile.h"
#include "kernels/avx2/avx2.h"

namespace lutra::kernels::avx2 {
namespace {

constexpr auto kF16 = static_cast<uint64_t>(KvType::kF16), kQ8_0 = static_cast<uint64_t>(KvType::kQ8_0);

__m128i to_f16(const float* x) { return _mm256_cvtps_ph(_mm256_loadu_ps(x), _MM_FROUND_TO_NEAREST_INT); }
uint16_t* halves_of(uint8_t* page) { return reinterpret_cast<uint16_t*>(page); }

void store_key_f16(const float* key, uint32_t head_dim, uint8_t* page, uint32_t slot) noexcept {
  alignas(16) uint16_t halves[8];
  for (uint32_t d = 0; d < head_dim; d += 8) {
    _mm_store_si128(reinterpret_cast<__m128i*>(halves), to_f16(key + d));
    for (uint32_t j = 0; j < 8; ++j) halves_of(page)[uint64_t{d + j} * kPagePositions + slot] = halves[j];
  }
}

void store_value_f16(const float* value, uint32_t head_dim, uint8_t* page, uint32_t slot) noexcept {
  uint16_t* row = halves_of(page) + uint64_t{slot} * head_dim;
  for (uint32_t d = 0; d < head_dim; d += 8) _mm_storeu_si128(reinterpret_cast<__m128i*>(row + d), to_f16(value + d));
}

/// The scale of a block of n ≤ 32 elements, n % 8 == 0. Magnitudes are compared as integers: the same order, and a NaN
/// is above all.
uint16_t scale_of(const float* x, uint32_t n) {
  __m256i largest = _mm256_setzero_si256();
  for (uint32_t i = 0; i < n; i += 8) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + i));
    largest = _mm256_max_epi32(largest, _mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff)));
  }
  __m128i quad = _mm_max_epi32(_mm256_castsi256_si128(largest), _mm256_extracti128_si256(largest, 1));
  quad = _mm_max_epi32(quad, _mm_shuffle_epi32(quad, 0x4E));
  quad = _mm_max_epi32(quad, _mm_shuffle_epi32(quad, 0xB1));
  const __m128 scale = _mm_div_ss(_mm_castsi128_ps(quad), _mm_set_ss(127.0f));
  const auto half = static_cast<uint16_t>(_mm_cvtsi128_si32(_mm_cvtps_ph(scale, _MM_FROUND_TO_NEAREST_INT)));
  return half < 0x7c00u ? half : uint16_t{0x7e00};
}

/// Calls write(d, eight codes in the low bytes) for every eight elements of a position; scales, block b at
/// scales[32 · b].
template <typename Write>
void store_q8_0(const float* x, uint32_t head_dim, uint16_t* scales, Write write) {
  for (uint32_t begin = 0; begin < head_dim; begin += kBlock) {
    const uint32_t end = head_dim - begin < kBlock ? head_dim : begin + kBlock;
    const uint16_t scale = scale_of(x + begin, end - begin);
    scales[begin] = scale;
    const bool zero = scale == 0 || scale >= 0x7c00u;
    const float wide = _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(scale)));
    const __m256 inverse = _mm256_set1_ps(zero ? 0.0f : 1.0f / wide);
    for (uint32_t d = begin; d < end; d += 8) {
      // |x · inverse| < 2^22 (max|x| ≤ 127.1 · scale, or the scale is denormal and within a factor of 2): it converts.
      const __m256i wide_codes = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + d), inverse));
      __m128i codes = _mm_packs_epi32(_mm256_castsi256_si128(wide_codes), _mm256_extracti128_si256(wide_codes, 1));
      codes = _mm_max_epi8(_mm_packs_epi16(codes, codes), _mm_set1_epi8(-127));
      write(d, zero ? _mm_setzero_si128() : codes);
    }
  }
}

void store_key_q8_0(const float* key, uint32_t head_dim, uint8_t* page, uint32_t slot) noexcept {
  uint16_t* scales = halves_of(page + uint64_t{kPagePositions} * head_dim) + slot;
  store_q8_0(key, head_dim, scales, [&](uint32_t d, __m128i codes) {
    auto bytes = static_cast<uint64_t>(_mm_cvtsi128_si64(codes));
    for (uint64_t j = d; j < d + 8; ++j, bytes >>= 8) page[j * kPagePositions + slot] = static_cast<uint8_t>(bytes);
  });
}

void store_value_q8_0(const float* value, uint32_t head_dim, uint8_t* page, uint32_t slot) noexcept {
  uint16_t* scales = halves_of(page + uint64_t{kPagePositions} * head_dim) + slot;
  uint8_t* row = page + uint64_t{slot} * head_dim;
  store_q8_0(value, head_dim, scales,
             [&](uint32_t d, __m128i codes) { _mm_storel_epi64(reinterpret_cast<__m128i*>(row + d), codes); });
}

void attention_merge(float* max, float* sum, float* acc, float tile_max, float tile_sum, const float* tile_acc,
                     uint32_t head_dim) noexcept {
  if (tile_max == -__builtin_inff()) return;
  if (*max == -__builtin_inff()) {
    *max = tile_max;
    *sum = tile_sum;
    for (uint32_t d = 0; d < head_dim; d += 8) _mm256_storeu_ps(acc + d, _mm256_loadu_ps(tile_acc + d));
    return;
  }
  const float larger = tile_max > *max || tile_max != tile_max ? tile_max : *max;
  const __m256 factors = exp_ps(_mm256_insertf128_ps(_mm256_set1_ps(*max - larger), _mm_set1_ps(tile_max - larger), 1));
  const __m256 factor = _mm256_permute2f128_ps(factors, factors, 0x00);
  const __m256 tile_factor = _mm256_permute2f128_ps(factors, factors, 0x11);
  *max = larger;
  *sum = _mm256_cvtss_f32(
      _mm256_fmadd_ps(_mm256_set1_ps(tile_sum), tile_factor, _mm256_mul_ps(_mm256_set1_ps(*sum), factor)));
  for (uint32_t d = 0; d < head_dim; d += 8) {
    const __m256 kept = _mm256_mul_ps(_mm256_loadu_ps(acc + d), factor);
    _mm256_storeu_ps(acc + d, _mm256_fmadd_ps(_mm256_loadu_ps(tile_acc + d), tile_factor, kept));
  }
}

}  // namespace

void fill_attention(KernelTable& table) noexcept {
  table.store_key[kF16] = store_key_f16;
  table.store_key[kQ8_0] = store_key_q8_0;
  table.store_value[kF16] = store_value_f16;
  table.store_value[kQ8_0] = store_value_q8_0;
  table.attention_tile[kF16] = attention_tile<Lanes8, HalfPages>;
  table.attention_tile[kQ8_0] = attention_tile<Lanes8, BytePages>;
  table.attention_merge = attention_merge;
}

}  // namespace lutra::kernels::avx2
