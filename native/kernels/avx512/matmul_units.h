// The products of one unit by vpdpbusd, as the tiles of avx2/matmul_wide.h and avx2/matmul_narrow.h ask for them.
#pragma once

#include "kernels/avx512/matmul_narrow_units.h"
#include "kernels/avx512/matmul_split_units.h"
#include "kernels/avx512/matmul_wide_units.h"

namespace lutra::kernels::avx512 {
namespace {

struct VnniDots {
  /// Columns of a tile. GMAC/s at n = 64 with 8, 12 and 16 columns: Q4_1 82.9, 82.8, 83.3; Q5_K 76, 79, 81. Each column
  /// more is another copy of the tile's code.
  static constexpr int kMaxTile = 12;

  template <LowBits kLow, HighBits kHigh, avx2::Codes kCodes, int kColumns>
  using Wide = WideDots<kLow, kHigh, kCodes>;
  template <int kColumns>
  using Split = SplitDots;
  template <LowBits kLow, HighBits kHigh, int kColumns>
  using Narrow = NarrowDots<kLow, kHigh>;
};

}  // namespace
}  // namespace lutra::kernels::avx512
