// Products with column strips, AVX2. Nibbles, five and six bits: vpmaddubsw of codes with a broadcast quad of a plane,
// summed in int16 over as many quads as fit (|plane| ≤ 127):
//   4-bit 8 quads · 2 · 15 · 127 = 30480, 5-bit 4 · 2 · 31 · 127 = 31496, 6-bit 2 · 2 · 63 · 127 = 32004
// then widened once: with 256 and 1, which joins the planes (matmul_units.h has the int32 bounds), or with the scale.
// Whole bytes reach 2 · 255 · 127 > 32767: those are taken as words, with 256·high + low made a word each quad.
#include "kernels/avx2/avx2.h"
#include "kernels/avx2/column_sweep.h"
#include "kernels/avx2/matmul_units.h"

namespace lutra::kernels::avx2 {
namespace {

struct MaddColumns {
  static constexpr int kMaxTokens = 3;
  /// Sixteen registers: eight to twelve of them sums.
  static constexpr int vectors(const ColumnShape&, int tokens) { return tokens == 1 ? 4 : 2; }

  static LUTRA_INLINE __m256i add_fifth(__m256i codes, const uint8_t* word) {
    const __m256i bytes = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201));
    const __m256i bits = _mm256_and_si256(_mm256_shuffle_epi8(broadcast4(word), bytes), bit);
    const __m256i is_set = _mm256_cmpeq_epi8(bits, bit);
    return _mm256_or_si256(codes, _mm256_and_si256(is_set, _mm256_set1_epi8(16)));
  }

  template <const ColumnShape& kShape, int kTokens, int kVectors, int kPart>
  static LUTRA_INLINE void joined(const ColumnQuads& quads, const uint8_t* runs, __m256i* sums) {
    constexpr int kSums = kTokens * kVectors;
#pragma GCC unroll 16
    for (int i = 0; i < kSums; ++i) sums[i] = _mm256_setzero_si256();
    if constexpr (kShape.high == ColumnHigh::kWhole) {
      for (uint32_t i = 0; i < quads.n; ++i) add_words<kShape, kTokens, kVectors, kPart>(quads, i, runs, sums);
    } else {
      constexpr uint32_t kRun = kShape.high == ColumnHigh::kNone ? 8 : 4;
      for (uint32_t begin = 0; begin < quads.n; begin += kRun) {
        const Shorts<kTokens, kVectors> run = sum_run<kShape, kRun, kTokens, kVectors, kPart>(quads, begin, runs);
#pragma GCC unroll 16
        for (int i = 0; i < kSums; ++i) sums[i] = _mm256_add_epi32(sums[i], join_planes(run.high[i], run.low[i]));
      }
    }
  }

  template <const ColumnShape& kShape, int kTokens, int kVectors, int kPart>
  static LUTRA_INLINE void scaled(const ColumnQuads* quads, const uint8_t* runs, const __m256i* scales, __m256i* high,
                                  __m256i* low) {
    constexpr uint32_t kRun = 2;
#pragma GCC unroll 16
    for (int i = 0; i < kTokens * kVectors; ++i) high[i] = low[i] = _mm256_setzero_si256();
#pragma GCC unroll 2
    for (int g = 0; g < 2; ++g) {
      for (uint32_t begin = 0; begin < quads[g].n; begin += kRun) {
        const Shorts<kTokens, kVectors> run = sum_run<kShape, kRun, kTokens, kVectors, kPart>(quads[g], begin, runs);
#pragma GCC unroll 16
        for (int i = 0; i < kTokens * kVectors; ++i) {
          const __m256i scale = both_halves(scales[g * kVectors + i % kVectors]);
          high[i] = _mm256_add_epi32(high[i], _mm256_madd_epi16(run.high[i], scale));
          low[i] = _mm256_add_epi32(low[i], _mm256_madd_epi16(run.low[i], scale));
        }
      }
    }
  }

 private:
  template <int kTokens, int kVectors>
  struct Shorts {
    __m256i high[kTokens * kVectors], low[kTokens * kVectors];
  };

  /// int16 sums of up to kRun quads from `begin` on.
  template <const ColumnShape& kShape, uint32_t kRun, int kTokens, int kVectors, int kPart>
  static LUTRA_INLINE Shorts<kTokens, kVectors> sum_run(const ColumnQuads& quads, uint32_t begin, const uint8_t* runs) {
    Shorts<kTokens, kVectors> sums;
#pragma GCC unroll 16
    for (int i = 0; i < kTokens * kVectors; ++i) sums.high[i] = sums.low[i] = _mm256_setzero_si256();
    const uint32_t end = quads.n - begin < kRun ? quads.n : begin + kRun;
    for (uint32_t q = begin; q < end; ++q) {
      __m256i codes[kVectors];
      load_column_codes<MaddColumns, kShape, kVectors, kPart>(runs, quads.offsets + 4 * q, codes);
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; ++t) {
        const __m256i high = broadcast4(quads.high(t, q)), low = broadcast4(quads.low(t, q));
#pragma GCC unroll 4
        for (int i = 0; i < kVectors; ++i) {
          const int at = t * kVectors + i;
          sums.high[at] = settled(_mm256_add_epi16(sums.high[at], _mm256_maddubs_epi16(codes[i], high)));
          sums.low[at] = settled(_mm256_add_epi16(sums.low[at], _mm256_maddubs_epi16(codes[i], low)));
        }
      }
    }
    return sums;
  }

  /// Channels 0 and 2 of a quad are the even bytes, 1 and 3 the odd ones: int16 pairs of 256·high + low likewise.
  template <const ColumnShape& kShape, int kTokens, int kVectors, int kPart>
  static LUTRA_INLINE void add_words(const ColumnQuads& quads, uint32_t q, const uint8_t* runs, __m256i* sums) {
    const __m256i byte = _mm256_set1_epi16(255);
    __m256i codes[kVectors];
    load_column_codes<MaddColumns, kShape, kVectors, kPart>(runs, quads.offsets + 4 * q, codes);
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) {
      const __m256i high = broadcast4(quads.high(t, q)), low = broadcast4(quads.low(t, q));
      const __m256i even = _mm256_add_epi16(_mm256_slli_epi16(high, 8), sign_extended(_mm256_slli_epi16(low, 8)));
      const __m256i odd = _mm256_add_epi16(_mm256_andnot_si256(byte, high), sign_extended(low));
#pragma GCC unroll 4
      for (int i = 0; i < kVectors; ++i) {
        const __m256i first = _mm256_madd_epi16(_mm256_and_si256(codes[i], byte), even);
        const __m256i second = _mm256_madd_epi16(_mm256_srli_epi16(codes[i], 8), odd);
        const int at = t * kVectors + i;
        sums[at] = settled(_mm256_add_epi32(sums[at], _mm256_add_epi32(first, second)));
      }
    }
  }

  /// The upper byte of each int16 as a number.
  static LUTRA_INLINE __m256i sign_extended(__m256i words) { return _mm256_srai_epi16(words, 8); }
};

}  // namespace

void fill_columns(KernelTable& table) noexcept { set_columns<MaddColumns>(table); }

}  // namespace lutra::kernels::avx2
