// Integer dot products of one unit (8 rows × 32 k) with a tile of columns. One vector is 8 rows × 4 consecutive k, so
// vpmaddubsw of codes with four broadcast activations leaves each row's partial sums in its own 32-bit lane.
//
// Why no int16 sum saturates (|activation| ≤ 127, so one vpmaddubsw lane is ≤ 2·127·code):
//   2-bit 8·254·3 = 6096, 3-bit 8·254·7 = 14224, 4-bit 8·254·15 = 30480, 5-bit 4·254·31 = 31496,
//   6-bit 2·254·63 = 32004;
//   signed bytes, |w| ≤ 128: 254·128 = 32512, never added in int16. All < 32768.
// Int32: 16 lanes' worth of 32512 per unit is < 2^20; with a sub-scale of at most 128 in magnitude it is < 2^27.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/panel_layout.h"

#define LUTRA_INLINE inline __attribute__((always_inline))

namespace lutra::kernels::avx2 {
namespace {

/// Activations of a tile of columns at one unit. Strides are between columns.
struct Columns {
  const int8_t* q;
  const float* d;
  const float* s;
  const int16_t* sums16;
  uint64_t k;

  LUTRA_INLINE void advance() {
    q += 32;
    d += 1;
    s += 1;
    sums16 += 2;
  }
};

LUTRA_INLINE __m256i load_vector(const uint8_t* bytes) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
}

/// Four bytes in every 32-bit lane; the builtin copy compiles to one vpbroadcastd load.
LUTRA_INLINE __m256i broadcast4(const void* bytes) {
  int word;
  __builtin_memcpy(&word, bytes, sizeof word);
  return _mm256_set1_epi32(word);
}

LUTRA_INLINE __m256 load_halves(const uint8_t* bytes) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
}

LUTRA_INLINE __m128i load_eight_bytes(const uint8_t* bytes) {
  return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes));
}

/// Bits of each byte moved left by kShift (right when negative), then masked: a byte shift.
template <int kShift>
LUTRA_INLINE __m256i shifted(__m256i bytes, __m256i mask) {
  if constexpr (kShift > 0) return _mm256_and_si256(_mm256_slli_epi16(bytes, kShift), mask);
  if constexpr (kShift < 0) return _mm256_and_si256(_mm256_srli_epi16(bytes, -kShift), mask);
  return _mm256_and_si256(bytes, mask);
}

/// Unsigned codes of vector j = 4·kHalf + kI of a unit.
template <LowBits kLow, HighBits kHigh, int kHalf, int kI>
LUTRA_INLINE __m256i load_codes(const uint8_t* unit) {
  constexpr int kHighBytes = kHigh == HighBits::kNone ? 0 : kHigh == HighBits::kOne ? 32 : 64;
  constexpr int kLowWidth = kLow == LowBits::kNibble ? 4 : 2;
  __m256i codes;
  if constexpr (kLow == LowBits::kNibble) {
    codes = shifted<-4 * kHalf>(load_vector(unit + kHighBytes + 32 * kI), _mm256_set1_epi8(15));
  } else {
    codes = shifted<-2 * kI>(load_vector(unit + kHighBytes + 32 * kHalf), _mm256_set1_epi8(3));
  }
  if constexpr (kHigh == HighBits::kOne) {
    constexpr int kBit = 4 * kHalf + kI;
    const __m256i high = shifted<kLowWidth - kBit>(load_vector(unit), _mm256_set1_epi8(1 << kLowWidth));
    codes = _mm256_or_si256(codes, high);
  }
  if constexpr (kHigh == HighBits::kTwo) {
    const __m256i high = shifted<kLowWidth - 2 * kI>(load_vector(unit + 32 * kHalf), _mm256_set1_epi8(3 << kLowWidth));
    codes = _mm256_or_si256(codes, high);
  }
  return codes;
}

/// Four code vectors of half a unit (16 k).
struct HalfCodes {
  __m256i v[4];
};

template <LowBits kLow, HighBits kHigh, int kHalf>
LUTRA_INLINE HalfCodes load_half(const uint8_t* unit) {
  return {{load_codes<kLow, kHigh, kHalf, 0>(unit), load_codes<kLow, kHigh, kHalf, 1>(unit),
           load_codes<kLow, kHigh, kHalf, 2>(unit), load_codes<kLow, kHigh, kHalf, 3>(unit)}};
}

/// int16 partial sums of codes first, first + 1 of a half.
LUTRA_INLINE __m256i dot_pair(const HalfCodes& codes, int first, const int8_t* a) {
  return _mm256_add_epi16(_mm256_maddubs_epi16(codes.v[first], broadcast4(a + 4 * first)),
                          _mm256_maddubs_epi16(codes.v[first + 1], broadcast4(a + 4 * first + 4)));
}

LUTRA_INLINE __m256i dot_four(const HalfCodes& codes, const int8_t* a) {
  return _mm256_add_epi16(dot_pair(codes, 0, a), dot_pair(codes, 2, a));
}

/// sums[c] = int32 Σ code·a of the unit, 4- and 5-bit codes.
template <LowBits kLow, HighBits kHigh, int kColumns>
LUTRA_INLINE void dot_unsigned(const uint8_t* unit, const Columns& columns, __m256i* sums) {
  const __m256i ones = _mm256_set1_epi16(1);
  const HalfCodes first = load_half<kLow, kHigh, 0>(unit);
#pragma GCC unroll 8
  for (int c = 0; c < kColumns; ++c) {
    sums[c] = dot_four(first, columns.q + c * columns.k);
    if constexpr (kHigh != HighBits::kNone) sums[c] = _mm256_madd_epi16(sums[c], ones);
  }
  const HalfCodes second = load_half<kLow, kHigh, 1>(unit);
#pragma GCC unroll 8
  for (int c = 0; c < kColumns; ++c) {
    const __m256i partial = dot_four(second, columns.q + c * columns.k + 16);
    if constexpr (kHigh != HighBits::kNone) {
      sums[c] = _mm256_add_epi32(sums[c], _mm256_madd_epi16(partial, ones));
    } else {
      sums[c] = _mm256_madd_epi16(_mm256_add_epi16(sums[c], partial), ones);
    }
  }
}

/// One vector of signed weights: |w| · sign(a, w), exact also for w = −128 (|w| is unsigned).
template <int kColumns, bool kFirst>
LUTRA_INLINE void dot_signed_vector(__m256i w, const int8_t* a, uint64_t k, __m256i* sums) {
  const __m256i ones = _mm256_set1_epi16(1);
  const __m256i magnitude = _mm256_abs_epi8(w);
#pragma GCC unroll 8
  for (int c = 0; c < kColumns; ++c) {
    const __m256i signed_a = _mm256_sign_epi8(broadcast4(a + c * k), w);
    const __m256i partial = _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, signed_a), ones);
    sums[c] = kFirst ? partial : _mm256_add_epi32(sums[c], partial);
  }
}

/// sums[c] = int32 Σ w·a of a unit of int8 weights.
template <int kColumns>
LUTRA_INLINE void dot_bytes(const uint8_t* unit, const Columns& columns, __m256i* sums) {
  dot_signed_vector<kColumns, true>(load_vector(unit), columns.q, columns.k, sums);
#pragma GCC unroll 7
  for (int j = 1; j < 8; ++j) {
    dot_signed_vector<kColumns, false>(load_vector(unit + 32 * j), columns.q + 4 * j, columns.k, sums);
  }
}

/// sums[c] = int32 Σ table[code]·a of a unit of 4-bit table indices.
template <int kColumns>
LUTRA_INLINE void dot_table(const uint8_t* unit, const Columns& columns, __m256i* sums) {
  const __m256i table =
      _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(kIq4Values)));
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m256i packed = load_vector(unit + 32 * i);
    const __m256i low = _mm256_shuffle_epi8(table, shifted<0>(packed, _mm256_set1_epi8(15)));
    const __m256i high = _mm256_shuffle_epi8(table, shifted<-4>(packed, _mm256_set1_epi8(15)));
    if (i == 0) {
      dot_signed_vector<kColumns, true>(low, columns.q, columns.k, sums);
    } else {
      dot_signed_vector<kColumns, false>(low, columns.q + 4 * i, columns.k, sums);
    }
    dot_signed_vector<kColumns, false>(high, columns.q + 16 + 4 * i, columns.k, sums);
  }
}

/// sums[c] = int32 scale_first · Σ_{k<16} code·a + scale_second · Σ_{k≥16} code·a; a scale fills both int16 of its lane.
template <LowBits kLow, HighBits kHigh, int kColumns>
LUTRA_INLINE void dot_scaled(const uint8_t* unit, const Columns& columns, __m256i scale_first, __m256i scale_second,
                             __m256i* sums) {
  constexpr bool kSixBits = kHigh == HighBits::kTwo;
  const HalfCodes first = load_half<kLow, kHigh, 0>(unit);
#pragma GCC unroll 8
  for (int c = 0; c < kColumns; ++c) {
    const int8_t* a = columns.q + c * columns.k;
    if constexpr (kSixBits) {
      sums[c] = _mm256_add_epi32(_mm256_madd_epi16(dot_pair(first, 0, a), scale_first),
                                 _mm256_madd_epi16(dot_pair(first, 2, a), scale_first));
    } else {
      sums[c] = _mm256_madd_epi16(dot_four(first, a), scale_first);
    }
  }
  const HalfCodes second = load_half<kLow, kHigh, 1>(unit);
#pragma GCC unroll 8
  for (int c = 0; c < kColumns; ++c) {
    const int8_t* a = columns.q + c * columns.k + 16;
    __m256i partial;
    if constexpr (kSixBits) {
      partial = _mm256_add_epi32(_mm256_madd_epi16(dot_pair(second, 0, a), scale_second),
                                 _mm256_madd_epi16(dot_pair(second, 2, a), scale_second));
    } else {
      partial = _mm256_madd_epi16(dot_four(second, a), scale_second);
    }
    sums[c] = _mm256_add_epi32(sums[c], partial);
  }
}

}  // namespace
}  // namespace lutra::kernels::avx2
