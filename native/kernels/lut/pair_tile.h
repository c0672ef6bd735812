// Tiles of types with two low planes, and perhaps a third. A 16-bit lane of a vector is the two planes of a row, whose
// sum with weights 1 and 2 stays in the lane; even and odd lanes are runs of rows (lut_kernels.h: places).
//
// Sub-scales of 16 elements go in as factors of a 16-bit product. With S = Σ_h sc_h Σ code·c over the halves of a unit
//   acc = fma(float(S), d·d_a, acc); acc = fma(m_0, s16_a[0], acc); acc = fma(m_1, s16_a[1], acc)
// which gives the bits of avx2/matmul_narrow.h: there float(S) is fma(float(H), 256, float(L)) with S = 256 H + L, and
// |H|, |L| ≤ 32·7·32·127 = 910336 < 2^24, so both round 256 H + L once; |S| ≤ 257 · 910336 < 2^28. Types without
// sub-scales are as in nibble_tile.h. kInt8 has a sum and a scale for each half, in that order.
//
// 16-bit sums of half a unit. kExact digits: two planes 3 · 252 = 756, third 4 · 252 more: 1764; last digit ≥ −7 · 128
// = −896. Two planes' second and third digit join in 16 bits: |756 + 64 · −384| ≤ 24576. kInt8: an entry and what it
// lacks are q, |q| ≤ 254, and half an entry at most: 4 · 7 · 4 · 254.5 + 7 / 2 < 28508. Sums on the way there are
// additions, which may wrap.
#pragma once

#include <cstdint>

#include "kernels/lut/half_sums.h"
#include "kernels/panel_layout.h"

namespace lutra::kernels::lut {
namespace {

template <typename Lanes, const PanelShape& kPanel, int kZero, LutTables kTables>
struct PairTile {
  using Ints = typename Lanes::Ints;
  using Floats = typename Lanes::Floats;
  using Shorts = typename Lanes::Shorts;
  static constexpr PanelShape kShape = kPanel;
  using TableColumns = Columns<kTables>;
  static constexpr int kSlices = static_cast<int>(kLutRows) / Lanes::kInts;
  /// Slice v is the even lanes of vector v, slice kPairs + v the odd ones.
  static constexpr int kPairs = Lanes::kPairVectors;
  static constexpr int kN = kDigits<kTables>;
  static constexpr bool kHasHigh = kPanel.high == HighBits::kOne;
  static constexpr bool kHasMin = kPanel.min_offset != 0;
  static constexpr bool kNarrow = kPanel.n_scales == 16;
  static constexpr int kAllPlanes = kHasHigh ? 7 : 3;
  /// Second and third digit join in 16 bits.
  static constexpr bool kJoins = kN == 3 && !kHasHigh;
  static constexpr int kTerms = kJoins ? 2 : kN;
  static_assert(kPanel.low == LowBits::kTwo && kPanel.high != HighBits::kTwo);
  static_assert(kNarrow || kPanel.n_scales == 0);

  struct Scales {
    Floats d[kSlices], min[kSlices];

    LUTRA_LUT_INLINE explicit Scales(const uint8_t* super_block) {
#pragma GCC unroll 8
      for (int i = 0; i < kSlices; ++i) {
        d[i] = Lanes::load_halves(super_block + 2 * first_row(i));
        if constexpr (kHasMin) min[i] = Lanes::load_halves(super_block + 4 * kPanel.min_offset + 2 * first_row(i));
      }
    }
  };

  /// Sub-scales of half a unit for a vector of pairs: factors of the even and odd lanes, and float offsets.
  struct Factors {
    Ints even, odd;
    Floats even_offset, odd_offset;
  };

  template <int kColumns>
  static LUTRA_LUT_INLINE void unit(const uint8_t* super_block, uint32_t u, const Scales& scales,
                                    const Columns<kTables>& columns, Floats (&acc)[kColumns][kSlices]) {
    const uint8_t* bytes = super_block + 4 * kPanel.unit_offset + 4 * u * kPanel.unit_bytes;
    Factors factors[2][kPairs];
#pragma GCC unroll 4
    for (int v = 0; v < kPairs; ++v) {
      factors[0][v] = load_factors(super_block, u, 0, v, scales);
      factors[1][v] = load_factors(super_block, u, 1, v, scales);
    }
    add_part<0>(bytes, columns, factors, scales, acc);
    if constexpr (kParts<kTables> == 2) add_part<1>(bytes, columns, factors, scales, acc);
    if constexpr (!kNarrow && kZero == 0) return;
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) {
#pragma GCC unroll 4
      for (int v = 0; v < kPairs; ++v) {
        const Factors(&at)[2][kPairs] = factors;
        add_offsets(columns, c, scales.d[v], at[0][v].even_offset, at[1][v].even_offset, acc[c][v]);
        add_offsets(columns, c, scales.d[kPairs + v], at[0][v].odd_offset, at[1][v].odd_offset, acc[c][kPairs + v]);
      }
    }
  }

  /// Where the rows of slice i start in the tile.
  static constexpr int first_row(int slice) {
    return slice < kPairs ? slice * Lanes::kInts : 16 + (slice - kPairs) * Lanes::kInts;
  }

 private:
  /// One term of the float sum.
  template <int kPart, int kColumns>
  static LUTRA_LUT_INLINE void add_part(const uint8_t* bytes, const Columns<kTables>& columns,
                                        const Factors (&factors)[2][kPairs], const Scales& scales,
                                        Floats (&acc)[kColumns][kSlices]) {
    // Of the sums of slices, one a digit or two joined.
    Ints terms[kColumns][kTerms][kSlices];
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) {
#pragma GCC unroll 3
      for (int term = 0; term < kTerms; ++term) {
#pragma GCC unroll 8
        for (int i = 0; i < kSlices; ++i) terms[c][term][i] = Lanes::broadcast_int(0);
      }
    }
    half<kPart>(bytes, columns, factors[kPart], terms);
    if constexpr (kParts<kTables> == 1) half<1>(bytes, columns, factors[1], terms);
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) {
#pragma GCC unroll 8
      for (int i = 0; i < kSlices; ++i) {
        Ints sum = terms[c][0][i];
        if constexpr (kTerms > 1) sum = Lanes::add_ints(sum, Lanes::template shifted<kDigitBits>(terms[c][1][i]));
        if constexpr (kTerms > 2) sum = Lanes::add_ints(sum, Lanes::template shifted<2 * kDigitBits>(terms[c][2][i]));
        const Floats factor = Lanes::multiply(scales.d[i], Lanes::broadcast(columns.scale(c, kPart)));
        acc[c][i] = Lanes::fused(Lanes::floats(sum), factor, acc[c][i]);
      }
    }
  }

  template <int kHalf, int kColumns>
  static LUTRA_LUT_INLINE void half(const uint8_t* bytes, const Columns<kTables>& columns,
                                    const Factors (&factors)[kPairs], Ints (&terms)[kColumns][kTerms][kSlices]) {
    Shorts sums[kColumns][kN][kPairs];
    const uint8_t* codes = bytes + 4 * kPanel.high_bytes;
    if constexpr (kTables == LutTables::kExact) {
      exact_sums<kHalf>(codes, columns, sums);
    } else {
      int8_sums<kHalf>(codes, columns, sums);
    }
    if constexpr (kHasHigh) add_high<kHalf>(bytes, columns, sums);
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) {
#pragma GCC unroll 4
      for (int v = 0; v < kPairs; ++v) {
        if constexpr (kJoins) {
          sums[c][1][v] = Lanes::add_shorts(sums[c][1][v], Lanes::template shifted_shorts<kDigitBits>(sums[c][2][v]));
        }
#pragma GCC unroll 3
        for (int term = 0; term < kTerms; ++term) {
          Ints(&sum)[kSlices] = terms[c][term];
          sum[v] = Lanes::add_even(sum[v], sums[c][term][v], factors[v].even);
          sum[kPairs + v] = Lanes::add_odd(sum[kPairs + v], sums[c][term][v], factors[v].odd);
        }
      }
    }
  }

  template <int kHalf, int kColumns>
  static LUTRA_LUT_INLINE void exact_sums(const uint8_t* codes, const Columns<kTables>& columns,
                                          Shorts (&sums)[kColumns][kN][kPairs]) {
    typename Lanes::Bytes bytes[kColumns][3][kPairs];
    add_bytes<Lanes, kHalf>(codes, 64, columns, bytes);
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) {
#pragma GCC unroll 4
      for (int v = 0; v < kPairs; ++v) {
        sums[c][0][v] = Lanes::template joined<false, 1>(bytes[c][0][v]);
        sums[c][1][v] = Lanes::template joined<false, 1>(bytes[c][1][v]);
        sums[c][2][v] = Lanes::template joined<true, 1>(bytes[c][2][v]);
      }
    }
  }

  template <int kHalf, int kColumns>
  static LUTRA_LUT_INLINE void int8_sums(const uint8_t* codes, const Columns<kTables>& columns,
                                         Shorts (&sums)[kColumns][kN][kPairs]) {
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) {
#pragma GCC unroll 4
      for (int v = 0; v < kPairs; ++v) sums[c][0][v] = Lanes::broadcast_short(kAllPlanes * columns.bias(c, kHalf));
    }
#pragma GCC unroll 4
    for (int m = 0; m < 4; ++m) {
#pragma GCC unroll 4
      for (int v = 0; v < kPairs; ++v) {
        const auto index = Lanes::template nibbles<kHalf>(Lanes::load(codes + 64 * m + v * Lanes::kBytes));
#pragma GCC unroll 4
        for (int c = 0; c < kColumns; ++c) {
          const auto found = Lanes::lookup(Lanes::table(columns.table(c, 4 * kHalf + m, 0)), index);
          sums[c][0][v] = Lanes::add_shorts(sums[c][0][v], Lanes::template joined<true, kUnit<kTables>>(found));
        }
      }
    }
  }

  template <int kHalf, int kColumns>
  static LUTRA_LUT_INLINE void add_high(const uint8_t* codes, const Columns<kTables>& columns,
                                        Shorts (&sums)[kColumns][kN][kPairs]) {
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) {
      Shorts high[kN][kPairs];
#pragma GCC unroll 3
      for (int digit = 0; digit < kN; ++digit) {
#pragma GCC unroll 4
        for (int v = 0; v < kPairs; ++v) high[digit][v] = Lanes::broadcast_short(0);
      }
      add_plane<Lanes, kTables, kHalf>(codes, columns, c, high);
#pragma GCC unroll 3
      for (int digit = 0; digit < kN; ++digit) {
#pragma GCC unroll 4
        for (int v = 0; v < kPairs; ++v) {
          const Shorts fourfold = Lanes::template shifted_shorts < kN == 1 ? 2 + 2 : 2 > (high[digit][v]);
          sums[c][digit][v] = Lanes::add_shorts(sums[c][digit][v], fourfold);
        }
      }
    }
  }

  static LUTRA_LUT_INLINE Factors load_factors(const uint8_t* super_block, uint32_t u, int half, int v,
                                               const Scales& scales) {
    Factors out;
    if constexpr (!kNarrow) {
      const Shorts one = Lanes::broadcast_short(1);
      out.even = Lanes::even_factors(one);
      out.odd = Lanes::odd_factors(one);
      return out;
    }
    const uint8_t* bytes = super_block + 4 * kPanel.scale_offset + kLutRows * (2 * u + static_cast<uint32_t>(half));
    const auto rows = Lanes::load_rows(bytes);
    if constexpr (kHasMin) {
      const Shorts both = Lanes::template widened<false>(rows, v);
      const Shorts codes = Lanes::and_shorts(both, Lanes::broadcast_short(15));
      const Shorts mins = Lanes::template shifted_shorts<-4>(both);
      out.even = Lanes::even_factors(codes);
      out.odd = Lanes::odd_factors(codes);
      out.even_offset = min_offset(scales.min[v], Lanes::even_ints(mins));
      out.odd_offset = min_offset(scales.min[kPairs + v], Lanes::odd_ints(mins));
    } else {
      const Shorts codes = Lanes::template widened<true>(rows, v);
      out.even = Lanes::even_factors(codes);
      out.odd = Lanes::odd_factors(codes);
      out.even_offset = zero_offset(scales.d[v], Lanes::even_ints(codes));
      out.odd_offset = zero_offset(scales.d[kPairs + v], Lanes::odd_ints(codes));
    }
    return out;
  }

  static LUTRA_LUT_INLINE Floats min_offset(Floats min, Ints codes) {
    return Lanes::negated(Lanes::multiply(min, Lanes::floats(codes)));
  }
  static LUTRA_LUT_INLINE Floats zero_offset(Floats d, Ints codes) {
    return Lanes::multiply(Lanes::broadcast(static_cast<float>(-kZero)), Lanes::multiply(d, Lanes::floats(codes)));
  }

  static LUTRA_LUT_INLINE void add_offsets(const Columns<kTables>& columns, int c, Floats d, Floats first,
                                           Floats second, Floats& acc) {
    if constexpr (kNarrow) {
      acc = Lanes::fused(first, Lanes::broadcast(columns.half_sum(c, 0)), acc);
      acc = Lanes::fused(second, Lanes::broadcast(columns.half_sum(c, 1)), acc);
    } else {
      const Floats m = Lanes::multiply(Lanes::broadcast(static_cast<float>(-kZero)), d);
      acc = Lanes::fused(m, Lanes::broadcast(columns.sum(c)), acc);
    }
  }
};

}  // namespace
}  // namespace lutra::kernels::lut
