#include "kernels/avx2/avx2.h"
#include "kernels/avx2/matmul_families.h"

namespace lutra::kernels::avx2 {

void fill_matmul(KernelTable& table) noexcept {
  fill_matmul_legacy(table);
  fill_matmul_k(table);
  fill_matmul_float(table);
}

}  // namespace lutra::kernels::avx2
