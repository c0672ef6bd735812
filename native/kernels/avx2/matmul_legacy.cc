// Matmul of the 32-element block types. Scalar twin: scalar/matmul.cc, equal bit for bit.
#include "kernels/avx2/matmul_families.h"
#include "kernels/avx2/matmul_types.h"
#include "kernels/avx2/matmul_units.h"

namespace lutra::kernels::avx2 {

void fill_matmul_legacy(KernelTable& table) noexcept { fill_legacy<MaddDots>(table); }

}  // namespace lutra::kernels::avx2
