// Scores of a block of queries against a page of keys, for attention_tile.h.
//
// Keys are dimension-major, so a vector holds positions and scores need no horizontal sums.
#pragma once

#include <immintrin.h>

#include "kernels/avx2/query_blocks.h"
#include "kernels/kernels.h"

namespace lutra::kernels::avx2 {
namespace {

constexpr uint64_t kMaxHeadDim = 512;
/// Floats from one copied query to the next: a constant, so that one pointer reaches a block's queries (six pointers
/// spill), and not a power of two, so that they do not share a cache set.
constexpr uint64_t kQueryStride = kMaxHeadDim + 16;

struct HalfPages {
  using Element = uint16_t;
  static constexpr bool kScaled = false;
};
struct BytePages {
  using Element = int8_t;
  static constexpr bool kScaled = true;
};

/// sums[i][v] += left(i) · right(v). The shorter side stays in registers while the other streams through one: with 12
/// sums of AVX2's 16 registers, keeping both sides would spill (measured: half the speed at Q = 3).
template <typename Lanes, int Q, int V, typename Left, typename Right>
LUTRA_TILE_INLINE void add_products(typename Lanes::Vector (&sums)[Q][V], Left left, Right right) {
  using Vector = typename Lanes::Vector;
  if constexpr (Q < V) {
    Vector kept[Q];
#pragma GCC unroll 8
    for (int i = 0; i < Q; ++i) kept[i] = left(i);
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      const Vector streamed = right(v);
#pragma GCC unroll 8
      for (int i = 0; i < Q; ++i) sums[i][v] = Lanes::multiply_add(kept[i], streamed, sums[i][v]);
    }
  } else {
    Vector kept[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) kept[v] = right(v);
#pragma GCC unroll 8
    for (int i = 0; i < Q; ++i) {
      const Vector streamed = left(i);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sums[i][v] = Lanes::multiply_add(streamed, kept[v], sums[i][v]);
    }
  }
}

/// Scores of Q queries at the positions of a page of keys; the scales of q8_0 are at `scales`. kFetch: fetches the
/// bytes at `next`, as many as the page has, meanwhile.
template <typename Lanes, int Q, typename Pages, bool kFetch>
void score_page(const float* queries, const typename Pages::Element* keys, const uint16_t* scales, uint32_t head_dim,
                const uint8_t* next, float* out) {
  constexpr uint32_t kWidth = Lanes::kWidth;
  constexpr int V = kWidth == 16 || Q > 3 ? 2 : 4;
  const uint32_t block = Pages::kScaled ? kBlock : head_dim;
  for (uint32_t slot = 0; slot < kPagePositions; slot += kWidth * V) {
    const typename Pages::Element* column = keys + slot;
    for (uint32_t begin = 0; begin < head_dim; begin += block) {
      typename Lanes::Vector sums[Q][V];
#pragma GCC unroll 8
      for (int i = 0; i < Q; ++i) {
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) sums[i][v] = Lanes::zero();
      }
      const uint32_t end = head_dim - begin < block ? head_dim : begin + block;
      for (uint32_t d = begin; d < end; ++d, column += kPagePositions) {
        if constexpr (kFetch) __builtin_prefetch(next + uint64_t{d} * kPagePositions * sizeof(*column));
        const auto query = [&](int i) { return Lanes::set(queries[i * kQueryStride + d]); };
        add_products<Lanes, Q, V>(sums, query, [&](int v) { return Lanes::widen(column + kWidth * v); });
      }
#pragma GCC unroll 8
      for (int i = 0; i < Q; ++i) {
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) {
          float* place = out + i * kTilePositions + slot + kWidth * v;
          if constexpr (Pages::kScaled) {
            const auto scale = Lanes::widen(scales + begin + slot + kWidth * v);
            sums[i][v] = Lanes::multiply_add(scale, sums[i][v], begin > 0 ? Lanes::load(place) : Lanes::zero());
          }
          Lanes::store(place, sums[i][v]);
        }
      }
    }
  }
}

}  // namespace
}  // namespace lutra::kernels::avx2
