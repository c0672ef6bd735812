// Exact attention over listed positions, and tiles whose scores come from tables; lookup_kernels.h has the order.
#include <cmath>

#include "kernels/scalar/attention_tile.h"
#include "kernels/scalar/scalar.h"

namespace lutra::kernels::scalar {
namespace {

constexpr auto kF16 = static_cast<size_t>(KvType::kF16), kQ8_0 = static_cast<size_t>(KvType::kQ8_0);

/// The product of a query with a position-major key. A dimension is a multiple of 8: all lanes have as many terms.
template <typename Pages>
float row_score(const float* query, const uint8_t* page, uint32_t slot, uint32_t head_dim) {
  float lanes[8] = {};
  for (uint32_t d = 0; d < head_dim; ++d) {
    lanes[d % 8] = std::fma(query[d], Pages::element(page, slot, head_dim, d), lanes[d % 8]);
  }
  return merge_lanes(lanes);
}

template <typename Pages>
void refine(const LookupRefineArgs& args) noexcept {
  const uint32_t n = args.n_selected, head_dim = args.head_dim;
  for (uint32_t i = 0; i < args.n_queries; ++i) {
    float* scores = args.scores + i * args.score_stride;
    float* acc = args.acc_out + uint64_t{i} * head_dim;
    for (uint32_t d = 0; d < head_dim; ++d) acc[d] = 0.0f;
    for (uint32_t j = 0; j < n; ++j) {
      const uint32_t p = args.selected[j];
      scores[j] = row_score<Pages>(args.queries[i], args.key_rows[p / kPagePositions], p % kPagePositions, head_dim);
    }
    if (!weights_of(scores, 0, n, args.max_out + i, args.sum_out + i)) continue;
    for (uint32_t j = 0; j < n; ++j) {
      const uint32_t p = args.selected[j];
      Pages::add_value(scores[j], args.v_pages[p / kPagePositions], p % kPagePositions, head_dim, acc);
    }
  }
}

template <typename Pages>
void tile(const LookupTileArgs& args) noexcept {
  add_tile<Pages>(args, [&](uint32_t i, uint32_t t) {
    return std::fma(static_cast<float>(args.scores[i][t]), args.steps[i], args.biases[i]);
  });
}

}  // namespace

void fill_lookup_values(KernelTable& table) noexcept {
  table.lookup.refine[kF16] = refine<HalfPages>;
  table.lookup.refine[kQ8_0] = refine<BytePages>;
  table.lookup.tile[kF16] = tile<HalfPages>;
  table.lookup.tile[kQ8_0] = tile<BytePages>;
}

}  // namespace lutra::kernels::scalar
