// Integer dot products of one split Q8_0 unit (8 rows × 32 k) with a column: w + 128 = 16·high + low joined in
// registers, in the pairs of vectors of matmul_wide_units.h, and its products.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/avx512/matmul_wide_units.h"

namespace lutra::kernels::avx512 {
namespace {

/// Upper nibbles of `upper`, lower ones of `lower`.
LUTRA_INLINE __m512i join_nibbles(__m512i upper, __m512i lower) {
  constexpr int kSelect = 0xCA;  // a ? b : c
  return _mm512_ternarylogic_epi32(_mm512_set1_epi8(-16), upper, lower, kSelect);
}

struct SplitDots {
  __m512i codes[4];

  LUTRA_INLINE SplitDots(const uint8_t* high, const uint8_t* low, const Columns&) {
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      const __m512i upper = load_pair(high + 64 * i), lower = load_pair(low + 64 * i);
      codes[i] = join_nibbles(_mm512_slli_epi16(upper, 4), lower);
      codes[2 + i] = join_nibbles(upper, _mm512_srli_epi16(lower, 4));
    }
  }

  LUTRA_INLINE __m256i sum(const Columns& columns, int c) const { return dot_signed(codes, columns, c); }
};

}  // namespace
}  // namespace lutra::kernels::avx512
