// The products of one unit by vpdpbusd, as the tiles of avx2/matmul_wide.h and avx2/matmul_narrow.h ask for them.
#pragma once

#include "kernels/avx512/matmul_narrow_units.h"
#include "kernels/avx512/matmul_pair_sweep.h"
#include "kernels/avx512/matmul_split_units.h"
#include "kernels/avx512/matmul_wide_units.h"

namespace lutra::kernels::avx512 {
namespace {

/// kTileColumns: columns of a tile, at most.
template <int kTileColumns>
struct UnitDots {
  static constexpr int kMaxTile = kTileColumns;

  template <LowBits kLow, HighBits kHigh, avx2::Codes kCodes, int kColumns>
  using Wide = WideDots<kLow, kHigh, kCodes>;
  template <int kColumns>
  using Split = SplitDots;
  template <LowBits kLow, HighBits kHigh, int kColumns>
  using Narrow = NarrowDots<kLow, kHigh>;
};

/// Of types that take several columns in pairs of panels.
using FewDots = UnitDots<static_cast<int>(kPairColumns) - 1>;
/// Of split panels, whatever the columns. Each more is another copy of the tile's code.
using SplitPanelDots = UnitDots<12>;

}  // namespace
}  // namespace lutra::kernels::avx512
