// Matmul of the 32-element block types and IQ4_NL. Scalar twin: scalar/matmul.cc, equal bit for bit.
#include "kernels/avx2/matmul_types.h"
#include "kernels/avx512/matmul_families.h"
#include "kernels/avx512/matmul_units.h"

namespace lutra::kernels::avx512 {

void fill_matmul_legacy(KernelTable& table) noexcept { avx2::fill_legacy<VnniDots>(table); }

}  // namespace lutra::kernels::avx512
