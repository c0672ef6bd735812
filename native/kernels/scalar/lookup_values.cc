// Exact refinement and weighted values of lookup attention.
#include "kernels/scalar/scalar.h"

namespace lutra::kernels::scalar {

void fill_lookup_values(KernelTable&) noexcept {}

}  // namespace lutra::kernels::scalar
