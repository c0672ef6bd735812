// Encoding, tables, scores and selection of lookup attention.
#include "kernels/scalar/scalar.h"

namespace lutra::kernels::scalar {

void fill_lookup_scan(KernelTable&) noexcept {}

}  // namespace lutra::kernels::scalar
