// Lookups of half a unit. Lanes (an ISA path's lut_lanes.h) names its vectors: Bytes are as wide as a register, Rows
// are 32 bytes, one a row, Shorts are registers of 16-bit lanes, of which kPairVectors hold 32 rows.
#pragma once

#include <cstdint>

#include "kernels/lut/columns.h"

namespace lutra::kernels::lut {
namespace {

/// Keeps a sum where it is written. Left alone, GCC 12 looks up for all columns before it adds, and spills.
template <typename Vector>
LUTRA_LUT_INLINE Vector settled(Vector value) {
#if defined(__x86_64__)
  asm volatile("" : "+v"(value));
#elif defined(__aarch64__)
  asm volatile("" : "+w"(value));
#endif
  return value;
}

/// sums[column][digit][vector] = the exact entries of the half's four groups, added in bytes (lut_kernels.h: they fit).
/// Codes of group m of `half` start at codes + m · stride.
template <typename Lanes, int kHalf, int kColumns, int kVectors>
LUTRA_LUT_INLINE void add_bytes(const uint8_t* codes, uint32_t stride, const Columns<LutTables::kExact>& columns,
                                typename Lanes::Bytes (&sums)[kColumns][3][kVectors]) {
#pragma GCC unroll 4
  for (int m = 0; m < 4; ++m) {
    typename Lanes::Bytes index[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      index[v] = Lanes::template nibbles<kHalf>(Lanes::load(codes + m * stride + v * Lanes::kBytes));
    }
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) {
#pragma GCC unroll 3
      for (int digit = 0; digit < 3; ++digit) {
        const typename Lanes::Bytes table = Lanes::table(columns.table(c, 4 * kHalf + m, digit));
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) {
          const typename Lanes::Bytes found = Lanes::lookup(table, index[v]);
          sums[c][digit][v] = m == 0 ? found : settled(Lanes::add_bytes(sums[c][digit][v], found));
        }
      }
    }
  }
}

/// One entry per row and group of a single plane, as 16-bit lanes, added to sums[digit][vector]; half a unit's are at
/// most 4 · 63 with exact tables, else 4 · 128.
template <typename Lanes, LutTables kTables, int kHalf>
LUTRA_LUT_INLINE void add_plane(const uint8_t* codes, const Columns<kTables>& columns, int column,
                                typename Lanes::Shorts (&sums)[kDigits<kTables>][Lanes::kPairVectors]) {
  typename Lanes::Rows rows[kDigits<kTables>];
#pragma GCC unroll 4
  for (int m = 0; m < 4; ++m) {
    const typename Lanes::Rows index = Lanes::template row_nibbles<kHalf>(Lanes::load_rows(codes + 32 * m));
#pragma GCC unroll 3
    for (int digit = 0; digit < kDigits<kTables>; ++digit) {
      const typename Lanes::Rows found = Lanes::lookup_rows(columns.table(column, 4 * kHalf + m, digit), index);
      if constexpr (kTables == LutTables::kExact) {
        rows[digit] = m == 0 ? found : Lanes::add_rows(rows[digit], found);
      } else {
#pragma GCC unroll 4
        for (int v = 0; v < Lanes::kPairVectors; ++v) {
          sums[digit][v] = Lanes::add_shorts(sums[digit][v], Lanes::template widened<true>(found, v));
        }
      }
    }
  }
  if constexpr (kTables == LutTables::kExact) {
#pragma GCC unroll 3
    for (int digit = 0; digit < 3; ++digit) {
#pragma GCC unroll 4
      for (int v = 0; v < Lanes::kPairVectors; ++v) {
        const typename Lanes::Shorts wide =
            digit == 2 ? Lanes::template widened<true>(rows[digit], v) : Lanes::template widened<false>(rows[digit], v);
        sums[digit][v] = Lanes::add_shorts(sums[digit][v], wide);
      }
    }
  }
}

}  // namespace
}  // namespace lutra::kernels::lut
