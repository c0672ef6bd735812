// An attention tile, scalar: scores from keys or from a table lookup, their weights, and the weighted sum of values.
//
// Order, for one query, whatever else is in the call: a score adds ascending d by fma; the sum of weights keeps eight
// lanes (position % 8, ascending) merged by merge_lanes; acc[d] adds ascending positions by fma. With q8_0, a score
// adds the codes of 32 dimensions in that way and joins scale · sum to the score by fma, block by block; a value's term
// is fma(weight · scale, code, acc). Positions the query does not see are never part of any operation, so garbage in
// unused slots cannot leak.
// A NaN among the visible scores makes max, sum and acc NaN: poison stays visible.
#pragma once

#include <cmath>
#include <limits>

#include "kernels/kernels.h"
#include "kernels/scalar/float_math.h"

namespace lutra::kernels::scalar {
namespace {

inline const uint16_t* halves_of(const uint8_t* page) { return reinterpret_cast<const uint16_t*>(page); }
inline int8_t code_of(const uint8_t* page, uint64_t i) { return static_cast<int8_t>(page[i]); }

struct HalfPages {
  static float score(const float* query, const uint8_t* page, uint32_t slot, uint32_t head_dim) {
    float score = 0.0f;
    for (uint32_t d = 0; d < head_dim; ++d) {
      score = std::fma(query[d], f32_from_f16(halves_of(page)[uint64_t{d} * kPagePositions + slot]), score);
    }
    return score;
  }

  /// Element d of a position-major row.
  static float element(const uint8_t* page, uint32_t slot, uint32_t head_dim, uint32_t d) {
    return f32_from_f16(halves_of(page)[uint64_t{slot} * head_dim + d]);
  }

  static void add_value(float weight, const uint8_t* page, uint32_t slot, uint32_t head_dim, float* acc) {
    const uint16_t* row = halves_of(page) + uint64_t{slot} * head_dim;
    for (uint32_t d = 0; d < head_dim; ++d) acc[d] = std::fma(weight, f32_from_f16(row[d]), acc[d]);
  }
};

struct BytePages {
  static float scale(const uint8_t* page, uint32_t slot, uint32_t head_dim, uint32_t d) {
    const uint16_t* scales = halves_of(page + uint64_t{kPagePositions} * head_dim);
    return f32_from_f16(scales[d / kBlock * kPagePositions + slot]);
  }

  static float score(const float* query, const uint8_t* page, uint32_t slot, uint32_t head_dim) {
    float score = 0.0f;
    for (uint32_t begin = 0; begin < head_dim; begin += kBlock) {
      const uint32_t end = head_dim - begin < kBlock ? head_dim : begin + kBlock;
      float sum = 0.0f;
      for (uint32_t d = begin; d < end; ++d) {
        sum = std::fma(query[d], static_cast<float>(code_of(page, uint64_t{d} * kPagePositions + slot)), sum);
      }
      score = std::fma(scale(page, slot, head_dim, begin), sum, score);
    }
    return score;
  }

  static float element(const uint8_t* page, uint32_t slot, uint32_t head_dim, uint32_t d) {
    return static_cast<float>(code_of(page, uint64_t{slot} * head_dim + d)) * scale(page, slot, head_dim, d);
  }

  static void add_value(float weight, const uint8_t* page, uint32_t slot, uint32_t head_dim, float* acc) {
    for (uint32_t d = 0; d < head_dim; ++d) {
      const auto code = static_cast<float>(code_of(page, uint64_t{slot} * head_dim + d));
      acc[d] = std::fma(weight * scale(page, slot, head_dim, d), code, acc[d]);
    }
  }
};

/// Turns the scores of [begin, end) into weights; returns their maximum and sum. False when nothing is left to add.
inline bool weights_of(float* scores, uint32_t begin, uint32_t end, float* max_out, float* sum_out) {
  float max = -std::numeric_limits<float>::infinity();
  bool nan = false;
  for (uint32_t i = begin; i < end; ++i) {
    nan = nan || std::isnan(scores[i]);
    max = scores[i] > max ? scores[i] : max;
  }
  if (nan) max = std::numeric_limits<float>::quiet_NaN();
  *max_out = max + 0.0f;  // one zero, whichever of the two came first
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

/// The tile of `args` whose query i has score(i, t) at position t of the tile.
template <typename Pages, typename Args, typename Score>
void add_tile(const Args& args, Score score) {
  float scores[kTilePositions];
  for (uint32_t i = 0; i < args.n_queries; ++i) {
    float* acc = args.acc_out + uint64_t{i} * args.head_dim;
    for (uint32_t d = 0; d < args.head_dim; ++d) acc[d] = 0.0f;
    const uint64_t tile_end = uint64_t{args.tile_begin} + kTilePositions;
    const uint64_t first = args.first[i] > args.tile_begin ? args.first[i] : args.tile_begin;
    const uint64_t last = args.last[i] < tile_end ? args.last[i] : tile_end;
    const uint32_t begin = first < last ? static_cast<uint32_t>(first - args.tile_begin) : 0;
    const uint32_t end = first < last ? static_cast<uint32_t>(last - args.tile_begin) : 0;
    for (uint32_t t = begin; t < end; ++t) scores[t] = score(i, t);
    if (!weights_of(scores, begin, end, args.max_out + i, args.sum_out + i)) continue;
    for (uint32_t t = begin; t < end; ++t) {
      Pages::add_value(scores[t], args.v_pages[t / kPagePositions], t % kPagePositions, args.head_dim, acc);
    }
  }
}

}  // namespace
}  // namespace lutra::kernels::scalar
