// Matmul of the 256-element super-block types. Scalar twin: scalar/matmul.cc, equal bit for bit.
#include <cstdint>

#include "kernels/avx2/matmul_families.h"
#include "kernels/avx2/matmul_narrow.h"
#include "kernels/avx2/matmul_wide.h"

namespace lutra::kernels::avx2 {
namespace {

template <typename Tile>
void matmul_k(const MatmulArgs& args) noexcept {
  sweep<Tile>(args);
}

}  // namespace

void fill_matmul_k(KernelTable& table) noexcept {
  using base::TensorType;
  table.matmul[static_cast<uint32_t>(TensorType::Q2_K)] = matmul_k<NarrowTile<kPanelQ2_K, 0>>;
  table.matmul[static_cast<uint32_t>(TensorType::Q3_K)] = matmul_k<NarrowTile<kPanelQ3_K, 4>>;
  table.matmul[static_cast<uint32_t>(TensorType::Q4_K)] = matmul_k<WideTile<kPanelQ4_K, Codes::kUnsigned, 0>>;
  table.matmul[static_cast<uint32_t>(TensorType::Q5_K)] = matmul_k<WideTile<kPanelQ5_K, Codes::kUnsigned, 0>>;
  table.matmul[static_cast<uint32_t>(TensorType::Q6_K)] = matmul_k<NarrowTile<kPanelQ6_K, 32>>;
  table.matmul[static_cast<uint32_t>(TensorType::IQ4_XS)] = matmul_k<WideTile<kPanelIQ4_XS, Codes::kTable, 0>>;
}

}  // namespace lutra::kernels::avx2
