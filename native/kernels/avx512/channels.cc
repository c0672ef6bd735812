// AVX-512 choosing of channels; equal to scalar/channels.cc. Lists are AVX2's.
#include <immintrin.h>

#include "kernels/avx2/channel_sweep.h"
#include "kernels/avx512/avx512.h"

namespace lutra::kernels::avx512 {
namespace {

void score(const float* x, const float* norms, uint32_t n, uint32_t* scores) noexcept {
  for (uint32_t i = 0; i < n; i += 16) {
    __m512 value = _mm512_loadu_ps(x + i);
    if (norms != nullptr) value = _mm512_mul_ps(value, _mm512_loadu_ps(norms + i));
    _mm512_storeu_ps(scores + i, _mm512_abs_ps(value));
  }
}

struct Path {
  static uint32_t high_keys(const uint32_t* scores, uint32_t n, uint16_t* keys) {
    __m512i sum = _mm512_setzero_si512();
    for (uint32_t i = 0; i < n; i += 32) {
      const __m512i a = _mm512_srli_epi32(_mm512_loadu_si512(scores + i), 16);
      const __m512i b = _mm512_srli_epi32(_mm512_loadu_si512(scores + i + 16), 16);
      _mm512_storeu_si512(keys + i, _mm512_packus_epi32(a, b));
      sum = _mm512_add_epi32(sum, _mm512_add_epi32(a, b));
    }
    return static_cast<uint32_t>(_mm512_reduce_add_epi32(sum));
  }

  static void low_keys(const uint32_t* scores, uint32_t n, uint32_t high, uint16_t* keys) {
    const __m512i wanted = _mm512_set1_epi32(static_cast<int>(high));
    const auto low = [wanted](__m512i score) {
      const __mmask16 is_wanted = _mm512_cmpeq_epi32_mask(_mm512_srli_epi32(score, 16), wanted);
      return _mm512_maskz_and_epi32(is_wanted, score, _mm512_set1_epi32(0xFFFF));
    };
    for (uint32_t i = 0; i < n; i += 32) {
      const __m512i a = low(_mm512_loadu_si512(scores + i)), b = low(_mm512_loadu_si512(scores + i + 16));
      _mm512_storeu_si512(keys + i, _mm512_packus_epi32(a, b));
    }
  }

  /// Lanes count to 2^17 / 32 = 2^12 at most.
  static uint32_t count_from(const uint16_t* keys, uint32_t n, uint32_t bound) {
    const __m512i least = _mm512_set1_epi16(static_cast<int16_t>(bound)), one = _mm512_set1_epi16(1);
    __m512i counts[4] = {};
    uint32_t i = 0;
    for (; i + 128 <= n; i += 128) {
#pragma GCC unroll 4
      for (uint32_t j = 0; j < 4; ++j) counts[j] = counted(keys + i + 32 * j, least, one, counts[j]);
    }
    for (; i < n; i += 32) counts[0] = counted(keys + i, least, one, counts[0]);
    const __m512i sum =
        _mm512_add_epi16(_mm512_add_epi16(counts[0], counts[1]), _mm512_add_epi16(counts[2], counts[3]));
    return static_cast<uint32_t>(_mm512_reduce_add_epi32(_mm512_madd_epi16(sum, one)));
  }

  static uint32_t word_from(const uint32_t* scores, uint32_t bound) {
    const __m512i least = _mm512_set1_epi32(static_cast<int>(bound));
    const __mmask16 low = _mm512_cmpge_epu32_mask(_mm512_loadu_si512(scores), least);
    const __mmask16 high = _mm512_cmpge_epu32_mask(_mm512_loadu_si512(scores + 16), least);
    return low | static_cast<uint32_t>(high) << 16;
  }

 private:
  static __m512i counted(const uint16_t* keys, __m512i least, __m512i one, __m512i counts) {
    return _mm512_mask_add_epi16(counts, _mm512_cmpge_epu16_mask(_mm512_loadu_si512(keys), least), counts, one);
  }

 public:
  static __m256i keep_block(int8_t* planes, uint32_t word) {
    const __mmask64 kept = word | static_cast<uint64_t>(word) << 32;
    const __m512i codes = _mm512_maskz_loadu_epi8(kept, planes);
    _mm512_storeu_si512(planes, codes);
    const __m512i sums = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), codes);
    return _mm256_add_epi32(_mm256_slli_epi32(_mm512_castsi512_si256(sums), 8), _mm512_extracti64x4_epi64(sums, 1));
  }

  static void keep_floats(float* floats, uint32_t word) {
    for (uint32_t i = 0; i < 2; ++i) {
      const auto kept = static_cast<__mmask16>(word >> 16 * i);
      _mm512_storeu_ps(floats + 16 * i, _mm512_maskz_loadu_ps(kept, floats + 16 * i));
    }
  }
};

}  // namespace

void fill_channels(KernelTable& table) noexcept {
  table.channels.score = score;
  table.channels.top = avx2::top_channels<Path>;
  table.channels.from = avx2::channels_from<Path>;
  table.channels.keep = avx2::keep_channels<Path>;
}

}  // namespace lutra::kernels::avx512
