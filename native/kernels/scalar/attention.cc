// Scalar attention over one tile of logical positions, and the K/V stores.
//
// Order, for one query, whatever else is in the call: a score adds ascending d by fma; the sum of weights keeps eight
// lanes (position % 8, ascending) merged by merge_lanes; acc[d] adds ascending positions by fma. With q8_0, a score
// adds the codes of 32 dimensions in that way and joins scale · sum to the score by fma, block by block; a value's term
// is fma(weight · scale, code, acc). Positions the query does not see are never part of any operation, so garbage in
// unused slots cannot leak.
// A NaN among the visible scores makes max, sum and acc NaN: poison stays visible.
#include <cmath>
#include <limits>

#include "kernels/scalar/float_math.h"
#include "kernels/scalar/scalar.h"

namespace lutra::kernels::scalar {
namespace {

constexpr auto kF16 = static_cast<size_t>(KvType::kF16), kQ8_0 = static_cast<size_t>(KvType::kQ8_0);

uint16_t* halves_of(uint8_t* page) { return reinterpret_cast<uint16_t*>(page); }
const uint16_t* halves_of(const uint8_t* page) { return reinterpret_cast<const uint16_t*>(page); }
int8_t code_of(const uint8_t* page, uint64_t i) { return static_cast<int8_t>(page[i]); }

void store_key_f16(const float* key, uint32_t head_dim, uint8_t* page, uint32_t slot) noexcept {
  for (uint32_t d = 0; d < head_dim; ++d) halves_of(page)[uint64_t{d} * kPagePositions + slot] = f16_from_f32(key[d]);
}

void store_value_f16(const float* value, uint32_t head_dim, uint8_t* page, uint32_t slot) noexcept {
  for (uint32_t d = 0; d < head_dim; ++d) halves_of(page)[uint64_t{slot} * head_dim + d] = f16_from_f32(value[d]);
}

/// The scale of a block of n ≤ 32 elements; NaN unless all of them, and the scale itself, are finite.
uint16_t scale_of(const float* x, uint32_t n) {
  uint32_t largest = 0;  // magnitudes as integers: the same order, and a NaN is above all
  for (uint32_t i = 0; i < n; ++i) {
    const uint32_t magnitude = std::bit_cast<uint32_t>(x[i]) & 0x7fffffffu;
    largest = magnitude > largest ? magnitude : largest;
  }
  const uint16_t scale = f16_from_f32(std::bit_cast<float>(largest) / 127.0f);
  return scale < 0x7c00u ? scale : uint16_t{0x7e00};
}

/// Writes the codes of a position, element d at page[d · stride], and its scales, block b at scales[32 · b].
void store_q8_0(const float* x, uint32_t head_dim, uint8_t* page, uint64_t stride, uint16_t* scales) {
  for (uint32_t begin = 0; begin < head_dim; begin += kBlock) {
    const uint32_t n = head_dim - begin < kBlock ? head_dim - begin : kBlock;
    const uint16_t scale = scale_of(x + begin, n);
    scales[begin / kBlock * kPagePositions] = scale;
    const bool zero = scale == 0 || scale >= 0x7c00u;
    const float inverse = zero ? 0.0f : 1.0f / f32_from_f16(scale);
    for (uint32_t d = begin; d < begin + n; ++d) {
      const float code = zero ? 0.0f : std::nearbyint(x[d] * inverse);
      page[d * stride] = static_cast<uint8_t>(static_cast<int8_t>(code > 127.0f    ? 127.0f
                                                                  : code < -127.0f ? -127.0f
                                                                                   : code));
    }
  }
}

void store_key_q8_0(const float* key, uint32_t head_dim, uint8_t* page, uint32_t slot) noexcept {
  store_q8_0(key, head_dim, page + slot, kPagePositions, halves_of(page + uint64_t{kPagePositions} * head_dim) + slot);
}

void store_value_q8_0(const float* value, uint32_t head_dim, uint8_t* page, uint32_t slot) noexcept {
  store_q8_0(value, head_dim, page + uint64_t{slot} * head_dim, 1,
             halves_of(page + uint64_t{kPagePositions} * head_dim) + slot);
}

struct HalfPages {
  static float score(const float* query, const uint8_t* page, uint32_t slot, uint32_t head_dim) {
    float score = 0.0f;
    for (uint32_t d = 0; d < head_dim; ++d) {
      score = std::fma(query[d], f32_from_f16(halves_of(page)[uint64_t{d} * kPagePositions + slot]), score);
    }
    return score;
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

  static void add_value(float weight, const uint8_t* page, uint32_t slot, uint32_t head_dim, float* acc) {
    for (uint32_t d = 0; d < head_dim; ++d) {
      const auto code = static_cast<float>(code_of(page, uint64_t{slot} * head_dim + d));
      acc[d] = std::fma(weight * scale(page, slot, head_dim, d), code, acc[d]);
    }
  }
};

/// Turns the scores of [begin, end) into weights; returns their maximum and sum. False when nothing is left to add.
bool weights_of(float* scores, uint32_t begin, uint32_t end, float* max_out, float* sum_out) {
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

template <typename Pages>
void attention_tile(const AttentionTileArgs& args) noexcept {
  float scores[kTilePositions];
  for (uint32_t i = 0; i < args.n_queries; ++i) {
    float* acc = args.acc_out + uint64_t{i} * args.head_dim;
    for (uint32_t d = 0; d < args.head_dim; ++d) acc[d] = 0.0f;
    const uint64_t tile_end = uint64_t{args.tile_begin} + kTilePositions;
    const uint64_t first = args.first[i] > args.tile_begin ? args.first[i] : args.tile_begin;
    const uint64_t last = args.last[i] < tile_end ? args.last[i] : tile_end;
    const uint32_t begin = first < last ? static_cast<uint32_t>(first - args.tile_begin) : 0;
    const uint32_t end = first < last ? static_cast<uint32_t>(last - args.tile_begin) : 0;
    for (uint32_t t = begin; t < end; ++t) {
      const uint8_t* page = args.k_pages[t / kPagePositions];
      scores[t] = Pages::score(args.queries[i], page, t % kPagePositions, args.head_dim);
    }
    if (!weights_of(scores, begin, end, args.max_out + i, args.sum_out + i)) continue;
    for (uint32_t t = begin; t < end; ++t) {
      Pages::add_value(scores[t], args.v_pages[t / kPagePositions], t % kPagePositions, args.head_dim, acc);
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
  table.store_key[kF16] = store_key_f16;
  table.store_key[kQ8_0] = store_key_q8_0;
  table.store_value[kF16] = store_value_f16;
  table.store_value[kQ8_0] = store_value_q8_0;
  table.attention_tile[kF16] = attention_tile<HalfPages>;
  table.attention_tile[kQ8_0] = attention_tile<BytePages>;
  table.attention_merge = attention_merge;
}

}  // namespace lutra::kernels::scalar
