// Products with codebooks, by exact and by 8-bit tables. Scalar twin: scalar/lut_products.cc, equal bit for bit; exact
// tables give the bits of the multiply-adds.
#include "kernels/neon/lut_products.h"
#include "kernels/lut/build_products.h"
#include "kernels/lut/sweep.h"
#include "kernels/neon/neon.h"

namespace lutra::kernels::neon {

void fill_lut_products(KernelTable& table) noexcept {
  lut::fill_product_builders(table.lut);
  lut::fill_product_tables<ProductLanes, LutTables::kExact>(table.lut);
  lut::fill_product_tables<ProductLanes, LutTables::kInt8>(table.lut);
}

}  // namespace lutra::kernels::neon
