// Tables of a tile of columns at one unit, for the kernels of lut_kernels.h. Internal linkage: each ISA path has its
// own copy.
#pragma once

#include <cstdint>

#include "kernels/lut_kernels.h"

#define LUTRA_LUT_INLINE inline __attribute__((always_inline))

namespace lutra::kernels::lut {
namespace {

/// Digits of an entry, and what one is worth: 2^(kDigitBits · digit).
template <LutTables kTables>
constexpr int kDigits = kTables == LutTables::kExact ? 3 : 1;
constexpr int kDigitBits = 6;

/// Terms of a unit's float sum: kInt8 has a scale for each half.
template <LutTables kTables>
constexpr int kParts = kTables == LutTables::kExact ? 1 : 2;
/// What a sum's unit is worth in entries: kInt8 counts quarters.
template <LutTables kTables>
constexpr int kUnit = kTables == LutTables::kExact ? 1 : 4;

/// Whether a digit is signed: the last always is.
template <LutTables kTables>
constexpr bool is_signed(int digit) {
  return digit == kDigits<kTables> - 1;
}

template <LutTables kTables, LutSet kSet = LutSet::kSubsetSums>
struct Columns {
  static constexpr uint64_t kUnitBytes = lut_entries_bytes(kSet, kTables, 32);
  static constexpr uint64_t kScaleElements = kTables == LutTables::kExact ? 32 : 16;
  const uint8_t* entries;
  const float* d;
  const float* s;
  const float* s16;
  const int32_t* biases;
  uint64_t blocks;         ///< per column: the stride between columns
  uint64_t entries_bytes;  ///< of a column

  LUTRA_LUT_INLINE Columns(const LutMatmulArgs& args, uint64_t column)
      : entries(args.entries + column * (args.k / 32) * kUnitBytes),
        d(args.d + column * (args.k / kScaleElements)),
        s(args.s + column * (args.k / 32)),
        s16(args.s16 + column * (args.k / 16)),
        biases(kTables == LutTables::kExact ? nullptr : args.biases + column * (args.k / 16)),
        blocks(args.k / 32),
        entries_bytes(args.k / 32 * kUnitBytes) {}

  /// The 16 entries of digit `digit` of group `group` (0..7) of the unit.
  LUTRA_LUT_INLINE const uint8_t* table(int column, int group, int digit) const {
    constexpr uint64_t kGroupBytes = lut_group_bytes(kTables);
    return entries + static_cast<uint64_t>(column) * entries_bytes + static_cast<uint64_t>(group) * kGroupBytes +
           static_cast<uint64_t>(digit) * kLutEntries;
  }
  /// The 16 products of digit `digit` of element m of half a unit; those of m + 1 follow.
  LUTRA_LUT_INLINE const uint8_t* products(int column, int half, int m, int digit) const {
    const auto table = static_cast<uint64_t>(16 * (half * kDigits<kTables> + digit) + m);
    return entries + static_cast<uint64_t>(column) * entries_bytes + kLutEntries * table;
  }
  /// Of half a unit, or of all of it where tables are exact.
  LUTRA_LUT_INLINE float scale(int column, int half) const {
    if constexpr (kTables == LutTables::kExact) return d[static_cast<uint64_t>(column) * blocks];
    return d[2 * static_cast<uint64_t>(column) * blocks + static_cast<uint64_t>(half)];
  }
  LUTRA_LUT_INLINE float sum(int column) const { return s[static_cast<uint64_t>(column) * blocks]; }
  LUTRA_LUT_INLINE float half_sum(int column, int half) const {
    return s16[2 * static_cast<uint64_t>(column) * blocks + static_cast<uint64_t>(half)];
  }
  LUTRA_LUT_INLINE int32_t bias(int column, int half) const {
    return biases[2 * static_cast<uint64_t>(column) * blocks + static_cast<uint64_t>(half)];
  }
  LUTRA_LUT_INLINE void advance() {
    entries += kUnitBytes;
    d += 32 / kScaleElements;
    s += 1;
    s16 += 2;
    if constexpr (kTables != LutTables::kExact) biases += 2;
  }
};

}  // namespace
}  // namespace lutra::kernels::lut
