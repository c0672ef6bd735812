// Matmul of the 256-element super-block types. Scalar twin: scalar/matmul.cc, equal bit for bit.
#include "kernels/avx512/matmul_families.h"
#include "kernels/avx512/matmul_types.h"

namespace lutra::kernels::avx512 {

void fill_matmul_k(KernelTable& table) noexcept {
  using base::TensorType;
  set_narrow<TensorType::Q2_K, kPanelQ2_K, 0>(table);
  set_narrow<TensorType::Q3_K, kPanelQ3_K, 4>(table);
  set_wide<TensorType::Q4_K, kPanelQ4_K, Codes::kUnsigned, 0>(table);
  set_wide<TensorType::Q5_K, kPanelQ5_K, Codes::kUnsigned, 0>(table);
  set_narrow<TensorType::Q6_K, kPanelQ6_K, 32>(table);
  set_wide<TensorType::IQ4_XS, kPanelIQ4_XS, Codes::kIq4, 0>(table);
  set_wide<TensorType::TQ1_0, kPanelTernary, Codes::kUnsigned, 1>(table);
  set_wide<TensorType::TQ2_0, kPanelTernary, Codes::kUnsigned, 1>(table);
}

}  // namespace lutra::kernels::avx512
