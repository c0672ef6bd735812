// Products by 8-bit tables. Scalar twin: scalar/lut.cc, equal bit for bit.
#include "kernels/lut/build_tables.h"
#include "kernels/lut/sweep.h"
#include "kernels/neon/lut_lanes.h"
#include "kernels/neon/neon.h"

namespace lutra::kernels::neon {

void fill_lut_int8(KernelTable& table) noexcept {
  table.lut.build[static_cast<uint32_t>(LutSet::kSubsetSums)][static_cast<uint32_t>(LutTables::kInt8)] =
      lut::build_int8;
  lut::fill_tables<LutLanes, LutTables::kInt8>(table.lut);
}

}  // namespace lutra::kernels::neon
