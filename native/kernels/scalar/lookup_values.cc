// Attention tiles whose scores come from tables; lookup_kernels.h has the order.
#include <cmath>

#include "kernels/scalar/attention_tile.h"
#include "kernels/scalar/scalar.h"

namespace lutra::kernels::scalar {
namespace {

constexpr auto kF16 = static_cast<size_t>(KvType::kF16), kQ8_0 = static_cast<size_t>(KvType::kQ8_0);

template <typename Pages>
void tile(const LookupTileArgs& args) noexcept {
  add_tile<Pages>(args, [&](uint32_t i, uint32_t t) {
    return std::fma(static_cast<float>(args.scores[i][t]), args.steps[i], args.biases[i]);
  });
}

}  // namespace

void fill_lookup_values(KernelTable& table) noexcept {
  table.lookup.tile[kF16] = tile<HalfPages>;
  table.lookup.tile[kQ8_0] = tile<BytePages>;
}

}  // namespace lutra::kernels::scalar
