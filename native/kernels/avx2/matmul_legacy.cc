// Matmul of the 32-element block types and IQ4_NL. Scalar twin: scalar/matmul.cc, equal bit for bit.
#include <cstdint>

#include "kernels/avx2/matmul_families.h"
#include "kernels/avx2/matmul_wide.h"

namespace lutra::kernels::avx2 {
namespace {

template <const PanelShape& kPanel, Codes kCodes, int kZero>
void matmul_wide(const MatmulArgs& args) noexcept {
  sweep<WideTile<kPanel, kCodes, kZero>>(args);
}

}  // namespace

void fill_matmul_legacy(KernelTable& table) noexcept {
  using base::TensorType;
  table.matmul[static_cast<uint32_t>(TensorType::Q4_0)] = matmul_wide<kPanelQ4_0, Codes::kUnsigned, 8>;
  table.matmul[static_cast<uint32_t>(TensorType::Q4_1)] = matmul_wide<kPanelQ4_1, Codes::kUnsigned, 0>;
  table.matmul[static_cast<uint32_t>(TensorType::Q5_0)] = matmul_wide<kPanelQ5_0, Codes::kUnsigned, 16>;
  table.matmul[static_cast<uint32_t>(TensorType::Q5_1)] = matmul_wide<kPanelQ5_1, Codes::kUnsigned, 0>;
  table.matmul[static_cast<uint32_t>(TensorType::Q8_0)] = matmul_wide<kPanelQ8_0, Codes::kSignedByte, 0>;
  table.matmul[static_cast<uint32_t>(TensorType::IQ4_NL)] = matmul_wide<kPanelIQ4_NL, Codes::kTable, 0>;
}

}  // namespace lutra::kernels::avx2
