// Weighted sums of values for a block of queries, for attention_tile.h. A vector holds dimensions.
#pragma once

#include <immintrin.h>

#include "kernels/avx2/attention_scores.h"

namespace lutra::kernels::avx2 {
namespace {

/// Where the values of the tile's pages are, and what to fetch while a page is worked on.
template <typename Pages>
struct Values {
  const typename Pages::Element* pages[kTilePages];
  const typename Pages::Element* ahead[kTilePages];
  const uint16_t* scales[kTilePages];  ///< of q8_0
};

/// acc[i][dim..] += Σ weight · v over positions [begin, end), ascending, for D vectors of dimensions.
template <typename Lanes, int Q, int D, bool kFetch, typename Pages>
void add_vectors(const float* weights, const Values<Pages>& values, uint64_t head_dim, uint32_t dim, uint32_t begin,
                 uint32_t end, float* acc) {
  constexpr uint32_t kWidth = Lanes::kWidth;
  typename Lanes::Vector sums[Q][D];
#pragma GCC unroll 8
  for (int i = 0; i < Q; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < D; ++j) sums[i][j] = Lanes::load(acc + i * head_dim + dim + kWidth * j);
  }
  for (uint32_t t = begin; t < end;) {
    const uint32_t page = t / kPagePositions, stop = page * kPagePositions + kPagePositions;
    const uint64_t offset = t % kPagePositions * head_dim + dim;
    const auto* row = values.pages[page] + offset;
    const auto* next = values.ahead[page] + offset;
    for (const uint32_t last = stop < end ? stop : end; t < last; ++t, row += head_dim, next += head_dim) {
      if constexpr (kFetch) {
#pragma GCC unroll 4
        for (uint32_t j = 0; j < D * kWidth; j += 64 / sizeof(*row)) __builtin_prefetch(next + j);
      }
      const auto weight = [&](int i) { return Lanes::set(weights[i * kTilePositions + t]); };
      add_products<Lanes, Q, D>(sums, weight, [&](int j) { return Lanes::widen(row + kWidth * j); });
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < Q; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < D; ++j) Lanes::store(acc + i * head_dim + dim + kWidth * j, sums[i][j]);
  }
}

/// scaled[i][t] = weight · scale of block `block` of dimensions, for the vectors that [begin, end) touches.
template <typename Lanes, int Q, typename Pages>
void scale_weights(const float* weights, const Values<Pages>& values, uint32_t block, uint32_t begin, uint32_t end,
                   float* scaled) {
  for (uint32_t t = begin / Lanes::kWidth * Lanes::kWidth; t < end; t += Lanes::kWidth) {
    const uint16_t* scales = values.scales[t / kPagePositions] + block * kPagePositions + t % kPagePositions;
    const auto scale = Lanes::widen(scales);
#pragma GCC unroll 8
    for (int i = 0; i < Q; ++i) {
      const auto weight = Lanes::load(weights + i * kTilePositions + t);
      Lanes::store(scaled + i * kTilePositions + t, Lanes::multiply(weight, scale));
    }
  }
}

/// All dimensions of Q queries that see every position of [begin, end).
template <typename Lanes, int Q, bool kFetch, typename Pages>
void add_range(const float* weights, const Values<Pages>& values, uint32_t head_dim, uint32_t begin, uint32_t end,
               float* acc) {
  constexpr uint32_t kWidth = Lanes::kWidth;
  // Vectors of dimensions that fill the registers, but not past a block's scale.
  constexpr int kRegisters = kWidth == 16 ? 4 : Q == 1 ? 8 : Q <= 3 ? 4 : 2;
  constexpr int kInBlock = static_cast<int>(kBlock / kWidth);
  constexpr int D = Pages::kScaled && kInBlock < kRegisters ? kInBlock : kRegisters;
  if (begin >= end) return;
  alignas(64) float scaled[Pages::kScaled ? Q * kTilePositions : 1];
  const uint32_t block = Pages::kScaled ? kBlock : head_dim;
  for (uint32_t dim = 0; dim < head_dim;) {
    const float* factors = weights;
    if constexpr (Pages::kScaled) {
      scale_weights<Lanes, Q>(weights, values, dim / kBlock, begin, end, scaled);
      factors = scaled;
    }
    const uint32_t stop = head_dim - dim < block ? head_dim : dim + block;
    for (; dim + kWidth * D <= stop; dim += kWidth * D) {
      add_vectors<Lanes, Q, D, kFetch>(factors, values, head_dim, dim, begin, end, acc);
    }
    for (; dim + kWidth <= stop; dim += kWidth) {
      add_vectors<Lanes, Q, 1, kFetch>(factors, values, head_dim, dim, begin, end, acc);
    }
    for (; dim < stop; dim += 8) {
      add_vectors<typename Lanes::Eight, Q, 1, kFetch>(factors, values, head_dim, dim, begin, end, acc);
    }
  }
}

constexpr uint32_t kMaxBlock = 6;

/// Up to kMaxBlock neighbouring queries; ranges are relative to the tile, begin == end when nothing is visible.
struct Block {
  uint32_t* begin;
  uint32_t* end;
  float* weights;  ///< [queries][kTilePositions] scores, then weights
  float* acc;      ///< [queries][head_dim]
};

/// The positions all queries see run as one block; what lies before and after runs query by query, so that each query
/// meets its own positions only, in ascending order.
template <typename Lanes, int Q, bool kFetch, typename Pages>
void add_block(const Block& block, const Values<Pages>& values, uint32_t head_dim) {
  uint32_t begin = 0, end = kTilePositions;
  for (int i = 0; i < Q; ++i) {
    begin = block.begin[i] > begin ? block.begin[i] : begin;
    end = block.end[i] < end ? block.end[i] : end;
  }
  const auto alone = [&](int i, uint32_t first, uint32_t last) {
    add_range<Lanes, 1, kFetch>(block.weights + i * kTilePositions, values, head_dim, first, last,
                                block.acc + uint64_t{head_dim} * i);
  };
  const bool shared = Q > 1 && begin < end;
  for (int i = 0; i < Q; ++i) alone(i, block.begin[i], shared ? begin : block.end[i]);
  if (!shared) return;
  add_range<Lanes, Q, kFetch>(block.weights, values, head_dim, begin, end, block.acc);
  for (int i = 0; i < Q; ++i) alone(i, end, block.end[i]);
}

}  // namespace
}  // namespace lutra::kernels::avx2
