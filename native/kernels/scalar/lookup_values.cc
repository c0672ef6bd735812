// Exact attention over listed positions, and tiles whose scores come from tables; lookup_kernels.h has the order.
#include <cmath>

#include "kernels/scalar/attention_tile.h"
#include "kernels/scalar/scalar.h"

namespace lutra::kernels::scalar {
namespace {

constexpr auto kF16 = static_cast<size_t>(KvType::kF16), kQ8_0 = static_cast<size_t>(KvType::kQ8_0);

/// A listed position's key (part 0) and value (part 1).
struct HalfRow {
  HalfRow(const uint8_t* page, uint32_t slot, uint32_t head_dim)
      : row(reinterpret_cast<const uint16_t*>(page) + uint64_t{2} * slot * head_dim), dims(head_dim) {}
  float element(uint32_t part, uint32_t d) const { return f32_from_f16(row[part * dims + d]); }
  float term(float weight, uint32_t d, float sum) const { return std::fma(weight, element(1, d), sum); }

  const uint16_t* row;
  uint32_t dims;
};

struct ByteRow {
  ByteRow(const uint8_t* page, uint32_t slot, uint32_t head_dim)
      : row(reinterpret_cast<const int8_t*>(page) + uint64_t{2} * slot * head_dim),
        scales(reinterpret_cast<const uint16_t*>(page + uint64_t{2} * head_dim * kPagePositions) + slot),
        dims(head_dim) {}
  float code(uint32_t part, uint32_t d) const { return static_cast<float>(row[part * dims + d]); }
  float scale(uint32_t part, uint32_t d) const {
    const uint32_t blocks = (dims + kBlock - 1) / kBlock;
    return f32_from_f16(scales[(part * blocks + d / kBlock) * kPagePositions]);
  }
  float element(uint32_t part, uint32_t d) const { return code(part, d) * scale(part, d); }
  float term(float weight, uint32_t d, float sum) const { return std::fma(weight * scale(1, d), code(1, d), sum); }

  const int8_t* row;
  const uint16_t* scales;
  uint32_t dims;
};

template <typename Row>
Row row_of(const LookupRefineArgs& args, uint32_t entry) {
  const uint32_t p = args.selected[entry];
  return {args.rows[p / kPagePositions], p % kPagePositions, args.head_dim};
}

/// A dimension is a multiple of 8: all lanes have as many terms.
template <typename Row>
float row_score(const float* query, const Row& row, uint32_t head_dim) {
  float lanes[8] = {};
  for (uint32_t d = 0; d < head_dim; ++d) lanes[d % 8] = std::fma(query[d], row.element(0, d), lanes[d % 8]);
  return merge_lanes(lanes);
}

template <typename Row>
void refine(const LookupRefineArgs& args) noexcept {
  const uint32_t n = args.n_selected, head_dim = args.head_dim;
  for (uint32_t i = 0; i < args.n_queries; ++i) {
    float* scores = args.scores + i * args.score_stride;
    float* acc = args.acc_out + uint64_t{i} * head_dim;
    for (uint32_t d = 0; d < head_dim; ++d) acc[d] = 0.0f;
    for (uint32_t j = 0; j < n; ++j) scores[j] = row_score(args.queries[i], row_of<Row>(args, j), head_dim);
    if (!weights_of(scores, 0, n, args.max_out + i, args.sum_out + i)) continue;
    for (uint32_t j = 0; j < n; ++j) {
      const auto row = row_of<Row>(args, j);
      for (uint32_t d = 0; d < head_dim; ++d) acc[d] = row.term(scores[j], d, acc[d]);
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
  table.lookup.refine[kF16] = refine<HalfRow>;
  table.lookup.refine[kQ8_0] = refine<ByteRow>;
  table.lookup.tile[kF16] = tile<HalfPages>;
  table.lookup.tile[kQ8_0] = tile<BytePages>;
}

}  // namespace lutra::kernels::scalar
