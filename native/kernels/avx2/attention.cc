// AVX2 attention over one tile of logical positions; bit-equal to scalar/attention.cc, which states the order.
//
// Keys are dimension-major, so a vector holds positions and scores need no horizontal sums. Queries are taken in blocks
// of up to six: one f16 conversion of a key or value feeds all of them, and 6 × 2 accumulators fill the registers.
// Grouping changes no bit: every accumulator belongs to one query and takes its terms in position or dimension order.
#include <immintrin.h>

#include "kernels/avx2/avx2.h"
#include "kernels/avx2/vector_math.h"

namespace lutra::kernels::avx2 {
namespace {

constexpr uint32_t kMaxBlock = 6;

/// Up to kMaxBlock queries; ranges are relative to the tile, and begin == end when nothing is visible.
struct Block {
  const float* const* queries;
  uint32_t begin[kMaxBlock];
  uint32_t end[kMaxBlock];
  float* acc;  ///< [queries][head_dim]
  alignas(32) float weights[kMaxBlock][kTilePositions];
};

__m256 load_f16(const uint16_t* x) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x))); }

__m128i to_f16(const float* x) { return _mm256_cvtps_ph(_mm256_loadu_ps(x), _MM_FROUND_TO_NEAREST_INT); }

void store_key_f16(const float* key, uint32_t head_dim, uint16_t* page, uint32_t slot) noexcept {
  alignas(16) uint16_t halves[8];
  for (uint32_t d = 0; d < head_dim; d += 8) {
    _mm_store_si128(reinterpret_cast<__m128i*>(halves), to_f16(key + d));
    for (uint32_t j = 0; j < 8; ++j) page[uint64_t{d + j} * kPagePositions + slot] = halves[j];
  }
}

void store_value_f16(const float* value, uint32_t head_dim, uint16_t* page, uint32_t slot) noexcept {
  uint16_t* row = page + uint64_t{slot} * head_dim;
  for (uint32_t d = 0; d < head_dim; d += 8) _mm_storeu_si128(reinterpret_cast<__m128i*>(row + d), to_f16(value + d));
}

/// sums[i][v] += left(i) · right(v). The shorter side stays in registers while the other streams through one: with 12
/// sums of the 16 registers, keeping both sides would spill (measured: half the speed at Q = 3).
template <int Q, int V, typename Left, typename Right>
inline __attribute__((always_inline)) void multiply_add(__m256 (&sums)[Q][V], Left left, Right right) {
  if constexpr (Q < V) {
    __m256 kept[Q];
#pragma GCC unroll 8
    for (int i = 0; i < Q; ++i) kept[i] = left(i);
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      const __m256 streamed = right(v);
#pragma GCC unroll 8
      for (int i = 0; i < Q; ++i) sums[i][v] = _mm256_fmadd_ps(kept[i], streamed, sums[i][v]);
    }
  } else {
    __m256 kept[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) kept[v] = right(v);
#pragma GCC unroll 8
    for (int i = 0; i < Q; ++i) {
      const __m256 streamed = left(i);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sums[i][v] = _mm256_fmadd_ps(streamed, kept[v], sums[i][v]);
    }
  }
}

/// Scores of Q queries at 8·V neighbouring positions. `keys` points at the first position's column of its page.
template <int Q, int V>
void score_positions(const float* const* queries, const uint16_t* keys, uint32_t head_dim, float* out) {
  __m256 sums[Q][V];
#pragma GCC unroll 8
  for (int i = 0; i < Q; ++i) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) sums[i][v] = _mm256_setzero_ps();
  }
  for (uint32_t d = 0; d < head_dim; ++d, keys += kPagePositions) {
    const auto key = [&](int v) { return load_f16(keys + 8 * v); };
    const auto query = [&](int i) { return _mm256_broadcast_ss(queries[i] + d); };
    multiply_add<Q, V>(sums, query, key);
  }
#pragma GCC unroll 8
  for (int i = 0; i < Q; ++i) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) _mm256_store_ps(out + i * kTilePositions + 8 * v, sums[i][v]);
  }
}

template <int Q>
void score_block(const AttentionTileArgs& args, Block& block) {
  constexpr int kVectors = Q <= 3 ? 4 : 2;
  constexpr uint32_t kWidth = 8 * kVectors;
  for (uint32_t t = 0; t < kTilePositions; t += kWidth) {
    bool seen = false;
    for (int i = 0; i < Q; ++i) seen = seen || (block.begin[i] < t + kWidth && block.end[i] > t);
    if (!seen) continue;
    const uint16_t* keys = args.k_pages[t / kPagePositions] + t % kPagePositions;
    score_positions<Q, kVectors>(block.queries, keys, args.head_dim, block.weights[0] + t);
  }
}

/// All-ones in the lanes whose position t + lane lies in [begin, end).
__m256 visible_lanes(uint32_t t, uint32_t begin, uint32_t end) {
  const __m256i position =
      _mm256_add_epi32(_mm256_set1_epi32(static_cast<int>(t)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  const __m256i before = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(begin)), position);
  const __m256i inside = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(end)), position);
  return _mm256_castsi256_ps(_mm256_andnot_si256(before, inside));
}

/// Turns the scores of [begin, end) into weights. False when nothing is left to add. Masked lanes may hold garbage:
/// they are replaced, never multiplied.
bool weigh(float* scores, uint32_t begin, uint32_t end, float* max_out, float* sum_out) {
  const __m256 lowest = _mm256_set1_ps(-__builtin_inff());
  __m256 max = lowest, nan = _mm256_setzero_ps();
  for (uint32_t t = begin & ~7u; t < end; t += 8) {
    const __m256 score = _mm256_blendv_ps(lowest, _mm256_load_ps(scores + t), visible_lanes(t, begin, end));
    nan = _mm256_or_ps(nan, _mm256_cmp_ps(score, score, _CMP_UNORD_Q));
    max = _mm256_max_ps(score, max);
  }
  *max_out = _mm256_movemask_ps(nan) != 0 ? __builtin_nanf("") : max_lane(max);
  *sum_out = 0.0f;
  if (*max_out == -__builtin_inff()) return false;
  const __m256 shift = _mm256_set1_ps(*max_out);
  __m256 sum = _mm256_setzero_ps();
  for (uint32_t t = begin & ~7u; t < end; t += 8) {
    const __m256 weight = exp_ps(_mm256_sub_ps(_mm256_load_ps(scores + t), shift));
    const __m256 seen = _mm256_and_ps(weight, visible_lanes(t, begin, end));
    _mm256_store_ps(scores + t, seen);
    sum = _mm256_add_ps(sum, seen);
  }
  *sum_out = merge_lanes(sum);
  return true;
}

/// acc[i][0..8·D) += Σ weight · v over positions [begin, end), ascending. Pointers start at the dimension wanted.
template <int Q, int D>
void add_values(const float* weights, const AttentionTileArgs& args, uint32_t dim, uint32_t begin, uint32_t end,
                float* acc) {
  const uint64_t head_dim = args.head_dim;
  __m256 sums[Q][D];
#pragma GCC unroll 8
  for (int i = 0; i < Q; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < D; ++j) sums[i][j] = _mm256_loadu_ps(acc + i * head_dim + dim + 8 * j);
  }
  for (uint32_t t = begin; t < end;) {
    const uint16_t* row = args.v_pages[t / kPagePositions] + (t % kPagePositions) * head_dim + dim;
    const uint32_t page_end = (t / kPagePositions + 1) * kPagePositions;
    for (const uint32_t stop = page_end < end ? page_end : end; t < stop; ++t, row += head_dim) {
      const auto value = [&](int j) { return load_f16(row + 8 * j); };
      const auto weight = [&](int i) { return _mm256_broadcast_ss(weights + i * kTilePositions + t); };
      multiply_add<Q, D>(sums, weight, value);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < Q; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < D; ++j) _mm256_storeu_ps(acc + i * head_dim + dim + 8 * j, sums[i][j]);
  }
}

/// All dimensions of Q queries that see every position of [begin, end).
template <int Q>
void add_range(const AttentionTileArgs& args, const float* weights, uint32_t begin, uint32_t end, float* acc) {
  constexpr int kVectors = Q == 1 ? 8 : Q <= 3 ? 4 : 2;
  if (begin >= end) return;
  uint32_t dim = 0;
  for (; dim + 8 * kVectors <= args.head_dim; dim += 8 * kVectors) {
    add_values<Q, kVectors>(weights, args, dim, begin, end, acc);
  }
  for (; dim < args.head_dim; dim += 8) add_values<Q, 1>(weights, args, dim, begin, end, acc);
}

/// The positions all queries see run as one block; what lies before and after runs query by query, so that each query
/// meets its own positions only, in ascending order.
template <int Q>
void add_block(const AttentionTileArgs& args, Block& block) {
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

template <int Q>
void attend_block(const AttentionTileArgs& args, uint32_t from) {
  Block block;
  block.queries = args.queries + from;
  block.acc = args.acc_out + uint64_t{args.head_dim} * from;
  const uint64_t tile_begin = args.tile_begin, tile_end = tile_begin + kTilePositions;
  for (int i = 0; i < Q; ++i) {
    const uint64_t first = args.first[from + i] > tile_begin ? args.first[from + i] : tile_begin;
    const uint64_t last = args.last[from + i] < tile_end ? args.last[from + i] : tile_end;
    block.begin[i] = first < last ? static_cast<uint32_t>(first - tile_begin) : 0;
    block.end[i] = first < last ? static_cast<uint32_t>(last - tile_begin) : 0;
  }
  for (uint64_t d = 0; d < uint64_t{args.head_dim} * Q; d += 8) _mm256_storeu_ps(block.acc + d, _mm256_setzero_ps());
  score_block<Q>(args, block);
  for (int i = 0; i < Q; ++i) {
    const bool any =
        weigh(block.weights[i], block.begin[i], block.end[i], args.max_out + from + i, args.sum_out + from + i);
    if (!any) block.begin[i] = block.end[i] = 0;
  }
  add_block<Q>(args, block);
}

void attention_tile_f16(const AttentionTileArgs& args) noexcept {
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
  if (tile_max == -__builtin_inff()) return;
  if (*max == -__builtin_inff()) {
    *max = tile_max;
    *sum = tile_sum;
    for (uint32_t d = 0; d < head_dim; d += 8) _mm256_storeu_ps(acc + d, _mm256_loadu_ps(tile_acc + d));
    return;
  }
  const float larger = tile_max > *max || tile_max != tile_max ? tile_max : *max;
  const __m256 factor = exp_ps(_mm256_set1_ps(*max - larger));
  const __m256 tile_factor = exp_ps(_mm256_set1_ps(tile_max - larger));
  *max = larger;
  *sum = _mm256_cvtss_f32(
      _mm256_fmadd_ps(_mm256_set1_ps(tile_sum), tile_factor, _mm256_mul_ps(_mm256_set1_ps(*sum), factor)));
  for (uint32_t d = 0; d < head_dim; d += 8) {
    const __m256 kept = _mm256_mul_ps(_mm256_loadu_ps(acc + d), factor);
    _mm256_storeu_ps(acc + d, _mm256_fmadd_ps(_mm256_loadu_ps(tile_acc + d), tile_factor, kept));
  }
}

}  // namespace

void fill_attention(KernelTable& table) noexcept {
  table.store_key_f16 = store_key_f16;
  table.store_value_f16 = store_value_f16;
  table.attention_tile_f16 = attention_tile_f16;
  table.attention_merge = attention_merge;
}

}  // namespace lutra::kernels::avx2
