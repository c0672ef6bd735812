// Products by exact tables. Scalar twin: scalar/lut.cc, equal bit for bit, as are the multiply-adds.
#include "kernels/avx2/avx2.h"
#include "kernels/avx2/lut_lanes.h"
#include "kernels/lut/build_tables.h"
#include "kernels/lut/sweep.h"

namespace lutra::kernels::avx2 {

void fill_lut_exact(KernelTable& table) noexcept {
  table.lut.build[static_cast<uint32_t>(LutSet::kSubsetSums)][static_cast<uint32_t>(LutTables::kExact)] =
      lut::build_exact;
  lut::fill_tables<LutLanes, LutTables::kExact>(table.lut);
}

}  // namespace lutra::kernels::avx2
