// Scores of one page of codes for up to a few queries, for rows of tables two (AVX2) or four (AVX-512) to a vector;
// equal to scalar/lookup_scan.cc, since sums of integers have no order.
//
// A row's 16 code bytes are split into low and high nibbles once for all queries, and each nibble vector picks 16 bytes
// of every row's table by a byte shuffle. Bytes are summed in 16 bits without being unpacked: `all` adds vectors of
// bytes as they are, so that a lane holds the even byte's sum plus 256 times the odd byte's, modulo 2^16; `odd` adds
// the odd bytes alone, and all − 256 · odd is the even sum whatever wrapped around. Entries of at most 127 (narrow) are
// first added in pairs of rows, as bytes.
//
// Rows: Vector, kRows, kMaxQueries, load, zero, nibbles, pick, add_bytes, add, odd_bytes, fold. Everything has internal
// linkage: each ISA path has its own copy.
#pragma once

#include <immintrin.h>

#include "kernels/kernels.h"

#if defined(_MSC_VER)
#define LUTRA_LOOKUP_INLINE __forceinline
#else
#define LUTRA_LOOKUP_INLINE __attribute__((always_inline)) inline
#endif

namespace lutra::kernels::avx2 {
namespace {

/// Scores of a page's 32 positions, 16 bits each.
struct PageScores {
  __m256i first, second;
};

/// The codes of a page's outliers, widened and interleaved in pairs once for all queries.
class OutlierCodes {
 public:
  OutlierCodes(const uint8_t* codes, uint32_t n_outliers) : n_pairs_(n_outliers / 2) {
    for (uint32_t pair = 0; pair < n_pairs_; ++pair, codes += 2 * kPagePositions) {
      for (uint32_t half = 0; half < 2; ++half) {
        const auto* row = reinterpret_cast<const __m128i*>(codes) + half;
        const __m256i one = _mm256_cvtepi8_epi16(_mm_loadu_si128(row)),
                      two = _mm256_cvtepi8_epi16(_mm_loadu_si128(row + 2));
        codes_[pair][half][0] = _mm256_unpacklo_epi16(one, two);
        codes_[pair][half][1] = _mm256_unpackhi_epi16(one, two);
      }
    }
  }

  /// ((base + Σ code · weight) >> kOutlierShift) of the 16 positions of a half, modulo 2^16, in order.
  __m256i scores(uint32_t half, const int16_t* weights, int32_t base) const {
    __m256i a = _mm256_set1_epi32(base), b = a;
    for (uint32_t pair = 0; pair < n_pairs_; ++pair) {
      int32_t both;
      __builtin_memcpy(&both, weights + 2 * pair, sizeof both);
      const __m256i weight = _mm256_set1_epi32(both);
      a = _mm256_add_epi32(a, _mm256_madd_epi16(codes_[pair][half][0], weight));
      b = _mm256_add_epi32(b, _mm256_madd_epi16(codes_[pair][half][1], weight));
    }
    a = _mm256_srli_epi32(_mm256_slli_epi32(a, 16 - kOutlierShift), 16);
    b = _mm256_srli_epi32(_mm256_slli_epi32(b, 16 - kOutlierShift), 16);
    return _mm256_packus_epi32(a, b);
  }

 private:
  uint32_t n_pairs_;
  __m256i codes_[kMaxOutliers / 2][2][2];
};

inline uint16_t max_score(const PageScores& scores) {
  const __m256i max = _mm256_max_epu16(scores.first, scores.second);
  const __m128i half = _mm_max_epu16(_mm256_castsi256_si128(max), _mm256_extracti128_si256(max, 1));
  const __m128i lowest = _mm_minpos_epu16(_mm_xor_si128(half, _mm_set1_epi32(-1)));
  return static_cast<uint16_t>(~_mm_cvtsi128_si32(lowest));
}

/// Keeps a partial sum where it is written: left alone, GCC 12 starts all shuffles of a row first and spills the sums.
template <typename Vector>
LUTRA_LOOKUP_INLINE void keep_order(Vector& value) {
#if defined(__GNUC__)
  asm volatile("" : "+v"(value));
#endif
}

/// Makes the compiler load codes and tables again for the second nibbles: kept in registers, they push sums out.
LUTRA_LOOKUP_INLINE void forget_loads() {
#if defined(__GNUC__)
  asm volatile("" ::: "memory");
#endif
}

template <typename Rows, int kQueries>
class LookupSums {
 public:
  using Vector = typename Rows::Vector;

  LUTRA_LOOKUP_INLINE explicit LookupSums(const uint8_t* const* tables) : tables_(tables) {
#pragma GCC unroll 2
    for (int nibble = 0; nibble < 2; ++nibble) {
      for (int i = 0; i < kQueries; ++i) all_[nibble][i] = odd_[nibble][i] = Rows::zero();
    }
  }

  /// Rows s to s + n_rows, at most kRows, a constant.
  LUTRA_LOOKUP_INLINE void add(const uint8_t* codes, uint32_t s, uint32_t n_rows) {
#pragma GCC unroll 2
    for (int nibble = 0; nibble < 2; ++nibble) {
      forget_loads();
      const Vector chosen = Rows::nibbles(nibble, Rows::load(codes + 16 * s, n_rows));
#pragma GCC unroll 8
      for (int i = 0; i < kQueries; ++i) {
        accumulate(nibble, i, Rows::pick(Rows::load(tables_[i] + 16 * s, n_rows), chosen));
      }
    }
  }

  /// Rows s to s + 2 · kRows of entries ≤ 127.
  LUTRA_LOOKUP_INLINE void add_two(const uint8_t* codes, uint32_t s) {
    const uint32_t next = 16 * (s + Rows::kRows);
#pragma GCC unroll 2
    for (int nibble = 0; nibble < 2; ++nibble) {
      forget_loads();
      const Vector one = Rows::nibbles(nibble, load(codes + 16 * s)), two = Rows::nibbles(nibble, load(codes + next));
#pragma GCC unroll 8
      for (int i = 0; i < kQueries; ++i) {
        accumulate(
            nibble, i,
            Rows::add_bytes(Rows::pick(load(tables_[i] + 16 * s), one), Rows::pick(load(tables_[i] + next), two)));
      }
    }
  }

  LUTRA_LOOKUP_INLINE PageScores scores(int i) const {
    const __m256i all = Rows::fold(all_[0][i], all_[1][i]), odd = Rows::fold(odd_[0][i], odd_[1][i]);
    const __m256i even = _mm256_sub_epi16(all, _mm256_slli_epi16(odd, 8));
    const __m256i low = _mm256_unpacklo_epi16(even, odd), high = _mm256_unpackhi_epi16(even, odd);
    return {_mm256_permute2x128_si256(low, high, 0x20), _mm256_permute2x128_si256(low, high, 0x31)};
  }

 private:
  static Vector load(const uint8_t* rows) { return Rows::load(rows, Rows::kRows); }
  LUTRA_LOOKUP_INLINE void accumulate(int nibble, int i, Vector bytes) {
    keep_order(bytes);
    all_[nibble][i] = Rows::add(all_[nibble][i], bytes);
    odd_[nibble][i] = Rows::add(odd_[nibble][i], Rows::odd_bytes(bytes));
    keep_order(all_[nibble][i]);
    keep_order(odd_[nibble][i]);
  }

  const uint8_t* const* tables_;
  Vector all_[2][kQueries], odd_[2][kQueries];
};

/// Scores one page for queries from..from + kQueries.
template <typename Rows, int kQueries, bool kNarrow>
void scan_page(const LookupScanArgs& args, uint32_t page, uint32_t from, const OutlierCodes& outliers) {
  const uint8_t* codes = args.codes[page];
  LookupSums<Rows, kQueries> sums(args.tables + from);
  uint32_t s = 0;
  if constexpr (kNarrow) {
    for (; args.n_subs - s >= 2 * Rows::kRows; s += 2 * Rows::kRows) sums.add_two(codes, s);
  }
  for (; args.n_subs - s >= Rows::kRows; s += Rows::kRows) sums.add(codes, s, Rows::kRows);
  if (Rows::kRows > 2 && s < args.n_subs) sums.add(codes, s, 2);
#pragma GCC unroll 8
  for (int i = 0; i < kQueries; ++i) {
    const uint32_t query = from + static_cast<uint32_t>(i);
    PageScores scores = sums.scores(i);
    if (args.n_outliers != 0) {
      const int16_t* weights = args.outlier_weights[query];
      const int32_t base = args.outlier_base[query];
      scores.first = _mm256_add_epi16(scores.first, outliers.scores(0, weights, base));
      scores.second = _mm256_add_epi16(scores.second, outliers.scores(1, weights, base));
    }
    auto* out = reinterpret_cast<__m256i*>(args.scores + query * args.score_stride + uint64_t{page} * kPagePositions);
    _mm256_storeu_si256(out, scores.first);
    _mm256_storeu_si256(out + 1, scores.second);
    args.page_max[query * args.max_stride + page] = max_score(scores);
  }
}

/// Queries from `from` on, as many at a time as registers hold.
template <typename Rows, bool kNarrow, int kQueries = Rows::kMaxQueries>
void scan_queries(const LookupScanArgs& args, uint32_t page, uint32_t from, const OutlierCodes& outliers) {
  for (; args.n_queries - from >= kQueries; from += kQueries) {
    scan_page<Rows, kQueries, kNarrow>(args, page, from, outliers);
  }
  if constexpr (kQueries > 1) scan_queries<Rows, kNarrow, kQueries - 1>(args, page, from, outliers);
}

/// A page's codes serve all queries before the next page's are read.
template <typename Rows, bool kNarrow>
void scan_pages(const LookupScanArgs& args) {
  for (uint32_t page = 0; page < args.n_pages; ++page) {
    const OutlierCodes outliers(args.codes[page] + 16 * args.n_subs, args.n_outliers);
    scan_queries<Rows, kNarrow>(args, page, 0, outliers);
  }
}

template <typename Rows>
void lookup_scan(const LookupScanArgs& args) noexcept {
  args.narrow ? scan_pages<Rows, true>(args) : scan_pages<Rows, false>(args);
}

}  // namespace
}  // namespace lutra::kernels::avx2
