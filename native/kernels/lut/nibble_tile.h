// Tiles of types with four low planes, and perhaps a fifth, whose sub-scales cover 32 elements. With S = Σ code·c of a
// unit, the floats are those of the multiply-adds (avx2/matmul_wide.h), in their order:
//   acc = fma(float(S), w·d_a, acc); acc = fma(m, s_a, acc)
// kInt8 has a sum and a scale for each half of the unit: the first operation for the one, then for the other.
// A dword of a vector is the four planes of a row, so one dot product of bytes with 1, 2, 4, 8 joins them.
// |S| ≤ 32·31·32639 = 32.4e6 < 2^25; kInt8: |S| ≤ 4·31·4·382 (an entry and what it lacks: 128 + 254), far less.
#pragma once

#include <cstdint>

#include "kernels/lut/half_sums.h"
#include "kernels/panel_layout.h"

namespace lutra::kernels::lut {
namespace {

template <typename Lanes, const PanelShape& kPanel, int kZero, LutTables kTables>
struct NibbleTile {
  using Ints = typename Lanes::Ints;
  using Floats = typename Lanes::Floats;
  using Partial = typename Lanes::Partial;
  static constexpr PanelShape kShape = kPanel;
  using TableColumns = Columns<kTables>;
  static constexpr int kSlices = static_cast<int>(kLutRows) / Lanes::kInts;
  static constexpr int kN = kDigits<kTables>;
  static constexpr bool kHasHigh = kPanel.high == HighBits::kOne;
  static constexpr bool kHasMin = kPanel.min_offset != 0;
  static constexpr bool kHasOffset = kHasMin || kZero != 0;
  static constexpr int kAllPlanes = kHasHigh ? 31 : 15;
  static_assert(kPanel.low == LowBits::kNibble && kPanel.high != HighBits::kTwo);

  /// d and min of a super-block's rows.
  struct Scales {
    Floats d[kSlices], min[kSlices];

    LUTRA_LUT_INLINE explicit Scales(const uint8_t* super_block) {
#pragma GCC unroll 8
      for (int i = 0; i < kSlices; ++i) {
        d[i] = Lanes::load_halves(super_block + 2 * i * Lanes::kInts);
        if constexpr (kHasMin) min[i] = Lanes::load_halves(super_block + 4 * kPanel.min_offset + 2 * i * Lanes::kInts);
      }
    }
  };

  /// The fifth plane's sums, of a part of the unit.
  struct High {
    typename Lanes::Shorts sums[kN][Lanes::kPairVectors];
  };

  template <int kColumns>
  static LUTRA_LUT_INLINE void unit(const uint8_t* super_block, uint32_t u, const Scales& scales,
                                    const Columns<kTables>& columns, Floats (&acc)[kColumns][kSlices]) {
    constexpr int kVectors = Lanes::nibble_vectors(kColumns, kN);
    const uint8_t* bytes = super_block + 4 * kPanel.unit_offset + 4 * u * kPanel.unit_bytes;
    High high[kColumns][kParts<kTables>];
    if constexpr (kHasHigh) high_planes(bytes, columns, high);
#pragma GCC unroll 8
    for (int first = 0; first < kSlices; first += kVectors) {
      const uint8_t* codes = bytes + 4 * kPanel.high_bytes + first * Lanes::kBytes;
      Floats w[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) w[v] = scale(super_block, u, first + v, scales);
      add_part<0>(codes, columns, first, w, high, acc);
      if constexpr (kParts<kTables> == 2) add_part<1>(codes, columns, first, w, high, acc);
      if constexpr (!kHasOffset) continue;
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const Floats m = offset(super_block, u, first + v, scales);
#pragma GCC unroll 4
        for (int c = 0; c < kColumns; ++c) {
          acc[c][first + v] = Lanes::fused(m, Lanes::broadcast(columns.sum(c)), acc[c][first + v]);
        }
      }
    }
  }

  /// Where the rows of slice i start in the tile.
  static constexpr int first_row(int slice) { return slice * Lanes::kInts; }

 private:
  /// Slices from `first` on of one term of the float sum.
  template <int kPart, int kColumns, int kVectors>
  static LUTRA_LUT_INLINE void add_part(const uint8_t* codes, const Columns<kTables>& columns, int first,
                                        const Floats (&w)[kVectors], const High (&high)[kColumns][kParts<kTables>],
                                        Floats (&acc)[kColumns][kSlices]) {
    Partial partial[kColumns][kN][kVectors];
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) {
#pragma GCC unroll 3
      for (int digit = 0; digit < kN; ++digit) {
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) partial[c][digit][v] = Lanes::no_partial();
      }
    }
    half<kPart>(codes, columns, partial);
    if constexpr (kParts<kTables> == 1) half<1>(codes, columns, partial);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) {
        Ints sum = Lanes::template ints<0>(partial[c][0][v]);
        if constexpr (kN == 3) {
          sum = Lanes::add_ints(sum, Lanes::template ints<kDigitBits>(partial[c][1][v]));
          sum = Lanes::add_ints(sum, Lanes::template ints<2 * kDigitBits>(partial[c][2][v]));
        } else {
          sum = Lanes::add_ints(sum, Lanes::broadcast_int(kAllPlanes * columns.bias(c, kPart)));
        }
        if constexpr (kHasHigh) sum = Lanes::add_ints(sum, high_sum(high[c][kPart], first + v));
        const Floats factor = Lanes::multiply(w[v], Lanes::broadcast(columns.scale(c, kPart)));
        acc[c][first + v] = Lanes::fused(Lanes::floats(sum), factor, acc[c][first + v]);
      }
    }
  }

  template <int kHalf, int kColumns, int kVectors>
  static LUTRA_LUT_INLINE void half(const uint8_t* codes, const Columns<kTables>& columns,
                                    Partial (&partial)[kColumns][kN][kVectors]) {
    if constexpr (kTables == LutTables::kExact) {
      typename Lanes::Bytes sums[kColumns][3][kVectors];
      add_bytes<Lanes, kHalf>(codes, 128, columns, sums);
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) {
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) {
          partial[c][0][v] = Lanes::template add_planes<false, 1>(partial[c][0][v], sums[c][0][v]);
          partial[c][1][v] = Lanes::template add_planes<false, 1>(partial[c][1][v], sums[c][1][v]);
          partial[c][2][v] = Lanes::template add_planes<true, 1>(partial[c][2][v], sums[c][2][v]);
        }
      }
    } else {
#pragma GCC unroll 4
      for (int m = 0; m < 4; ++m) {
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) {
          const auto index = Lanes::template nibbles<kHalf>(Lanes::load(codes + 128 * m + v * Lanes::kBytes));
#pragma GCC unroll 4
          for (int c = 0; c < kColumns; ++c) {
            const auto found = Lanes::lookup(Lanes::table(columns.table(c, 4 * kHalf + m, 0)), index);
            partial[c][0][v] = Lanes::template add_planes<true, kUnit<kTables>>(partial[c][0][v], found);
          }
        }
      }
    }
  }

  template <int kColumns>
  static LUTRA_LUT_INLINE void high_planes(const uint8_t* codes, const Columns<kTables>& columns,
                                           High (&high)[kColumns][kParts<kTables>]) {
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) {
#pragma GCC unroll 2
      for (int part = 0; part < kParts<kTables>; ++part) {
#pragma GCC unroll 3
        for (int digit = 0; digit < kN; ++digit) {
#pragma GCC unroll 4
          for (int v = 0; v < Lanes::kPairVectors; ++v) high[c][part].sums[digit][v] = Lanes::broadcast_short(0);
        }
      }
      add_plane<Lanes, kTables, 0>(codes, columns, c, high[c][0].sums);
      add_plane<Lanes, kTables, 1>(codes, columns, c, high[c][kParts<kTables> - 1].sums);
    }
  }

  /// 16 times the fifth plane's sums of a slice.
  static LUTRA_LUT_INLINE Ints high_sum(const High& high, int slice) {
    const auto run = [&](int digit) { return Lanes::run_of_shorts(high.sums[digit][slice / 2], slice % 2); };
    if constexpr (kN == 1) return Lanes::template shifted<4 + 2>(run(0));  // in quarters
    Ints sum = Lanes::template shifted<4>(run(0));
    sum = Lanes::add_ints(sum, Lanes::template shifted<4 + kDigitBits>(run(1)));
    return Lanes::add_ints(sum, Lanes::template shifted<4 + 2 * kDigitBits>(run(2)));
  }

  static LUTRA_LUT_INLINE Floats scale(const uint8_t* super_block, uint32_t u, int slice, const Scales& scales) {
    if constexpr (kPanel.scale_offset == 0) return scales.d[slice];
    const uint8_t* codes = super_block + 4 * kPanel.scale_offset + kLutRows * u + slice * Lanes::kInts;
    return Lanes::multiply(scales.d[slice], Lanes::floats(Lanes::load_unsigned(codes)));
  }

  static LUTRA_LUT_INLINE Floats offset(const uint8_t* super_block, uint32_t u, int slice, const Scales& scales) {
    if constexpr (kPanel.mins_offset != 0) {
      const uint8_t* codes = super_block + 4 * kPanel.mins_offset + kLutRows * u + slice * Lanes::kInts;
      return Lanes::negated(Lanes::multiply(scales.min[slice], Lanes::floats(Lanes::load_unsigned(codes))));
    }
    if constexpr (kHasMin) return scales.min[slice];
    return Lanes::multiply(Lanes::broadcast(static_cast<float>(-kZero)), scales.d[slice]);  // exact: a power of two
  }
};

}  // namespace
}  // namespace lutra::kernels::lut
