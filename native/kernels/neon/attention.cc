// NEON attention over one tile of logical positions in f16 pages, scored from keys or from tables; bit-equal to
// scalar/attention.cc, which states the order. Pages of other types stay with the scalar functions.
//
// Keys are dimension-major, so a vector holds positions and scores need no horizontal sums. Queries are taken in blocks
// of up to six: one f16 conversion of a key or value feeds all of them, and 6 × 4 accumulators leave 8 registers.
// Grouping changes no bit: every accumulator belongs to one query and takes its terms in position or dimension order.
#include <arm_neon.h>

#include "kernels/neon/attention_lanes.h"
#include "kernels/neon/neon.h"

namespace lutra::kernels::neon {
namespace {

constexpr uint32_t kMaxBlock = 6;

/// Up to kMaxBlock queries; ranges are relative to the tile, and begin == end when nothing is visible.
struct Block {
  uint32_t begin[kMaxBlock];
  uint32_t end[kMaxBlock];
  float* acc;  ///< [queries][head_dim]
  alignas(16) float weights[kMaxBlock][kTilePositions];
};

uint16x4_t to_f16(const float* x) { return vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(x))); }

uint16_t* halves_of(uint8_t* page) { return reinterpret_cast<uint16_t*>(page); }

void store_key_f16(const float* key, uint32_t head_dim, uint8_t* page, uint32_t slot) noexcept {
  for (uint32_t d = 0; d < head_dim; d += 4) {
    const uint16x4_t halves = to_f16(key + d);
    uint16_t* column = halves_of(page) + uint64_t{d} * kPagePositions + slot;
    vst1_lane_u16(column, halves, 0);
    vst1_lane_u16(column + kPagePositions, halves, 1);
    vst1_lane_u16(column + 2 * kPagePositions, halves, 2);
    vst1_lane_u16(column + 3 * kPagePositions, halves, 3);
  }
}

void store_value_f16(const float* value, uint32_t head_dim, uint8_t* page, uint32_t slot) noexcept {
  uint16_t* row = halves_of(page) + uint64_t{slot} * head_dim;
  for (uint32_t d = 0; d < head_dim; d += 4) vst1_u16(row + d, to_f16(value + d));
}

/// Scores of Q queries at 4·V neighbouring positions. `keys` points at the first position's column of its page.
template <int Q, int V>
void score_positions(const float* const* queries, const uint16_t* keys, uint32_t head_dim, float* out) {
  float32x4_t sums[Q][V];
#pragma GCC unroll 24
  for (int i = 0; i < Q * V; ++i) sums[i / V][i % V] = vdupq_n_f32(0.0f);
  for (uint32_t d = 0; d < head_dim; ++d, keys += kPagePositions) {
    float32x4_t key[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) key[v] = load_f16(keys + 4 * v);
#pragma GCC unroll 8
    for (int i = 0; i < Q; ++i) {
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sums[i][v] = vfmaq_n_f32(sums[i][v], key[v], queries[i][d]);
    }
  }
#pragma GCC unroll 24
  for (int i = 0; i < Q * V; ++i) vst1q_f32(out + (i / V) * kTilePositions + 4 * (i % V), sums[i / V][i % V]);
}

template <int Q>
void score_block(const AttentionTileArgs& args, uint32_t from, Block& block) {
  constexpr uint32_t kWidth = 16;
  for (uint32_t t = 0; t < kTilePositions; t += kWidth) {
    bool seen = false;
    for (int i = 0; i < Q; ++i) seen = seen || (block.begin[i] < t + kWidth && block.end[i] > t);
    if (!seen) continue;
    const uint16_t* keys = halves_of(args.k_pages[t / kPagePositions]) + t % kPagePositions;
    score_positions<Q, kWidth / 4>(args.queries + from, keys, args.head_dim, block.weights[0] + t);
  }
}

/// acc[i][0..4·D) += Σ weight · v over positions [begin, end), ascending. Pointers start at the dimension wanted.
template <int Q, int D, typename Args>
void add_values(const float* weights, const Args& args, uint32_t dim, uint32_t begin, uint32_t end, float* acc) {
  const uint64_t head_dim = args.head_dim;
  float32x4_t sums[Q][D];
#pragma GCC unroll 24
  for (int i = 0; i < Q * D; ++i) sums[i / D][i % D] = vld1q_f32(acc + (i / D) * head_dim + dim + 4 * (i % D));
  for (uint32_t t = begin; t < end;) {
    const uint16_t* row = halves_of(args.v_pages[t / kPagePositions]) + (t % kPagePositions) * head_dim + dim;
    const uint32_t page_end = (t / kPagePositions + 1) * kPagePositions;
    for (const uint32_t stop = page_end < end ? page_end : end; t < stop; ++t, row += head_dim) {
      float32x4_t value[D];
#pragma GCC unroll 8
      for (int j = 0; j < D; ++j) value[j] = load_f16(row + 4 * j);
#pragma GCC unroll 8
      for (int i = 0; i < Q; ++i) {
#pragma GCC unroll 8
        for (int j = 0; j < D; ++j) sums[i][j] = vfmaq_n_f32(sums[i][j], value[j], weights[i * kTilePositions + t]);
      }
    }
  }
#pragma GCC unroll 24
  for (int i = 0; i < Q * D; ++i) vst1q_f32(acc + (i / D) * head_dim + dim + 4 * (i % D), sums[i / D][i % D]);
}

/// All dimensions of Q queries that see every position of [begin, end).
template <int Q, typename Args>
void add_range(const Args& args, const float* weights, uint32_t begin, uint32_t end, float* acc) {
  constexpr int kVectors = Q == 1 ? 8 : 4;
  if (begin >= end) return;
  uint32_t dim = 0;
  for (; dim + 4 * kVectors <= args.head_dim; dim += 4 * kVectors) {
    add_values<Q, kVectors>(weights, args, dim, begin, end, acc);
  }
  for (; dim < args.head_dim; dim += 8) add_values<Q, 2>(weights, args, dim, begin, end, acc);
}

/// The positions all queries see run as one block; what lies before and after runs query by query, so that each query
/// meets its own positions only, in ascending order.
template <int Q, typename Args>
void add_block(const Args& args, Block& block) {
  uint32_t begin = 0, end = kTilePositions;
  for (int i = 0; i < Q; ++i) {
    begin = block.begin[i] > begin ? block.begin[i] : begin;
    end = block.end[i] < end ? block.end[i] : end;
  }
  const bool shared = Q > 1 && begin < end;
  for (int i = 0; i < Q; ++i) {
    const uint32_t stop = shared ? begin : block.end[i];
    add_range<1>(args, block.weights[i], block.begin[i], stop, block.acc + uint64_t{args.head_dim} * i);
  }
  if (!shared) return;
  add_range<Q>(args, block.weights[0], begin, end, block.acc);
  for (int i = 0; i < Q; ++i) {
    add_range<1>(args, block.weights[i], end, block.end[i], block.acc + uint64_t{args.head_dim} * i);
  }
}

/// Scores of tables, for the query at the same place of `args` as in the block.
template <int Q>
void score_block(const LookupTileArgs& args, uint32_t from, Block& block) {
  for (int i = 0; i < Q; ++i) {
    const float32x4_t bias = vdupq_n_f32(args.biases[from + i]), step = vdupq_n_f32(args.steps[from + i]);
    for (uint32_t t = block.begin[i] & ~3u; t < block.end[i]; t += 4) {
      const float32x4_t sums = vcvtq_f32_u32(vmovl_u16(vld1_u16(args.scores[from + i] + t)));
      vst1q_f32(block.weights[i] + t, vfmaq_f32(bias, sums, step));
    }
  }
}

template <int Q, typename Args>
void attend_block(const Args& args, uint32_t from) {
  Block block;
  block.acc = args.acc_out + uint64_t{args.head_dim} * from;
  const uint64_t tile_begin = args.tile_begin, tile_end = tile_begin + kTilePositions;
  for (int i = 0; i < Q; ++i) {
    const uint64_t first = args.first[from + i] > tile_begin ? args.first[from + i] : tile_begin;
    const uint64_t last = args.last[from + i] < tile_end ? args.last[from + i] : tile_end;
    block.begin[i] = first < last ? static_cast<uint32_t>(first - tile_begin) : 0;
    block.end[i] = first < last ? static_cast<uint32_t>(last - tile_begin) : 0;
  }
  for (uint64_t d = 0; d < uint64_t{args.head_dim} * Q; d += 4) vst1q_f32(block.acc + d, vdupq_n_f32(0.0f));
  score_block<Q>(args, from, block);
  for (int i = 0; i < Q; ++i) {
    const bool any =
        weigh(block.weights[i], block.begin[i], block.end[i], args.max_out + from + i, args.sum_out + from + i);
    if (!any) block.begin[i] = block.end[i] = 0;
  }
  add_block<Q>(args, block);
}

template <typename Args>
void tile_f16(const Args& args) noexcept {
  uint32_t from = 0;
  for (; args.n_queries - from >= kMaxBlock; from += kMaxBlock) attend_block<6>(args, from);
  switch (args.n_queries - from) {
    case 5: return attend_block<5>(args, from);
    case 4: return attend_block<4>(args, from);
    case 3: return attend_block<3>(args, from);
    case 2: return attend_block<2>(args, from);
    case 1: return attend_block<1>(args, from);
    default: return;
  }
}

void attention_merge(float* max, float* sum, float* acc, float tile_max, float tile_sum, const float* tile_acc,
                     uint32_t head_dim) noexcept {
  if (tile_max == kLowest) return;
  if (*max == kLowest) {
    *max = tile_max;
    *sum = tile_sum;
    for (uint32_t d = 0; d < head_dim; d += 4) vst1q_f32(acc + d, vld1q_f32(tile_acc + d));
    return;
  }
  const float larger = tile_max > *max || tile_max != tile_max ? tile_max : *max;
  const float32x4_t factor = exp_ps(vdupq_n_f32(*max - larger));
  const float32x4_t tile_factor = exp_ps(vdupq_n_f32(tile_max - larger));
  *max = larger;
  *sum = vgetq_lane_f32(vfmaq_f32(vmulq_n_f32(factor, *sum), vdupq_n_f32(tile_sum), tile_factor), 0);
  for (uint32_t d = 0; d < head_dim; d += 4) {
    const float32x4_t kept = vmulq_f32(vld1q_f32(acc + d), factor);
    vst1q_f32(acc + d, vfmaq_f32(kept, vld1q_f32(tile_acc + d), tile_factor));
  }
}

}  // namespace

void fill_attention(KernelTable& table) noexcept {
  constexpr auto kF16 = static_cast<uint64_t>(KvType::kF16);
  table.store_key[kF16] = store_key_f16;
  table.store_value[kF16] = store_value_f16;
  table.attention_tile[kF16] = tile_f16;
  table.lookup.tile[kF16] = tile_f16;
  table.attention_merge = attention_merge;
}

}  // namespace lutra::kernels::neon
