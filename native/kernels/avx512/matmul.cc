#include "kernels/avx512/avx512.h"
#include "kernels/avx512/matmul_families.h"

namespace lutra::kernels::avx512 {

void fill_matmul(KernelTable& table) noexcept {
  fill_matmul_legacy(table);
  fill_matmul_k(table);
}

}  // namespace lutra::kernels::avx512
