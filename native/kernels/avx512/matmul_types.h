// Which tiles each quantised weight type takes. Scalar twin: scalar/matmul.cc, equal bit for bit.
#pragma once

#include <cstdint>

#include "kernels/avx2/matmul_narrow.h"
#include "kernels/avx2/matmul_wide.h"
#include "kernels/avx512/matmul_narrow_pair.h"
#include "kernels/avx512/matmul_units.h"
#include "kernels/avx512/matmul_wide_pair.h"

namespace lutra::kernels::avx512 {
namespace {

template <base::TensorType kType, const PanelShape& kPanel, Codes kCodes, int kZero>
inline void set_wide(KernelTable& table) noexcept {
  table.matmul[static_cast<uint32_t>(kType)] =
      sweep<avx2::WideTile<VnniDots, kPanel, kCodes, kZero>, WidePair<kPanel, kCodes, kZero>>;
}

template <base::TensorType kType, const PanelShape& kPanel, int kZero>
inline void set_narrow(KernelTable& table) noexcept {
  table.matmul[static_cast<uint32_t>(kType)] =
      sweep<avx2::NarrowTile<VnniDots, kPanel, kZero>, NarrowPair<kPanel, kZero>>;
}

}  // namespace
}  // namespace lutra::kernels::avx512
