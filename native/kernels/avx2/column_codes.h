// Codes of column strips (column_layout.h) as vectors of 8 consecutive rows × 4 channels, a byte each. Both x86 paths
// include it; each translation unit gets a copy of its own.
//
// A strip's 64 rows are eight such vectors. kVectors (8, 4 or 2) of them are taken at once, as many as a path has room
// to sum up, in 8 / kVectors parts that cost few unpacks twice: nibbles hold both halves of a strip, so a part is of
// the same rows of both; of types whose halves are put together before, of one half.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/avx2/matmul_codes.h"
#include "kernels/column_layout.h"

namespace lutra::kernels::avx2 {
namespace {

/// A granule's channels and what they are multiplied with.
struct ColumnQuads {
  const uint32_t* offsets;  ///< [n][4] from a strip's first run to a channel's
  const int8_t* planes;     ///< [n][8] of the first row of activations
  uint64_t stride;          ///< to the next row's
  uint32_t n;

  LUTRA_INLINE const int8_t* high(int t, uint32_t i) const {
    return planes + static_cast<uint64_t>(t) * stride + 8 * i;
  }
  LUTRA_INLINE const int8_t* low(int t, uint32_t i) const { return high(t, i) + 4; }
};

constexpr bool parts_are_halves(const ColumnShape& shape) {
  return shape.high == ColumnHigh::kFifthBit || shape.high == ColumnHigh::kWhole;
}

/// The first row of vector i of a part.
template <const ColumnShape& kShape, int kVectors>
constexpr int column_vector_row(int part, int i) {
  if (parts_are_halves(kShape)) return 8 * (part * kVectors + i);
  return 32 * (i % 2) + 8 * (part * (kVectors / 2) + i / 2);
}

/// Quarters [kFrom, kFrom + kCount) of four channels' halves: quarter q is rows 8q to 8q + 7.
template <int kFrom, int kCount>
LUTRA_INLINE void interleave(const __m256i* channels, __m256i* quarters) {
  if constexpr (kFrom < 2) {
    const __m256i first = _mm256_unpacklo_epi8(channels[0], channels[1]);
    const __m256i second = _mm256_unpacklo_epi8(channels[2], channels[3]);
    if constexpr (kFrom == 0) quarters[0] = _mm256_unpacklo_epi16(first, second);
    if constexpr (kFrom + kCount > 1) quarters[1 - kFrom] = _mm256_unpackhi_epi16(first, second);
  }
  if constexpr (kFrom + kCount > 2) {
    const __m256i first = _mm256_unpackhi_epi8(channels[0], channels[1]);
    const __m256i second = _mm256_unpackhi_epi8(channels[2], channels[3]);
    if constexpr (kFrom <= 2) quarters[2 - kFrom] = _mm256_unpacklo_epi16(first, second);
    if constexpr (kFrom + kCount > 3) quarters[3 - kFrom] = _mm256_unpackhi_epi16(first, second);
  }
}

/// Codes from nibbles and, of Q6_K, two bits: interleaved packed, taken apart after.
template <const ColumnShape& kShape, int kVectors, int kPart>
LUTRA_INLINE void load_nibble_codes(const uint8_t* runs, const uint32_t* offsets, __m256i* codes) {
  constexpr int kQuarters = kVectors / 2;
  __m256i channels[4], low[kQuarters], bits[kQuarters];
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) channels[c] = load_vector(runs + offsets[c]);
  interleave<kPart * kQuarters, kQuarters>(channels, low);
  if constexpr (kShape.high == ColumnHigh::kTwoBits) {
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
      const auto* place = reinterpret_cast<const __m128i*>(runs + offsets[c] + 32);
      channels[c] = _mm256_broadcastsi128_si256(_mm_loadu_si128(place));
    }
    interleave<kPart * kQuarters, kQuarters>(channels, bits);
  }
#pragma GCC unroll 4
  for (int q = 0; q < kQuarters; ++q) {
    codes[2 * q] = shifted<0>(low[q], _mm256_set1_epi8(15));
    codes[2 * q + 1] = shifted<-4>(low[q], _mm256_set1_epi8(15));
    if constexpr (kShape.high == ColumnHigh::kTwoBits) {
      // The lower lane is of bytes j < 16, the upper of the rest: bits 0 and 2 of half 0, 4 and 6 of half 1, to bit 4.
      const __m256i first = _mm256_sllv_epi32(bits[q], _mm256_setr_epi32(4, 4, 4, 4, 2, 2, 2, 2));
      const __m256i second = _mm256_srlv_epi32(bits[q], _mm256_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2));
      codes[2 * q] = _mm256_or_si256(codes[2 * q], _mm256_and_si256(first, _mm256_set1_epi8(48)));
      codes[2 * q + 1] = _mm256_or_si256(codes[2 * q + 1], _mm256_and_si256(second, _mm256_set1_epi8(48)));
    }
  }
}

/// A half of a run as its bytes stand. Path::add_fifth<kHalf>(codes, words) adds 16 where a half's bit is set.
template <typename Path, const ColumnShape& kShape, int kHalf>
LUTRA_INLINE __m256i load_run_half(const uint8_t* run) {
  if constexpr (kShape.high == ColumnHigh::kWhole) return load_vector(run + 32 * kHalf);
  const __m256i low = shifted<-4 * kHalf>(load_vector(run), _mm256_set1_epi8(15));
  return Path::add_fifth(low, run + 32 + 4 * kHalf);
}

template <typename Path, const ColumnShape& kShape, int kHalf, int kFrom, int kCount>
LUTRA_INLINE void load_half_codes(const uint8_t* runs, const uint32_t* offsets, __m256i* codes) {
  __m256i channels[4];
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) channels[c] = load_run_half<Path, kShape, kHalf>(runs + offsets[c]);
  interleave<kFrom, kCount>(channels, codes);
}

/// Unsigned codes of part kPart of a strip and a quad of channels.
template <typename Path, const ColumnShape& kShape, int kVectors, int kPart>
LUTRA_INLINE void load_column_codes(const uint8_t* runs, const uint32_t* offsets, __m256i* codes) {
  if constexpr (!parts_are_halves(kShape)) {
    load_nibble_codes<kShape, kVectors, kPart>(runs, offsets, codes);
  } else if constexpr (kVectors == 8) {
    load_half_codes<Path, kShape, 0, 0, 4>(runs, offsets, codes);
    load_half_codes<Path, kShape, 1, 0, 4>(runs, offsets, codes + 4);
  } else {
    constexpr int kFirst = kPart * kVectors;
    load_half_codes<Path, kShape, kFirst / 4, kFirst % 4, kVectors>(runs, offsets, codes);
  }
}

}  // namespace
}  // namespace lutra::kernels::avx2
