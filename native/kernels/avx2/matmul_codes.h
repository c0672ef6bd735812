// Reading one unit (8 rows × 32 k) of packed codes and a tile of columns' activations. One vector is 8 rows × 4
// consecutive k. Both x86 paths with 256-bit vectors include it; each translation unit gets a copy of its own.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/kernels.h"
#include "kernels/panel_layout.h"

#define LUTRA_INLINE inline __attribute__((always_inline))

namespace lutra::kernels::avx2 {
namespace {

/// Activations of a tile of columns at one unit. A block of planes is 64 bytes: 32 high, 32 low.
struct Columns {
  const int8_t* planes;
  const float* d;
  const float* s;
  const float* s16;
  uint64_t blocks;  ///< per column: the stride between columns

  LUTRA_INLINE Columns(const PlaneActivations& a, uint64_t column, uint64_t k)
      : planes(a.planes + column * 2 * k),
        d(a.d + column * (k / 32)),
        s(a.s + column * (k / 32)),
        s16(a.s16 + column * (k / 16)),
        blocks(k / 32) {}
  LUTRA_INLINE const int8_t* high(int c) const { return planes + static_cast<uint64_t>(c) * blocks * 64; }
  LUTRA_INLINE const int8_t* low(int c) const { return high(c) + 32; }
  LUTRA_INLINE void advance() {
    planes += 64;
    d += 1;
    s += 1;
    s16 += 2;
  }
};

/// Integer sums of the two planes, where they stay apart.
struct PlaneSums {
  __m256i high, low;
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

/// Eight rows' d.
template <RowScale kScale>
LUTRA_INLINE __m256 load_row_scales(const uint8_t* bytes) {
  if constexpr (kScale == RowScale::kHalf) return load_halves(bytes);
  const __m256i bits = _mm256_slli_epi32(_mm256_cvtepu8_epi32(load_eight_bytes(bytes)), 23);
  const __m256i exponents = _mm256_max_epu32(bits, _mm256_set1_epi32(kExponentZero));
  return _mm256_mul_ps(_mm256_castsi256_ps(exponents), _mm256_set1_ps(0.5f));
}

/// Small int32 values copied to both int16 of their lanes.
LUTRA_INLINE __m256i both_halves(__m256i value) {
  return _mm256_blend_epi16(value, _mm256_slli_epi32(value, 16), 0xAA);
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

}  // namespace
}  // namespace lutra::kernels::avx2
