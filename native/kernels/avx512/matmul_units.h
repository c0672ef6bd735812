// The products of one unit by vpdpbusd, as the tiles of avx2/matmul_wide.h and avx2/matmul_narrow.h ask for them, for
// few columns.
#pragma once

#include "kernels/avx512/matmul_narrow_units.h"
#include "kernels/avx512/matmul_pair_sweep.h"
#include "kernels/avx512/matmul_split_units.h"
#include "kernels/avx512/matmul_wide_units.h"

namespace lutra::kernels::avx512 {
namespace {

struct VnniDots {
  static constexpr int kMaxTile = static_cast<int>(kPairColumns) - 1;

  template <LowBits kLow, HighBits kHigh, Codes kCodes, int kColumns>
  using Wide = WideDots<kLow, kHigh, kCodes>;
  template <int kColumns>
  using Split = SplitDots;
  template <LowBits kLow, HighBits kHigh, int kColumns>
  using Narrow = NarrowDots<kLow, kHigh>;
};

}  // namespace
}  // namespace lutra::kernels::avx512
