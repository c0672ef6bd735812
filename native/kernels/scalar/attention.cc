// Scalar attention over one tile of logical positions, and the f16 K/V stores.
//
// Order, for one query, whatever else is in the call: a score adds ascending d by fma; the sum of weights keeps eight
// lanes (position % 8, ascending) merged by merge_lanes; acc[d] adds ascending positions by fma. Positions the query
// does not see are never part of any operation, so garbage in unused slots cannot leak.
// A NaN among the visible scores makes max, sum and acc NaN: poison stays visible.
#include <cmath>
#include <limits>

#include "kernels/scalar/float_math.h"
#include "kernels/scalar/scalar.h"

namespace lutra::kernels::scalar {
namespace {

void store_key_f16(const float* key, uint32_t head_dim, uint16_t* page, uint32_t slot) noexcept {
  for (uint32_t d = 0; d < head_dim; ++d) page[uint64_t{d} * kPagePositions + slot] = f16_from_f32(key[d]);
}

void store_value_f16(const float* value, uint32_t head_dim, uint16_t* page, uint32_t slot) noexcept {
  uint16_t* row = page + uint64_t{slot} * head_dim;
  for (uint32_t d = 0; d < head_dim; ++d) row[d] = f16_from_f32(value[d]);
}

float score_of(const AttentionTileArgs& args, const float* query, uint32_t position) {
  const uint16_t* keys = args.k_pages[position / kPagePositions] + position % kPagePositions;
  float score = 0.0f;
  for (uint32_t d = 0; d < args.head_dim; ++d) {
    score = std::fma(query[d], f32_from_f16(keys[uint64_t{d} * kPagePositions]), score);
  }
  return score;
}

/// Turns the scores of [begin, end) into weights; returns their maximum and sum. False when nothing is left to add.
bool weights_of(float* scores, uint32_t begin, uint32_t end, float* max_out, float* sum_out) {
  float max = -std::numeric_limits<float>::infinity();
  bool nan = false;
  for (uint32_t i = begin; i < end; ++i) {
    nan = nan || std::isnan(scores[i]);
    max = scores[i] > max ? scores[i] : max;
  }
  if (nan) max = std::numeric_limits<float>::quiet_NaN();
  *max_out = max;
  *sum_out = 0.0f;
  if (max == -std::numeric_limits<float>::infinity()) return false;
  float lanes[8] = {};
  for (uint32_t i = begin; i < end; ++i) {
    scores[i] = exp_f32(scores[i] - max);
    lanes[i % 8] += scores[i];
  }
  *sum_out = merge_lanes(lanes);
  return true;
}

void attention_tile_f16(const AttentionTileArgs& args) noexcept {
  float scores[kTilePositions];
  for (uint32_t i = 0; i < args.n_queries; ++i) {
    float* acc = args.acc_out + uint64_t{i} * args.head_dim;
    for (uint32_t d = 0; d < args.head_dim; ++d) acc[d] = 0.0f;
    const uint64_t tile_end = uint64_t{args.tile_begin} + kTilePositions;
    const uint64_t first = args.first[i] > args.tile_begin ? args.first[i] : args.tile_begin;
    const uint64_t last = args.last[i] < tile_end ? args.last[i] : tile_end;
    const uint32_t begin = first < last ? static_cast<uint32_t>(first - args.tile_begin) : 0;
    const uint32_t end = first < last ? static_cast<uint32_t>(last - args.tile_begin) : 0;
    for (uint32_t t = begin; t < end; ++t) scores[t] = score_of(args, args.queries[i], t);
    if (!weights_of(scores, begin, end, args.max_out + i, args.sum_out + i)) continue;
    for (uint32_t t = begin; t < end; ++t) {
      const uint16_t* row = args.v_pages[t / kPagePositions] + uint64_t{t % kPagePositions} * args.head_dim;
      for (uint32_t d = 0; d < args.head_dim; ++d) acc[d] = std::fma(scores[t], f32_from_f16(row[d]), acc[d]);
    }
  }
}

void attention_merge(float* max, float* sum, float* acc, float tile_max, float tile_sum, const float* tile_acc,
                     uint32_t head_dim) noexcept {
  const float nothing = -std::numeric_limits<float>::infinity();
  if (tile_max == nothing) return;
  if (*max == nothing) {
    *max = tile_max;
    *sum = tile_sum;
    for (uint32_t d = 0; d < head_dim; ++d) acc[d] = tile_acc[d];
    return;
  }
  const float larger = tile_max > *max || std::isnan(tile_max) ? tile_max : *max;
  const float factor = exp_f32(*max - larger);
  const float tile_factor = exp_f32(tile_max - larger);
  *max = larger;
  *sum = std::fma(tile_sum, tile_factor, *sum * factor);
  for (uint32_t d = 0; d < head_dim; ++d) acc[d] = std::fma(tile_acc[d], tile_factor, acc[d] * factor);
}

}  // namespace

void fill_attention(KernelTable& table) noexcept {
  table.store_key_f16 = store_key_f16;
  table.store_value_f16 = store_value_f16;
  table.attention_tile_f16 = attention_tile_f16;
  table.attention_merge = attention_merge;
}

}  // namespace lutra::kernels::scalar
