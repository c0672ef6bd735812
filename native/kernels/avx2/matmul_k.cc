// Matmul of the 256-element super-block types. Scalar twin: scalar/matmul.cc, equal bit for bit.
#include "kernels/avx2/matmul_families.h"
#include "kernels/avx2/matmul_types.h"
#include "kernels/avx2/matmul_units.h"

namespace lutra::kernels::avx2 {

void fill_matmul_k(KernelTable& table) noexcept { fill_k<MaddDots>(table); }

}  // namespace lutra::kernels::avx2
