// 256-bit vectors of the products with codebooks (lut/product_tile.h).
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/avx2/lut_lanes.h"

namespace lutra::kernels::avx2 {
namespace {

struct ProductLanes : LutLanes {
  static constexpr int kStep = 1;
  using Packed = __m256i;
  using Indices = __m256i;
  /// Sums of 16-bit lanes, which are pairs of neighbouring rows, and of their upper bytes. The former wrap: what they
  /// are used for is their difference from 256 times the latter, the sum of the lower bytes, ≤ 8160 as are these.
  struct RowSums {
    __m256i words, upper;
  };

  static constexpr int columns_at_once(int n_digits, int n_parts) { return n_digits * n_parts <= 2 ? 2 : 1; }

  static LUTRA_INLINE Packed load_packed(const uint8_t* codes) { return load_vector(codes); }
  template <int kHalf>
  static LUTRA_INLINE Indices indices(Packed codes) {
    return row_nibbles<kHalf>(codes);
  }
  static LUTRA_INLINE void clear(RowSums& sums) { sums.words = sums.upper = _mm256_setzero_si256(); }
  static LUTRA_INLINE void add_found(const uint8_t* entries, Indices index, RowSums& sums) {
    const __m256i found = lookup_rows(entries, index);
    sums.words = _mm256_add_epi16(sums.words, found);
    sums.upper = _mm256_add_epi16(sums.upper, _mm256_srli_epi16(found, 8));
  }
  static LUTRA_INLINE Ints slice(const RowSums& sums, int i) {
    const __m256i lower = _mm256_sub_epi16(sums.words, _mm256_slli_epi16(sums.upper, 8));
    const __m256i rows =
        i % 2 == 0 ? _mm256_unpacklo_epi16(lower, sums.upper) : _mm256_unpackhi_epi16(lower, sums.upper);
    const __m128i eight = i < 2 ? _mm256_castsi256_si128(rows) : _mm256_extracti128_si256(rows, 1);
    return _mm256_cvtepu16_epi32(eight);
  }

  static LUTRA_INLINE Ints load_signed(const uint8_t* bytes) { return _mm256_cvtepi8_epi32(load_eight_bytes(bytes)); }
  static LUTRA_INLINE Floats load_exponents(const uint8_t* bytes) {
    return load_row_scales<RowScale::kExponent>(bytes);
  }
};

}  // namespace
}  // namespace lutra::kernels::avx2
