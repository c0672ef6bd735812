// Sums of table entries over the rows of a page, for a few queries, in registers: what lookup_tile.h is made of.
// Internal linkage: each ISA path has its own copy.
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

/// Scores of a page's positions, 16 bits each: 0 to 7 and 16 to 23 in the first, the others in the second.
struct PageScores {
  __m256i first, second;

  LUTRA_LOOKUP_INLINE void store(uint16_t* out) const {
    auto* eights = reinterpret_cast<__m128i*>(out);
    _mm_storeu_si128(eights, _mm256_castsi256_si128(first));
    _mm_storeu_si128(eights + 1, _mm256_castsi256_si128(second));
    _mm_storeu_si128(eights + 2, _mm256_extracti128_si256(first, 1));
    _mm_storeu_si128(eights + 3, _mm256_extracti128_si256(second, 1));
  }
};

inline uint16_t max_score(const PageScores& scores) {
  const __m256i max = _mm256_max_epu16(scores.first, scores.second);
  const __m128i half = _mm_max_epu16(_mm256_castsi256_si128(max), _mm256_extracti128_si256(max, 1));
  const __m128i lowest = _mm_minpos_epu16(_mm_xor_si128(half, _mm_set1_epi32(-1)));
  return static_cast<uint16_t>(~_mm_cvtsi128_si32(lowest));
}

/// Adds `bytes` to a sum right here and in the sum's register. Left alone, GCC 12 starts all shuffles of a row first
/// and spills the sums, or adds into the other operand's register and copies.
template <typename Rows>
LUTRA_LOOKUP_INLINE void add_in_place(typename Rows::Vector& sum, typename Rows::Vector bytes) {
  sum = Rows::add(sum, bytes);
#if defined(__GNUC__)
  asm volatile("" : "+v"(sum) : "v"(bytes));
#endif
}

/// An offset the compiler knows nothing of, so that it loads codes and tables again for the second nibbles: kept in
/// registers, they push sums out.
LUTRA_LOOKUP_INLINE uint64_t row_offset(uint32_t row) {
  uint64_t offset = uint64_t{row} * 16;
#if defined(__GNUC__)
  asm volatile("" : "+r"(offset));
#endif
  return offset;
}

template <typename Rows, int kQueries>
class LookupSums {
 public:
  using Vector = typename Rows::Vector;

  LUTRA_LOOKUP_INLINE explicit LookupSums(const uint8_t* const* tables) {
#pragma GCC unroll 8
    for (int i = 0; i < kQueries; ++i) tables_[i] = tables[i];
#pragma GCC unroll 2
    for (int nibble = 0; nibble < 2; ++nibble) {
      for (int i = 0; i < kQueries; ++i) all_[nibble][i] = odd_[nibble][i] = Rows::zero();
    }
  }

  /// Rows s to s + n_rows, at most kRows, a constant.
  LUTRA_LOOKUP_INLINE void add(const uint8_t* codes, uint32_t s, uint32_t n_rows) {
#pragma GCC unroll 2
    for (int nibble = 0; nibble < 2; ++nibble) {
      const uint64_t at = row_offset(s);
      const Vector chosen = Rows::nibbles(nibble, Rows::load(codes + at, n_rows));
#pragma GCC unroll 8
      for (int i = 0; i < kQueries; ++i) {
        accumulate(nibble, i, Rows::pick(Rows::load(tables_[i] + at, n_rows), chosen));
      }
    }
  }

  /// Rows s to s + 2 · kRows of entries ≤ 127.
  LUTRA_LOOKUP_INLINE void add_two(const uint8_t* codes, uint32_t s) {
    constexpr uint64_t kNext = 16 * Rows::kRows;
#pragma GCC unroll 2
    for (int nibble = 0; nibble < 2; ++nibble) {
      const uint64_t at = row_offset(s);
      const Vector one = Rows::nibbles(nibble, load(codes + at));
      const Vector two = Rows::nibbles(nibble, load(codes + at + kNext));
#pragma GCC unroll 8
      for (int i = 0; i < kQueries; ++i) {
        const uint8_t* tables = tables_[i] + at;
        accumulate(nibble, i, Rows::add_bytes(Rows::pick(load(tables), one), Rows::pick(load(tables + kNext), two)));
      }
    }
  }

  LUTRA_LOOKUP_INLINE PageScores scores(int i) const {
    const __m256i all = Rows::fold(all_[0][i], all_[1][i]), odd = Rows::fold(odd_[0][i], odd_[1][i]);
    const __m256i even = _mm256_sub_epi16(all, _mm256_slli_epi16(odd, 8));
    return {_mm256_unpacklo_epi16(even, odd), _mm256_unpackhi_epi16(even, odd)};
  }

 private:
  static Vector load(const uint8_t* rows) { return Rows::load(rows, Rows::kRows); }
  LUTRA_LOOKUP_INLINE void accumulate(int nibble, int i, Vector bytes) {
    add_in_place<Rows>(all_[nibble][i], bytes);
    add_in_place<Rows>(odd_[nibble][i], Rows::odd_bytes(bytes));
  }

  const uint8_t* tables_[kQueries];
  Vector all_[2][kQueries], odd_[2][kQueries];
};

}  // namespace
}  // namespace lutra::kernels::avx2
