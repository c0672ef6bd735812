// Integer dot products of one unit (8 rows × 32 k) with a column by vpdpbusd, for sub-scales of 32 elements: unsigned
// codes times activation bytes, added to 32-bit lanes; the form used does not saturate. The integers are those of
// avx2/matmul_units.h, so the tiles' float epilogue gives the same bits.
//
// A 512-bit vector holds two neighbouring vectors of the unit, 2i and 2i + 1, row by row: lane 2r is row r of the
// first, lane 2r + 1 row r of the second. So one broadcast of eight activation bytes meets both, and a row's sum is
// that of a pair of lanes. A unit is four such vectors, which stay in registers while the columns of a tile pass by.
// Against eight 256-bit vectors (Zen 4, GMAC/s at n = 1): Q4_1 50 → 60; Q5_K 37 → 41; Q8_0 37 → 49. More columns take
// panels in pairs (matmul_wide_pair.h).
//
// Int32: a plane's sum is at most 32·255·127 = 1.04e6 < 2^20, joined 256·high + low < 2^28.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/avx2/matmul_codes.h"

namespace lutra::kernels::avx512 {
namespace {

using avx2::Columns;

LUTRA_INLINE __m512i broadcast8(const int8_t* bytes) {
  long long word;
  __builtin_memcpy(&word, bytes, sizeof word);
  return _mm512_set1_epi64(word);
}

/// Two vectors, row by row.
LUTRA_INLINE __m512i load_pair(const uint8_t* bytes) {
  const __m512i lanes = _mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
  return _mm512_permutexvar_epi32(lanes, _mm512_loadu_si512(bytes));
}

/// One vector for both of a pair: each 32-bit lane twice.
LUTRA_INLINE __m512i load_twice(const uint8_t* bytes) {
  const __m512i lanes = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
  return _mm512_permutexvar_epi32(lanes, _mm512_castsi256_si512(avx2::load_vector(bytes)));
}

/// Bit kFrom of each byte of the first of a pair, bit kFrom + 1 of the second, moved to bit 4. The rotation carries
/// bits between bytes; the caller masks them off.
template <int kFrom>
LUTRA_INLINE __m512i moved_to_fifth(__m512i bytes) {
  constexpr unsigned kFirst = static_cast<unsigned>(4 - kFrom) & 31u, kSecond = static_cast<unsigned>(3 - kFrom) & 31u;
  return _mm512_rolv_epi32(bytes, _mm512_set1_epi64(static_cast<long long>(kSecond) << 32 | kFirst));
}

/// Unsigned codes, of 2, 4 or 5 bits, of vectors 2·kPair and 2·kPair + 1.
template <LowBits kLow, HighBits kHigh, int kPair>
LUTRA_INLINE __m512i load_codes(const uint8_t* unit) {
  constexpr int kHighBytes = kHigh == HighBits::kOne ? 32 : 0;
  if constexpr (kLow == LowBits::kTwo) {
    constexpr long long kFirst = 4 * (kPair % 2), kSecond = kFirst + 2;
    const __m512i packed = load_twice(unit + 32 * (kPair / 2));
    return _mm512_and_si512(_mm512_srlv_epi32(packed, _mm512_set1_epi64(kSecond << 32 | kFirst)), _mm512_set1_epi8(3));
  }
  const __m512i packed = load_pair(unit + kHighBytes + 64 * (kPair % 2));
  const __m512i low = _mm512_and_si512(kPair < 2 ? packed : _mm512_srli_epi16(packed, 4), _mm512_set1_epi8(15));
  if constexpr (kHigh == HighBits::kNone) return low;
  constexpr int kMaskedOr = 0xEA;  // (a & b) | c
  return _mm512_ternarylogic_epi32(moved_to_fifth<2 * kPair>(load_twice(unit)), _mm512_set1_epi8(16), low, kMaskedOr);
}

/// The unsigned codes of a unit.
template <LowBits kLow, HighBits kHigh>
LUTRA_INLINE void load_unit(const uint8_t* unit, __m512i* codes) {
  codes[0] = load_codes<kLow, kHigh, 0>(unit);
  codes[1] = load_codes<kLow, kHigh, 1>(unit);
  codes[2] = load_codes<kLow, kHigh, 2>(unit);
  codes[3] = load_codes<kLow, kHigh, 3>(unit);
}

/// Products of a unit's codes with the activations at `a`; a row's sum is spread over two lanes.
LUTRA_INLINE __m512i dot_unit(const __m512i* codes, const int8_t* a) {
  __m512i sum = _mm512_setzero_si512();
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) sum = _mm512_dpbusd_epi32(sum, codes[i], broadcast8(a + 8 * i));
  return sum;
}

/// The sum of each pair of lanes.
LUTRA_INLINE __m256i join_lanes(__m512i sums) {
  return _mm512_cvtepi64_epi32(_mm512_add_epi32(sums, _mm512_srli_epi64(sums, 32)));
}

/// 128 · Σ (256·high + low) of a block, in every lane.
LUTRA_INLINE __m256i offset_of_signed(const int8_t* high, const int8_t* low) {
  const __m256i factor = _mm256_set1_epi8(-128);  // 128 unsigned
  const __m256i high_sums =
      _mm256_dpbusd_epi32(_mm256_setzero_si256(), factor, avx2::load_vector(reinterpret_cast<const uint8_t*>(high)));
  __m256i sums = _mm256_dpbusd_epi32(_mm256_slli_epi32(high_sums, 8), factor,
                                     avx2::load_vector(reinterpret_cast<const uint8_t*>(low)));
  sums = _mm256_add_epi32(sums, _mm256_permute2x128_si256(sums, sums, 1));
  sums = _mm256_add_epi32(sums, _mm256_shuffle_epi32(sums, 0x4E));
  return _mm256_add_epi32(sums, _mm256_shuffle_epi32(sums, 0xB1));
}

/// 256·high + low of a unit's codes; a row's sum is spread over two lanes.
LUTRA_INLINE __m512i dot_planes(const __m512i* codes, const Columns& columns, int c) {
  return _mm512_add_epi32(_mm512_slli_epi32(dot_unit(codes, columns.high(c)), 8), dot_unit(codes, columns.low(c)));
}

/// int32 Σ w·(256·high + low) for codes w + 128 of int8 weights: 128 · Σa comes off, nine instructions a column instead
/// of a vpsignb for each product.
LUTRA_INLINE __m256i dot_signed(const __m512i* codes, const Columns& columns, int c) {
  return _mm256_sub_epi32(join_lanes(dot_planes(codes, columns, c)), offset_of_signed(columns.high(c), columns.low(c)));
}

/// sum(c) = int32 Σ w·(256·high + low) of column c. Signed weights go in as w + 128.
template <LowBits kLow, HighBits kHigh, Codes kCodes>
struct WideDots {
  static_assert(kCodes == Codes::kSignedByte || kLow == LowBits::kNibble || kHigh == HighBits::kNone);
  static_assert(kHigh != HighBits::kTwo);
  __m512i codes[4];

  LUTRA_INLINE WideDots(const uint8_t* unit, const Columns&) {
    const __m512i sign = _mm512_set1_epi8(-128);
    if constexpr (kCodes == Codes::kSignedByte) {
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) codes[i] = _mm512_xor_si512(load_pair(unit + 64 * i), sign);
    } else {
      load_unit<kLow, kHigh>(unit, codes);
    }
    if constexpr (is_table(kCodes)) {
      constexpr const int8_t* kTable = code_values(kCodes);
      const __m512i values = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(kTable)));
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) codes[i] = _mm512_shuffle_epi8(_mm512_xor_si512(values, sign), codes[i]);
    }
  }

  LUTRA_INLINE __m256i sum(const Columns& columns, int c) const {
    if constexpr (kCodes == Codes::kUnsigned) return join_lanes(dot_planes(codes, columns, c));
    return dot_signed(codes, columns, c);
  }
};

}  // namespace
}  // namespace lutra::kernels::avx512
