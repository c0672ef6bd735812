// Integer dot products of one unit (8 rows × 32 k) with a tile of columns, both planes of each. One vector is 8 rows
// × 4 consecutive k, so vpmaddubsw of codes with four broadcast activations leaves each row's partial sums in its own
// 32-bit lane. A tile's weights are unpacked once; every code vector meets the high and the low plane of each column.
//
// Why no int16 sum saturates (|plane| ≤ 127, so one vpmaddubsw lane is ≤ 2·127·code):
//   2-bit 8·254·3 = 6096, 3-bit 8·254·7 = 14224, 4-bit 8·254·15 = 30480, 5-bit 4·254·31 = 31496,
//   6-bit 2·254·63 = 32004;
//   signed bytes, |w| ≤ 128: 254·128 = 32512, never added in int16. All < 32768.
// Int32: a unit's 256·high + low sum is at most 32·128·(256·127 + 127) = 133.7e6 < 2^27, so vpmaddwd with 256 may
// join the planes. With sub-scales of up to 128 only one plane fits, 32·63·127·128 = 32.8e6 < 2^25: those planes stay
// apart.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/avx2/matmul_codes.h"

namespace lutra::kernels::avx2 {
namespace {

/// Four code vectors of half a unit (16 k).
struct HalfCodes {
  __m256i v[4];
};

template <LowBits kLow, HighBits kHigh, int kHalf>
LUTRA_INLINE HalfCodes load_half(const uint8_t* unit) {
  return {{load_codes<kLow, kHigh, kHalf, 0>(unit), load_codes<kLow, kHigh, kHalf, 1>(unit),
           load_codes<kLow, kHigh, kHalf, 2>(unit), load_codes<kLow, kHigh, kHalf, 3>(unit)}};
}

/// Keeps a partial sum where it is written. Left alone, GCC 12 makes all products of a tile before adding any, and
/// spills
/// them (Q4_1 at n = 64: 53 against 67 GMAC/s).
LUTRA_INLINE __m256i settled(__m256i value) {
#if defined(__GNUC__)
  asm volatile("" : "+x"(value));
#endif
  return value;
}

/// int16 partial sums of codes first, first + 1 of a half.
LUTRA_INLINE __m256i dot_pair(const HalfCodes& codes, int first, const int8_t* a) {
  return _mm256_add_epi16(_mm256_maddubs_epi16(codes.v[first], broadcast4(a + 4 * first)),
                          _mm256_maddubs_epi16(codes.v[first + 1], broadcast4(a + 4 * first + 4)));
}

LUTRA_INLINE __m256i dot_four(const HalfCodes& codes, const int8_t* a) {
  return settled(_mm256_add_epi16(dot_pair(codes, 0, a), dot_pair(codes, 2, a)));
}

/// 256·high + low, pairs of int16 partial sums joined to int32.
LUTRA_INLINE __m256i join_planes(__m256i high, __m256i low) {
  return settled(
      _mm256_add_epi32(_mm256_madd_epi16(high, _mm256_set1_epi16(256)), _mm256_madd_epi16(low, _mm256_set1_epi16(1))));
}

/// sums[c] = int32 Σ code·(256·high + low) of the unit, 2-, 4- and 5-bit codes. 4-bit partial sums of both halves fit
/// int16.
template <LowBits kLow, HighBits kHigh, int kColumns>
LUTRA_INLINE void dot_unsigned(const uint8_t* unit, const Columns& columns, __m256i* sums) {
  __m256i low[kColumns];
  const HalfCodes first = load_half<kLow, kHigh, 0>(unit);
#pragma GCC unroll 8
  for (int c = 0; c < kColumns; ++c) {
    sums[c] = dot_four(first, columns.high(c));
    low[c] = dot_four(first, columns.low(c));
    if constexpr (kHigh != HighBits::kNone) sums[c] = join_planes(sums[c], low[c]);
  }
  const HalfCodes second = load_half<kLow, kHigh, 1>(unit);
#pragma GCC unroll 8
  for (int c = 0; c < kColumns; ++c) {
    const __m256i high_second = dot_four(second, columns.high(c) + 16);
    const __m256i low_second = dot_four(second, columns.low(c) + 16);
    if constexpr (kHigh != HighBits::kNone) {
      sums[c] = _mm256_add_epi32(sums[c], join_planes(high_second, low_second));
    } else {
      sums[c] = join_planes(_mm256_add_epi16(sums[c], high_second), _mm256_add_epi16(low[c], low_second));
    }
  }
}

/// Vector j of signed weights: |w| · sign(a, w), exact also for w = −128 (|w| is unsigned).
template <int kColumns, bool kFirst>
LUTRA_INLINE void dot_signed_vector(__m256i w, const Columns& columns, int j, __m256i* sums) {
  const __m256i magnitude = _mm256_abs_epi8(w);
#pragma GCC unroll 8
  for (int c = 0; c < kColumns; ++c) {
    const __m256i high = _mm256_sign_epi8(broadcast4(columns.high(c) + 4 * j), w);
    const __m256i low = _mm256_sign_epi8(broadcast4(columns.low(c) + 4 * j), w);
    const __m256i both = join_planes(_mm256_maddubs_epi16(magnitude, high), _mm256_maddubs_epi16(magnitude, low));
    sums[c] = kFirst ? both : _mm256_add_epi32(sums[c], both);
  }
}

/// sums[c] = int32 Σ w·(256·high + low) of a unit of int8 weights.
template <int kColumns>
LUTRA_INLINE void dot_bytes(const uint8_t* unit, const Columns& columns, __m256i* sums) {
  dot_signed_vector<kColumns, true>(load_vector(unit), columns, 0, sums);
#pragma GCC unroll 7
  for (int j = 1; j < 8; ++j) dot_signed_vector<kColumns, false>(load_vector(unit + 32 * j), columns, j, sums);
}

/// Weights of vector j = 4·kHalf + kI of a split unit: w + 128 = 16·high + low, and xor with 128 makes it the int8 w.
template <int kHalf, int kI>
LUTRA_INLINE __m256i load_split(const uint8_t* high, const uint8_t* low) {
  const __m256i upper = shifted<4 - 4 * kHalf>(load_vector(high + 32 * kI), _mm256_set1_epi8(-16));
  const __m256i code = _mm256_or_si256(upper, shifted<-4 * kHalf>(load_vector(low + 32 * kI), _mm256_set1_epi8(15)));
  return _mm256_xor_si256(code, _mm256_set1_epi8(-128));
}

/// sums[c] = int32 Σ w·(256·high + low) of a split unit.
template <int kColumns>
LUTRA_INLINE void dot_split(const uint8_t* high, const uint8_t* low, const Columns& columns, __m256i* sums) {
  dot_signed_vector<kColumns, true>(load_split<0, 0>(high, low), columns, 0, sums);
  dot_signed_vector<kColumns, false>(load_split<0, 1>(high, low), columns, 1, sums);
  dot_signed_vector<kColumns, false>(load_split<0, 2>(high, low), columns, 2, sums);
  dot_signed_vector<kColumns, false>(load_split<0, 3>(high, low), columns, 3, sums);
  dot_signed_vector<kColumns, false>(load_split<1, 0>(high, low), columns, 4, sums);
  dot_signed_vector<kColumns, false>(load_split<1, 1>(high, low), columns, 5, sums);
  dot_signed_vector<kColumns, false>(load_split<1, 2>(high, low), columns, 6, sums);
  dot_signed_vector<kColumns, false>(load_split<1, 3>(high, low), columns, 7, sums);
}

/// sums[c] = int32 Σ table[code]·(256·high + low) of a unit of 4-bit table indices.
template <Codes kCodes, int kColumns>
LUTRA_INLINE void dot_table(const uint8_t* unit, const Columns& columns, __m256i* sums) {
  constexpr const int8_t* kTable = code_values(kCodes);
  const __m256i table = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(kTable)));
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m256i packed = load_vector(unit + 32 * i);
    const __m256i first = _mm256_shuffle_epi8(table, shifted<0>(packed, _mm256_set1_epi8(15)));
    const __m256i second = _mm256_shuffle_epi8(table, shifted<-4>(packed, _mm256_set1_epi8(15)));
    if (i == 0) {
      dot_signed_vector<kColumns, true>(first, columns, 0, sums);
    } else {
      dot_signed_vector<kColumns, false>(first, columns, i, sums);
    }
    dot_signed_vector<kColumns, false>(second, columns, 4 + i, sums);
  }
}

/// int32 scale · Σ code·a of half a unit and one plane. Six-bit sums leave int16 after two vectors.
template <HighBits kHigh>
LUTRA_INLINE __m256i dot_half_scaled(const HalfCodes& codes, const int8_t* a, __m256i scale) {
  if constexpr (kHigh == HighBits::kTwo) {
    return settled(_mm256_add_epi32(_mm256_madd_epi16(dot_pair(codes, 0, a), scale),
                                    _mm256_madd_epi16(dot_pair(codes, 2, a), scale)));
  }
  return _mm256_madd_epi16(dot_four(codes, a), scale);
}

/// high[c], low[c] = int32 scale_first · Σ_{k<16} code·a + scale_second · Σ_{k≥16} code·a of each plane; a scale fills
/// both int16 of its lane.
template <LowBits kLow, HighBits kHigh, int kColumns>
LUTRA_INLINE void dot_scaled(const uint8_t* unit, const Columns& columns, __m256i scale_first, __m256i scale_second,
                             __m256i* high, __m256i* low) {
  const HalfCodes first = load_half<kLow, kHigh, 0>(unit);
#pragma GCC unroll 8
  for (int c = 0; c < kColumns; ++c) {
    high[c] = dot_half_scaled<kHigh>(first, columns.high(c), scale_first);
    low[c] = dot_half_scaled<kHigh>(first, columns.low(c), scale_first);
  }
  const HalfCodes second = load_half<kLow, kHigh, 1>(unit);
#pragma GCC unroll 8
  for (int c = 0; c < kColumns; ++c) {
    high[c] = _mm256_add_epi32(high[c], dot_half_scaled<kHigh>(second, columns.high(c) + 16, scale_second));
    low[c] = _mm256_add_epi32(low[c], dot_half_scaled<kHigh>(second, columns.low(c) + 16, scale_second));
  }
}

/// The products of one unit, as the tiles of matmul_wide.h and matmul_narrow.h ask for them.
struct MaddDots {
  /// Columns of a tile: unpacking shared eight times outweighs accumulators kept in memory. GMAC/s at n = 64 with
  /// 4, 6 and 8 columns: Q4_1 63, 66, 67; Q5_K 54, 58, 61; Q6_K 47, 49, 51; Q8_0 35, 35, 34.
  static constexpr int kMaxTile = 8;

  /// sum(c) = int32 Σ w·(256·high + low) of column c.
  template <LowBits kLow, HighBits kHigh, Codes kCodes, int kColumns>
  struct Wide {
    __m256i sums[kColumns];

    LUTRA_INLINE Wide(const uint8_t* unit, const Columns& columns) {
      if constexpr (kCodes == Codes::kUnsigned) dot_unsigned<kLow, kHigh, kColumns>(unit, columns, sums);
      if constexpr (kCodes == Codes::kSignedByte) dot_bytes<kColumns>(unit, columns, sums);
      if constexpr (is_table(kCodes)) dot_table<kCodes, kColumns>(unit, columns, sums);
    }
    LUTRA_INLINE __m256i sum(const Columns&, int c) const { return sums[c]; }
  };

  /// sum(c) = int32 Σ code·high of 4-bit codes.
  template <int kColumns>
  struct Nibbles {
    __m256i sums[kColumns];

    LUTRA_INLINE Nibbles(const uint8_t* unit, const Columns& columns) {
      const HalfCodes first = load_half<LowBits::kNibble, HighBits::kNone, 0>(unit);
#pragma GCC unroll 8
      for (int c = 0; c < kColumns; ++c) sums[c] = dot_four(first, columns.high(c));
      const HalfCodes second = load_half<LowBits::kNibble, HighBits::kNone, 1>(unit);
#pragma GCC unroll 8
      for (int c = 0; c < kColumns; ++c) {
        const __m256i both = _mm256_add_epi16(sums[c], dot_four(second, columns.high(c) + 16));
        sums[c] = _mm256_madd_epi16(both, _mm256_set1_epi16(1));
      }
    }
    LUTRA_INLINE __m256i sum(const Columns&, int c) const { return sums[c]; }
  };

  /// The same of a split unit of int8 weights.
  template <int kColumns>
  struct Split {
    __m256i sums[kColumns];

    LUTRA_INLINE Split(const uint8_t* high, const uint8_t* low, const Columns& columns) {
      dot_split<kColumns>(high, low, columns, sums);
    }
    LUTRA_INLINE __m256i sum(const Columns&, int c) const { return sums[c]; }
  };

  /// planes(c) = int32 scale_first · Σ_{k<16} code·a + scale_second · Σ_{k≥16} code·a of each plane; int32 scales.
  template <LowBits kLow, HighBits kHigh, int kColumns>
  struct Narrow {
    __m256i high[kColumns], low[kColumns];

    LUTRA_INLINE Narrow(const uint8_t* unit, const Columns& columns, __m256i scale_first, __m256i scale_second) {
      dot_scaled<kLow, kHigh, kColumns>(unit, columns, both_halves(scale_first), both_halves(scale_second), high, low);
    }
    LUTRA_INLINE PlaneSums planes(const Columns&, int c) const { return {high[c], low[c]}; }
  };
};

}  // namespace
}  // namespace lutra::kernels::avx2
