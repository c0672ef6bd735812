// Attention of AVX2's tile (avx2/attention_tile.h) in vectors of 16 lanes: the same operations on the same numbers, so
// the same bits. On CPUs that split 512-bit operations (Zen 4) it still halves the loads, conversions and broadcasts.
#include <immintrin.h>

#include "kernels/avx2/attention_tile.h"
#include "kernels/avx512/attention_lanes.h"
#include "kernels/avx512/avx512.h"

namespace lutra::kernels::avx512 {

void fill_attention(KernelTable& table) noexcept {
  table.attention_tile[static_cast<uint64_t>(KvType::kF16)] = avx2::attention_tile<Lanes16, avx2::HalfPages>;
  table.attention_tile[static_cast<uint64_t>(KvType::kQ8_0)] = avx2::attention_tile<Lanes16, avx2::BytePages>;
}

}  // namespace lutra::kernels::avx512
