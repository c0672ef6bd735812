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

/// Whether a digit is signed: the last always is.
template <LutTables kTables>
constexpr bool is_signed(int digit) {
  return digit == kDigits<kTables> - 1;
}

template <LutTables kTables>
struct Columns {
  const uint8_t* entries;
  const float* d;
  const float* s;
  const float* s16;
  const int32_t* centres;
  uint64_t blocks;         ///< per column: the stride between columns
  uint64_t entries_bytes;  ///< of a column

  LUTRA_LUT_INLINE Columns(const LutMatmulArgs& args, uint64_t column)
      : entries(args.entries + column * (args.k / kLutGroup) * lut_group_bytes(kTables)),
        d(args.d + column * (args.k / 32)),
        s(args.s + column * (args.k / 32)),
        s16(args.s16 + column * (args.k / 16)),
        centres(kTables == LutTables::kExact ? nullptr : args.centres + column * (args.k / 16)),
        blocks(args.k / 32),
        entries_bytes(args.k / kLutGroup * lut_group_bytes(kTables)) {}

  /// The 16 entries of digit `digit` of group `group` (0..7) of the unit.
  LUTRA_LUT_INLINE const uint8_t* table(int column, int group, int digit) const {
    constexpr uint64_t kGroupBytes = lut_group_bytes(kTables);
    return entries + static_cast<uint64_t>(column) * entries_bytes +
           static_cast<uint64_t>(group) * kGroupBytes + static_cast<uint64_t>(digit) * kLutEntries;
  }
  LUTRA_LUT_INLINE float scale(int column) const { return d[static_cast<uint64_t>(column) * blocks]; }
  LUTRA_LUT_INLINE float sum(int column) const { return s[static_cast<uint64_t>(column) * blocks]; }
  LUTRA_LUT_INLINE float half_sum(int column, int half) const {
    return s16[2 * static_cast<uint64_t>(column) * blocks + static_cast<uint64_t>(half)];
  }
  /// The centres of half a unit; 0 where entries have none.
  LUTRA_LUT_INLINE int32_t centre(int column, int half) const {
    if constexpr (kTables == LutTables::kExact) return 0;
    return centres[2 * static_cast<uint64_t>(column) * blocks + static_cast<uint64_t>(half)];
  }
  LUTRA_LUT_INLINE void advance() {
    entries += 8 * lut_group_bytes(kTables);
    d += 1;
    s += 1;
    s16 += 2;
    if constexpr (kTables != LutTables::kExact) centres += 2;
  }
};

}  // namespace
}  // namespace lutra::kernels::lut
