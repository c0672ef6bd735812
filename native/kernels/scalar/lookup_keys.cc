// Keys of a page as floats, for encoding and for training codebooks: rare enough that every path uses this one.
#include "kernels/scalar/float_math.h"
#include "kernels/scalar/scalar.h"

namespace lutra::kernels::scalar {
namespace {

void unpack_f16(const uint8_t* page, uint32_t head_dim, float* out) noexcept {
  const auto* halves = reinterpret_cast<const uint16_t*>(page);
  for (uint64_t i = 0; i < uint64_t{kPagePositions} * head_dim; ++i) out[i] = f32_from_f16(halves[i]);
}

void unpack_q8_0(const uint8_t* page, uint32_t head_dim, float* out) noexcept {
  const auto* scales = reinterpret_cast<const uint16_t*>(page + uint64_t{kPagePositions} * head_dim);
  for (uint32_t d = 0; d < head_dim; ++d) {
    for (uint32_t s = 0; s < kPagePositions; ++s) {
      const auto code = static_cast<int8_t>(page[d * kPagePositions + s]);
      out[d * kPagePositions + s] = static_cast<float>(code) * f32_from_f16(scales[d / kBlock * kPagePositions + s]);
    }
  }
}

}  // namespace

void fill_lookup_keys(KernelTable& table) noexcept {
  table.lookup.unpack_keys[static_cast<size_t>(KvType::kF16)] = unpack_f16;
  table.lookup.unpack_keys[static_cast<size_t>(KvType::kQ8_0)] = unpack_q8_0;
}

}  // namespace lutra::kernels::scalar
