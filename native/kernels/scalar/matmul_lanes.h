// Portable 16-byte vectors (the compiler's vector types, lowered to what the target has) for the scalar matmul:
// exact integer dots on the packed layout, and an exactly rounded fused multiply-add that needs no FMA instruction.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/panel_layout.h"

namespace lutra::kernels::scalar {
namespace {

typedef uint8_t Bytes16 __attribute__((vector_size(16)));
typedef int8_t Bytes8 __attribute__((vector_size(8)));
typedef float Floats2 __attribute__((vector_size(8)));
typedef int16_t Shorts4 __attribute__((vector_size(8)));
typedef int16_t Shorts8 __attribute__((vector_size(16)));
typedef int32_t Ints4 __attribute__((vector_size(16)));
typedef int64_t Longs2 __attribute__((vector_size(16)));
typedef double Doubles2 __attribute__((vector_size(16)));

template <typename Vector>
inline Vector load(const void* bytes) {
  Vector value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

inline Doubles2 widened(const float* two) { return __builtin_convertvector(load<Floats2>(two), Doubles2); }

/// acc[i] = fma(a[i], b[i], acc[i]) for 8 lanes, rounded like std::fma, which would be a library call per lane.
/// The product of two floats is exact in double. Rounding product + acc to double and then to float differs from one
/// rounding only when the double is a midpoint of two floats (its low 29 bits are 1 and 28 zeros) or the float would be
/// subnormal, where midpoints sit elsewhere; those lanes' groups are redone with std::fma.
inline void fma8(const float* a, const float* b, float* acc) {
#if defined(__FP_FAST_FMAF)  // 64-bit ARM: std::fma is one instruction
  for (int i = 0; i < 8; ++i) acc[i] = std::fma(a[i], b[i], acc[i]);
#else
  constexpr int64_t kBelowFloat = (1LL << 29) - 1, kMidpoint = 1LL << 28, kSignOff = INT64_MAX;
  constexpr int64_t kSmallest = static_cast<int64_t>(1023 - 125) << 52;  // bits of 2^-125
  Doubles2 sums[4];
  Longs2 rare = {0, 0};
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const Doubles2 product = widened(a + 2 * i) * widened(b + 2 * i);
    sums[i] = product + widened(acc + 2 * i);
    const Longs2 bits = (Longs2)sums[i];  // same bytes
    const Longs2 magnitude = bits & kSignOff;
    // Sign bits: the low bits equal the midpoint's; below 2^-125 without being zero.
    rare |= ((bits & kBelowFloat) ^ kMidpoint) - 1;
    rare |= (magnitude - kSmallest) & ~(magnitude - 1);
  }
  if ((rare[0] | rare[1]) < 0) {
    for (int i = 0; i < 8; ++i) acc[i] = std::fma(a[i], b[i], acc[i]);
    return;
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const Floats2 rounded = __builtin_convertvector(sums[i], Floats2);
    std::memcpy(acc + 2 * i, &rounded, sizeof rounded);
  }
#endif
}

/// One unit's codes as int16, [8 j][4 vectors]: vector v of j holds rows 2v and 2v + 1 × 4 consecutive k.
struct UnitCodes {
  Shorts8 v[8][4];
};

template <bool kSigned>
inline void widen(const Bytes16& bytes, Shorts8* out) {
#pragma GCC unroll 8
  for (int half = 0; half < 2; ++half) {
    Bytes8 eight;
    std::memcpy(&eight, reinterpret_cast<const uint8_t*>(&bytes) + 8 * half, 8);
    const Shorts8 wide = __builtin_convertvector(eight, Shorts8);
    out[half] = kSigned ? wide : (wide & int16_t{0xFF});
  }
}

template <int kShift>
inline Bytes16 shifted(Bytes16 bytes) {
  if constexpr (kShift > 0) return bytes << kShift;
  if constexpr (kShift < 0) return bytes >> -kShift;
  return bytes;
}

/// Codes of vector j = kJ, read by halves of 16 bytes (4 rows).
template <LowBits kLow, HighBits kHigh, Codes kCodes, int kJ>
inline void unpack_vector(const uint8_t* unit, UnitCodes& out) {
  constexpr int kHighBytes = kHigh == HighBits::kNone ? 0 : kHigh == HighBits::kOne ? 32 : 64;
  constexpr int kLowWidth = kLow == LowBits::kNibble ? 4 : 2;
#pragma GCC unroll 8
  for (int half = 0; half < 2; ++half) {
    const uint8_t* low = unit + kHighBytes + 16 * half;
    const uint8_t* high = unit + 16 * half;
    Bytes16 codes;
    if constexpr (kLow == LowBits::kByte) codes = load<Bytes16>(low + 32 * kJ);
    if constexpr (kLow == LowBits::kNibble) {
      codes = shifted<-4 * (kJ / 4)>(load<Bytes16>(low + 32 * (kJ % 4))) & uint8_t{15};
    }
    if constexpr (kLow == LowBits::kTwo) {
      codes = shifted<-2 * (kJ % 4)>(load<Bytes16>(low + 32 * (kJ / 4))) & uint8_t{3};
    }
    if constexpr (kHigh == HighBits::kOne) {
      codes |= shifted<kLowWidth - kJ>(load<Bytes16>(high)) & static_cast<uint8_t>(1 << kLowWidth);
    }
    if constexpr (kHigh == HighBits::kTwo) {
      const Bytes16 bits = load<Bytes16>(high + 32 * (kJ / 4));
      codes |= shifted<kLowWidth - 2 * (kJ % 4)>(bits) & static_cast<uint8_t>(3 << kLowWidth);
    }
    if constexpr (is_table(kCodes)) {
      constexpr const int8_t* kTable = code_values(kCodes);
      for (int i = 0; i < 16; ++i) codes[i] = static_cast<uint8_t>(kTable[codes[i]]);
    }
    widen<kCodes != Codes::kUnsigned>(codes, out.v[kJ] + 2 * half);
  }
}

template <LowBits kLow, HighBits kHigh, Codes kCodes>
inline void unpack_unit(const uint8_t* unit, UnitCodes& out) {
  unpack_vector<kLow, kHigh, kCodes, 0>(unit, out);
  unpack_vector<kLow, kHigh, kCodes, 1>(unit, out);
  unpack_vector<kLow, kHigh, kCodes, 2>(unit, out);
  unpack_vector<kLow, kHigh, kCodes, 3>(unit, out);
  unpack_vector<kLow, kHigh, kCodes, 4>(unit, out);
  unpack_vector<kLow, kHigh, kCodes, 5>(unit, out);
  unpack_vector<kLow, kHigh, kCodes, 6>(unit, out);
  unpack_vector<kLow, kHigh, kCodes, 7>(unit, out);
}

/// sums[r] = Σ code·a over vectors [kFirst, kFirst + kCount) of a unit; a points at one plane of the block, 32 bytes.
/// kRun vectors are added in int16 before widening: one product each, so kRun · 127 · |code| must stay below 32768:
/// 5-bit and narrower 8 · 127 · 31 = 31496, 6-bit 4 · 127 · 63 = 32004, bytes 2 · 127 · 128 = 32512.
template <int kFirst, int kCount, int kRun>
inline void dot(const UnitCodes& codes, const int8_t* a, int32_t* sums) {
  int16_t wide_a[32];
#pragma GCC unroll 8
  for (int i = 4 * kFirst; i < 4 * (kFirst + kCount); ++i) wide_a[i] = a[i];
  Ints4 totals[8] = {};
#pragma GCC unroll 8
  for (int run = kFirst; run < kFirst + kCount; run += kRun) {
    Shorts8 partial[4] = {};
#pragma GCC unroll 8
    for (int j = run; j < run + kRun; ++j) {
      const int64_t four = load<int64_t>(wide_a + 4 * j);
      const Shorts8 factor = (Shorts8)Longs2{four, four};  // same bytes
#pragma GCC unroll 8
      for (int v = 0; v < 4; ++v) partial[v] += codes.v[j][v] * factor;
    }
#pragma GCC unroll 8
    for (int r = 0; r < 8; ++r) {
      const Shorts4 row = load<Shorts4>(reinterpret_cast<const int16_t*>(partial) + 4 * r);
      totals[r] += __builtin_convertvector(row, Ints4);
    }
  }
  for (int r = 0; r < 8; ++r) sums[r] = (totals[r][0] + totals[r][1]) + (totals[r][2] + totals[r][3]);
}

}  // namespace
}  // namespace lutra::kernels::scalar
