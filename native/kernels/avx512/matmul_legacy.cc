// Matmul of the 32-element block types and split Q8_0. Scalar twin: scalar/matmul.cc, equal bit for bit.
#include "kernels/avx2/matmul_split.h"
#include "kernels/avx512/matmul_families.h"
#include "kernels/avx512/matmul_split_pair.h"
#include "kernels/avx512/matmul_types.h"
#include "kernels/avx512/screen_pair.h"

namespace lutra::kernels::avx512 {

void fill_matmul_legacy(KernelTable& table) noexcept {
  using base::TensorType;
  set_wide<TensorType::Q4_0, kPanelQ4_0, Codes::kUnsigned, 8>(table);
  set_wide<TensorType::Q4_1, kPanelQ4_1, Codes::kUnsigned, 0>(table);
  set_wide<TensorType::Q5_0, kPanelQ5_0, Codes::kUnsigned, 16>(table);
  set_wide<TensorType::Q5_1, kPanelQ5_1, Codes::kUnsigned, 0>(table);
  set_wide<TensorType::Q8_0, kPanelQ8_0, Codes::kSignedByte, 0>(table);
  set_wide<TensorType::IQ4_NL, kPanelIQ4_NL, Codes::kIq4, 0>(table);
  set_wide<TensorType::MXFP4, kPanelMXFP4, Codes::kE2M1, 0>(table);
  table.matmul_split = sweep<avx2::SplitTile<VnniDots>, SplitPair>;
  table.screen = screen;
}

}  // namespace lutra::kernels::avx512
