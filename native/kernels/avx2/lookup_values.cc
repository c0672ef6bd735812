// Attention tiles whose scores come from tables; bit-equal to scalar/lookup_values.cc.
#include <immintrin.h>

#include "kernels/avx2/attention_lanes.h"
#include "kernels/avx2/attention_tile.h"
#include "kernels/avx2/avx2.h"

namespace lutra::kernels::avx2 {

void fill_lookup_values(KernelTable& table) noexcept {
  constexpr auto kF16 = static_cast<uint64_t>(KvType::kF16), kQ8_0 = static_cast<uint64_t>(KvType::kQ8_0);
  table.lookup.tile[kF16] = attention_tile<Lanes8, HalfPages>;
  table.lookup.tile[kQ8_0] = attention_tile<Lanes8, BytePages>;
}

}  // namespace lutra::kernels::avx2
