// Which tile each quantised weight type takes, for any `Dots` that multiplies units (MaddDots of matmul_units.h).
#pragma once

#include <cstdint>

#include "kernels/avx2/matmul_narrow.h"
#include "kernels/avx2/matmul_split.h"
#include "kernels/avx2/matmul_wide.h"
#include "kernels/avx2/screen.h"

namespace lutra::kernels::avx2 {
namespace {

/// The 32-element block types.
template <typename Dots>
void fill_legacy(KernelTable& table) noexcept {
  using base::TensorType;
  const auto set = [&table](TensorType type, MatmulFn matmul) { table.matmul[static_cast<uint32_t>(type)] = matmul; };
  set(TensorType::Q4_0, sweep<WideTile<Dots, kPanelQ4_0, Codes::kUnsigned, 8>>);
  set(TensorType::Q4_1, sweep<WideTile<Dots, kPanelQ4_1, Codes::kUnsigned, 0>>);
  set(TensorType::Q5_0, sweep<WideTile<Dots, kPanelQ5_0, Codes::kUnsigned, 16>>);
  set(TensorType::Q5_1, sweep<WideTile<Dots, kPanelQ5_1, Codes::kUnsigned, 0>>);
  set(TensorType::Q8_0, sweep<WideTile<Dots, kPanelQ8_0, Codes::kSignedByte, 0>>);
  table.matmul_split = sweep<SplitTile<Dots>>;
  table.screen = screen<Dots>;
  set(TensorType::IQ4_NL, sweep<WideTile<Dots, kPanelIQ4_NL, Codes::kIq4, 0>>);
  set(TensorType::MXFP4, sweep<WideTile<Dots, kPanelMXFP4, Codes::kE2M1, 0>>);
}

/// The 256-element super-block types.
template <typename Dots>
void fill_k(KernelTable& table) noexcept {
  using base::TensorType;
  const auto set = [&table](TensorType type, MatmulFn matmul) { table.matmul[static_cast<uint32_t>(type)] = matmul; };
  set(TensorType::Q2_K, sweep<NarrowTile<Dots, kPanelQ2_K, 0>>);
  set(TensorType::Q3_K, sweep<NarrowTile<Dots, kPanelQ3_K, 4>>);
  set(TensorType::Q4_K, sweep<WideTile<Dots, kPanelQ4_K, Codes::kUnsigned, 0>>);
  set(TensorType::Q5_K, sweep<WideTile<Dots, kPanelQ5_K, Codes::kUnsigned, 0>>);
  set(TensorType::Q6_K, sweep<NarrowTile<Dots, kPanelQ6_K, 32>>);
  set(TensorType::IQ4_XS, sweep<WideTile<Dots, kPanelIQ4_XS, Codes::kIq4, 0>>);
  set(TensorType::TQ1_0, sweep<WideTile<Dots, kPanelTernary, Codes::kUnsigned, 1>>);
  set(TensorType::TQ2_0, sweep<WideTile<Dots, kPanelTernary, Codes::kUnsigned, 1>>);
}

}  // namespace
}  // namespace lutra::kernels::avx2
