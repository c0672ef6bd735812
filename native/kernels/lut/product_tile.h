// Tiles of types whose codes are indices of a codebook (lut_kernels.h: tables of products) and whose scales cover 32
// elements. With S = Σ v·c of a unit, the floats are those of the multiply-adds (avx2/matmul_wide.h), in their order:
//   acc = fma(float(S), w·d_a, acc)
// kInt8 has a sum and a scale for each half of the unit: the operation for the one, then for the other.
// |S| ≤ 32 · 127 · 32639 < 2^27, digits joined < 2^27 more; kInt8: |S| ≤ 4 · 16 · 383, as an entry and what it lacks
// are 255 and 128 at most.
//
// Lanes (an ISA path's lut_products.h) are those of half_sums.h and:
//   kStep            elements of a half that are looked up at once
//   Packed, Indices  the codes of kStep elements of both halves and 32 rows; one half's, as lookups take them
//   RowSums          a digit's sums of 32 rows, unsigned
//   columns_at_once(digits, parts)  columns whose RowSums fit the registers
#pragma once

#include <cstdint>

#include "kernels/lut/columns.h"
#include "kernels/panel_layout.h"

namespace lutra::kernels::lut {
namespace {

template <typename Lanes, const PanelShape& kPanel, LutTables kTables>
struct ProductTile {
  using Ints = typename Lanes::Ints;
  using Floats = typename Lanes::Floats;
  using TableColumns = Columns<kTables, LutSet::kIq4Products>;
  static constexpr PanelShape kShape = kPanel;
  static constexpr int kSlices = static_cast<int>(kLutRows) / Lanes::kInts;
  static constexpr int kN = kDigits<kTables>;
  static_assert(kPanel.low == LowBits::kNibble && kPanel.high == HighBits::kNone && kPanel.min_offset == 0);

  /// d of a super-block's rows.
  struct Scales {
    Floats d[kSlices];

    LUTRA_LUT_INLINE explicit Scales(const uint8_t* super_block) {
#pragma GCC unroll 8
      for (int i = 0; i < kSlices; ++i) {
        if constexpr (kPanel.d == RowScale::kHalf) {
          d[i] = Lanes::load_halves(super_block + 2 * i * Lanes::kInts);
        } else {
          d[i] = Lanes::load_exponents(super_block + i * Lanes::kInts);
        }
      }
    }
  };

  template <int kColumns>
  static LUTRA_LUT_INLINE void unit(const uint8_t* super_block, uint32_t u, const Scales& scales,
                                    const TableColumns& columns, Floats (&acc)[kColumns][kSlices]) {
    const uint8_t* codes = super_block + 4 * kPanel.unit_offset + 4 * u * kPanel.unit_bytes;
    Floats w[kSlices];
#pragma GCC unroll 8
    for (int i = 0; i < kSlices; ++i) w[i] = scale(super_block, u, i, scales);
    add_columns<0>(codes, w, columns, acc);
  }

  /// Where the rows of slice i start in the tile.
  static constexpr int first_row(int slice) { return slice * Lanes::kInts; }

 private:
  /// Columns from kFirst on, as many at once as sums fit the registers.
  template <int kFirst, int kColumns>
  static LUTRA_LUT_INLINE void add_columns(const uint8_t* codes, const Floats (&w)[kSlices],
                                           const TableColumns& columns, Floats (&acc)[kColumns][kSlices]) {
    constexpr int kMost = Lanes::columns_at_once(kN, kParts<kTables>);
    constexpr int kCount = kColumns - kFirst < kMost ? kColumns - kFirst : kMost;
    typename Lanes::RowSums sums[kCount][kParts<kTables>][kN];
    look_up<kFirst>(codes, columns, sums);
#pragma GCC unroll 4
    for (int c = 0; c < kCount; ++c) {
#pragma GCC unroll 2
      for (int part = 0; part < kParts<kTables>; ++part) {
        const Floats d = Lanes::broadcast(columns.scale(kFirst + c, part));
#pragma GCC unroll 8
        for (int i = 0; i < kSlices; ++i) {
          const Ints sum = joined(sums[c][part], i, columns, kFirst + c, part);
          acc[kFirst + c][i] = Lanes::fused(Lanes::floats(sum), Lanes::multiply(w[i], d), acc[kFirst + c][i]);
        }
      }
    }
    if constexpr (kFirst + kCount < kColumns) add_columns<kFirst + kCount>(codes, w, columns, acc);
  }

  template <int kFirst, int kCount>
  static LUTRA_LUT_INLINE void look_up(const uint8_t* bytes, const TableColumns& columns,
                                       typename Lanes::RowSums (&sums)[kCount][kParts<kTables>][kN]) {
#pragma GCC unroll 4
    for (int c = 0; c < kCount; ++c) {
#pragma GCC unroll 2
      for (int part = 0; part < kParts<kTables>; ++part) {
#pragma GCC unroll 3
        for (int digit = 0; digit < kN; ++digit) Lanes::clear(sums[c][part][digit]);
      }
    }
#pragma GCC unroll 4
    for (int m = 0; m < 16; m += Lanes::kStep) {
      const typename Lanes::Packed codes = Lanes::load_packed(bytes + 32 * m);
      const typename Lanes::Indices first = Lanes::template indices<0>(codes);
      const typename Lanes::Indices second = Lanes::template indices<1>(codes);
#pragma GCC unroll 4
      for (int c = 0; c < kCount; ++c) {
#pragma GCC unroll 3
        for (int digit = 0; digit < kN; ++digit) {
          Lanes::add_found(columns.products(kFirst + c, 0, m, digit), first, sums[c][0][digit]);
          Lanes::add_found(columns.products(kFirst + c, 1, m, digit), second, sums[c][kParts<kTables> - 1][digit]);
        }
      }
    }
  }

  /// The integer sums of slice i.
  static LUTRA_LUT_INLINE Ints joined(const typename Lanes::RowSums (&sums)[kN], int i, const TableColumns& columns,
                                      int column, int part) {
    Ints sum = Lanes::slice(sums[0], i);
    if constexpr (kN == 1) {
      return Lanes::add_ints(Lanes::template shifted<2>(sum), Lanes::broadcast_int(columns.bias(column, part)));
    } else {
      sum = Lanes::add_ints(sum, Lanes::template shifted<8>(Lanes::slice(sums[1], i)));
      sum = Lanes::add_ints(sum, Lanes::template shifted<16>(Lanes::slice(sums[2], i)));
      return Lanes::add_ints(sum, Lanes::broadcast_int(-kLutUnitOffset));
    }
  }

  static LUTRA_LUT_INLINE Floats scale(const uint8_t* super_block, uint32_t u, int slice, const Scales& scales) {
    if constexpr (kPanel.scale_offset == 0) return scales.d[slice];
    const uint8_t* codes = super_block + 4 * kPanel.scale_offset + kLutRows * u + slice * Lanes::kInts;
    return Lanes::multiply(scales.d[slice], Lanes::floats(Lanes::load_signed(codes)));
  }
};

}  // namespace
}  // namespace lutra::kernels::lut
