// Products with column strips, AVX-512: vpdpbusd of codes with a broadcast quad of each plane, on 256-bit vectors, of
// which a strip of 64 rows fills eight.
#include "kernels/avx2/column_sweep.h"
#include "kernels/avx512/avx512.h"

namespace lutra::kernels::avx512 {
namespace {

using avx2::ColumnQuads;

struct VnniColumns {
  static constexpr int kMaxTokens = 4;
  /// Thirty-two registers: up to twenty-four of them sums. Where scales cover 16 channels, there are two sets.
  static constexpr int vectors(const ColumnShape& shape, int tokens) {
    if (shape.scale_halves == 2) return tokens == 1 ? 4 : 2;
    return tokens == 1 ? 8 : tokens == 4 ? 2 : 4;
  }

  static LUTRA_INLINE __m256i add_fifth(__m256i codes, const uint8_t* word) {
    __mmask32 mask;
    __builtin_memcpy(&mask, word, sizeof mask);
    return _mm256_mask_add_epi8(codes, mask, codes, _mm256_set1_epi8(16));
  }

  /// 256 · |high| + |low| ≤ 32 · 255 · 32639 < 2^28.
  template <const ColumnShape& kShape, int kTokens, int kVectors, int kPart>
  static LUTRA_INLINE void joined(const ColumnQuads& quads, const uint8_t* runs, __m256i* sums) {
    __m256i high[kTokens * kVectors], low[kTokens * kVectors];
    dot<kShape, kTokens, kVectors, kPart>(quads, runs, high, low);
#pragma GCC unroll 16
    for (int i = 0; i < kTokens * kVectors; ++i) sums[i] = _mm256_add_epi32(_mm256_slli_epi32(high[i], 8), low[i]);
    if constexpr (kShape.high == ColumnHigh::kNone) {
#pragma GCC unroll 8
      for (int i = 0; i < kTokens * kVectors; i += 2) {
        sums[i] = _mm256_sub_epi32(sums[i], sums[i + 1]);
        sums[i + 1] = _mm256_srai_epi32(sums[i + 1], 4);
      }
    }
  }

  template <const ColumnShape& kShape, int kTokens, int kVectors, int kPart>
  static LUTRA_INLINE void scaled(const ColumnQuads* quads, const uint8_t* runs, const __m256i* scales, __m256i* high,
                                  __m256i* low) {
    __m256i second_high[kTokens * kVectors], second_low[kTokens * kVectors];
    dot<kShape, kTokens, kVectors, kPart>(quads[0], runs, high, low);
#pragma GCC unroll 16
    for (int i = 0; i < kTokens * kVectors; ++i) {
      high[i] = _mm256_mullo_epi32(high[i], scales[i % kVectors]);
      low[i] = _mm256_mullo_epi32(low[i], scales[i % kVectors]);
    }
    dot<kShape, kTokens, kVectors, kPart>(quads[1], runs, second_high, second_low);
#pragma GCC unroll 16
    for (int i = 0; i < kTokens * kVectors; ++i) {
      const __m256i scale = scales[kVectors + i % kVectors];
      high[i] = _mm256_add_epi32(high[i], _mm256_mullo_epi32(second_high[i], scale));
      low[i] = _mm256_add_epi32(low[i], _mm256_mullo_epi32(second_low[i], scale));
    }
  }

 private:
  /// Adds in place. Of the intrinsic, GCC 12 makes a copy of each sum before and one after, every quad.
  static LUTRA_INLINE void add_products(__m256i& sum, __m256i codes, __m256i four) {
#if defined(__GNUC__)
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(codes), "v"(four));
#else
    sum = _mm256_dpbusd_epi32(sum, codes, four);
#endif
  }

  /// Of nibbles alone, a vector of half 0 is whole bytes and one of half 1 those without their low nibbles, 16 times
  /// its codes: one instruction for both instead of three, and joined() takes the sums apart.
  template <const ColumnShape& kShape, int kVectors, int kPart>
  static LUTRA_INLINE void load_codes(const uint8_t* runs, const uint32_t* offsets, __m256i* codes) {
    if constexpr (kShape.high != ColumnHigh::kNone) {
      return avx2::load_column_codes<VnniColumns, kShape, kVectors, kPart>(runs, offsets, codes);
    }
    constexpr int kQuarters = kVectors / 2;
    __m256i channels[4], bytes[kQuarters];
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) channels[c] = avx2::load_vector(runs + offsets[c]);
    avx2::interleave<kPart * kQuarters, kQuarters>(channels, bytes);
#pragma GCC unroll 4
    for (int q = 0; q < kQuarters; ++q) {
      codes[2 * q] = bytes[q];
      codes[2 * q + 1] = _mm256_and_si256(bytes[q], _mm256_set1_epi8(static_cast<char>(0xF0)));
    }
  }

  template <const ColumnShape& kShape, int kTokens, int kVectors, int kPart>
  static LUTRA_INLINE void dot(const ColumnQuads& quads, const uint8_t* runs, __m256i* high, __m256i* low) {
#pragma GCC unroll 16
    for (int i = 0; i < kTokens * kVectors; ++i) high[i] = low[i] = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (uint32_t q = 0; q < quads.n; ++q) {
      __m256i codes[kVectors];
      load_codes<kShape, kVectors, kPart>(runs, quads.offsets + 4 * q, codes);
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; ++t) {
        const __m256i four_high = avx2::broadcast4(quads.high(t, q)), four_low = avx2::broadcast4(quads.low(t, q));
#pragma GCC unroll 8
        for (int i = 0; i < kVectors; ++i) {
          add_products(high[t * kVectors + i], codes[i], four_high);
          add_products(low[t * kVectors + i], codes[i], four_low);
        }
      }
    }
  }
};

}  // namespace

void fill_columns(KernelTable& table) noexcept { avx2::set_columns<VnniColumns>(table); }

}  // namespace lutra::kernels::avx512
