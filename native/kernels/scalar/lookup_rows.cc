// Rows of 8 bits and attention over listed ones; lookup_kernels.h has the order.
#include <bit>
#include <cmath>

#include "kernels/lookup_row.h"
#include "kernels/scalar/attention_tile.h"
#include "kernels/scalar/scalar.h"

namespace lutra::kernels::scalar {
namespace {

/// Codes of a row of elements element(d), and its scale.
template <typename Element>
uint16_t pack_row(uint32_t head_dim, int8_t* codes, Element element) {
  uint32_t largest = 0;
  for (uint32_t d = 0; d < head_dim; ++d) {
    const uint32_t magnitude = std::bit_cast<uint32_t>(element(d)) & 0x7fffffffu;
    if (magnitude > largest) largest = magnitude;
  }
  const RowScale scale(largest);
  for (uint32_t d = 0; d < head_dim; ++d) codes[d] = scale.code(element(d));
  return scale.stored;
}

template <typename Pages>
void pack(const LookupPackArgs& args) noexcept {
  const uint32_t head_dim = args.head_dim;
  auto* keys = reinterpret_cast<int8_t*>(args.rows);
  int8_t* values = keys + uint64_t{kPagePositions} * head_dim;
  auto* scales = reinterpret_cast<uint16_t*>(args.rows + uint64_t{kPagePositions} * 2 * head_dim);
  for (uint32_t slot = 0; slot < kPagePositions; ++slot, keys += head_dim, values += head_dim, scales += 2) {
    scales[0] = pack_row(head_dim, keys, [&](uint32_t d) { return args.keys[uint64_t{d} * kPagePositions + slot]; });
    scales[1] = pack_row(head_dim, values, [&](uint32_t d) { return Pages::element(args.values, slot, head_dim, d); });
  }
}

void refine(const LookupRefineArgs& args) noexcept {
  const uint32_t n = args.n_selected, head_dim = args.head_dim;
  const auto row_at = [&](uint32_t entry) { return lookup_row(args.rows, args.selected[entry], head_dim); };
  for (uint32_t i = 0; i < args.n_queries; ++i) {
    float* scores = args.scores + i * args.score_stride;
    float* acc = args.acc_out + uint64_t{i} * head_dim;
    for (uint32_t d = 0; d < head_dim; ++d) acc[d] = 0.0f;
    for (uint32_t j = 0; j < n; ++j) {
      const LookupRow row = row_at(j);
      int32_t sum = 0;
      for (uint32_t d = 0; d < head_dim; ++d) sum += args.queries[i][d] * row.key[d];
      const float scale = args.query_scales[i] * row_scale_value(row.scales[0]);
      scores[j] = std::fma(static_cast<float>(sum), scale, args.query_biases[i]);
    }
    if (!weights_of(scores, 0, n, args.max_out + i, args.sum_out + i)) continue;
    for (uint32_t j = 0; j < n; ++j) {
      const LookupRow row = row_at(j);
      const float weight = scores[j] * row_scale_value(row.scales[1]);
      for (uint32_t d = 0; d < head_dim; ++d) acc[d] = std::fma(weight, static_cast<float>(row.value[d]), acc[d]);
    }
  }
}

}  // namespace

void fill_lookup_rows(KernelTable& table) noexcept {
  table.lookup.pack[static_cast<size_t>(KvType::kF16)] = pack<HalfPages>;
  table.lookup.pack[static_cast<size_t>(KvType::kQ8_0)] = pack<BytePages>;
  table.lookup.refine = refine;
}

}  // namespace lutra::kernels::scalar
