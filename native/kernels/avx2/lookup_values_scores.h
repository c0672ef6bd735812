// Scores of a block of queries against listed, position-major keys, for lookup_values.h.
//
// A vector holds eight dimensions of one key, so that a key is converted once for all queries of the block; eight keys'
// sums are merged together.
#pragma once

#include <immintrin.h>

#include "kernels/avx2/attention_lanes.h"
#include "kernels/avx2/attention_scores.h"

namespace lutra::kernels::avx2 {
namespace {

/// Entries from the one worked on to the one fetched, and into the second cache: the first has too few places for what
/// is under way (random lines from memory, measured on Zen 4: 14 ns each when fetched into the first cache at any
/// distance, 7 to 9 into the second at 32 or 64 lines).
constexpr uint32_t kFetchAhead = 32;
inline void fetch_line(const void* line) { __builtin_prefetch(line, 0, 1); }

/// The rows of listed positions in pages of keys or values.
template <typename Pages>
struct ListedRows {
  using Element = typename Pages::Element;

  const Element* row(uint32_t p) const {
    return reinterpret_cast<const Element*>(pages[p / kPagePositions]) + uint64_t{p % kPagePositions} * head_dim;
  }
  /// The scale of a position's first 32 dimensions; those of the next are kPagePositions further.
  const uint16_t* scales(uint32_t p) const {
    const uint8_t* end = pages[p / kPagePositions] + uint64_t{head_dim} * kPagePositions;
    return reinterpret_cast<const uint16_t*>(end) + p % kPagePositions;
  }
  void fetch(uint32_t p) const {
    const auto* begin = reinterpret_cast<const char*>(row(p));
    const char* end = begin + head_dim * sizeof(Element);
    for (const char* line = begin; line < end; line += 64) fetch_line(line);
    if (head_dim * sizeof(Element) % 64 != 0) fetch_line(end - 1);
    if constexpr (Pages::kScaled) {
      for (uint32_t d = 0; d < head_dim; d += kBlock) fetch_line(scales(p) + d);
    }
  }

  /// Past the last entry, the last one's.
  uint32_t position(uint32_t entry) const { return listed[entry < n_listed ? entry : n_listed - 1]; }

  const uint8_t* const* pages;
  const uint32_t* listed;
  uint32_t n_listed;
  uint32_t head_dim;
};

/// merge_lanes of eight vectors at once: the same additions, of neighbours' lanes.
inline __m256 merge_eight(const __m256 (&v)[8]) {
  __m256 quads[4], pairs[2];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m256 low = _mm256_permute2f128_ps(v[i], v[i + 4], 0x20),
                 high = _mm256_permute2f128_ps(v[i], v[i + 4], 0x31);
    quads[i] = _mm256_add_ps(low, high);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const __m256d a = _mm256_castps_pd(quads[2 * i]), b = _mm256_castps_pd(quads[2 * i + 1]);
    pairs[i] = _mm256_add_ps(_mm256_castpd_ps(_mm256_unpacklo_pd(a, b)), _mm256_castpd_ps(_mm256_unpackhi_pd(a, b)));
  }
  return _mm256_add_ps(_mm256_shuffle_ps(pairs[0], pairs[1], 0x88), _mm256_shuffle_ps(pairs[0], pairs[1], 0xDD));
}

/// The lanes of Q queries' products with K keys; lanes[i][k].
template <int Q, int K, typename Pages>
LUTRA_TILE_INLINE void add_keys(const float* const* queries, const ListedRows<Pages>& keys, const uint32_t* listed,
                                __m256 (&lanes)[Q][8], int from) {
  const typename Pages::Element* rows[K];
  const float* block[Q];
  __m256 sums[Q][K];
#pragma GCC unroll 8
  for (int k = 0; k < K; ++k) rows[k] = keys.row(listed[k]);
#pragma GCC unroll 8
  for (int i = 0; i < Q; ++i) {
    block[i] = queries[i];
#pragma GCC unroll 8
    for (int k = 0; k < K; ++k) sums[i][k] = Lanes8::zero();
  }
  const auto add = [&](uint32_t d, auto key) {
    add_products<Lanes8, Q, K>(sums, [&](int i) { return Lanes8::load(block[i] + d); }, key);
  };
  if constexpr (Pages::kScaled) {
    for (uint32_t begin = 0; begin < keys.head_dim; begin += kBlock) {
      __m256 scales[K];
#pragma GCC unroll 8
      for (int k = 0; k < K; ++k) scales[k] = Lanes8::widen_one(keys.scales(listed[k]) + begin);
      const uint32_t end = keys.head_dim - begin < kBlock ? keys.head_dim : begin + kBlock;
      for (uint32_t d = begin; d < end; d += 8) {
        add(d, [&](int k) { return Lanes8::multiply(Lanes8::widen(rows[k] + d), scales[k]); });
      }
    }
  } else {
    for (uint32_t d = 0; d < keys.head_dim; d += 8) add(d, [&](int k) { return Lanes8::widen(rows[k] + d); });
  }
#pragma GCC unroll 8
  for (int i = 0; i < Q; ++i) {
#pragma GCC unroll 8
    for (int k = 0; k < K; ++k) lanes[i][from + k] = sums[i][k];
  }
}

/// scores[i · stride + 0..8) of Q queries and eight keys, K of them at a time.
template <int Q, int K, typename Pages>
LUTRA_TILE_INLINE void score_eight(const float* const* queries, const ListedRows<Pages>& keys, const uint32_t* listed,
                                   float* scores, uint64_t stride) {
  __m256 lanes[Q][8];
#pragma GCC unroll 8
  for (int from = 0; from < 8; from += K) add_keys<Q, K>(queries, keys, listed + from, lanes, from);
#pragma GCC unroll 8
  for (int i = 0; i < Q; ++i) Lanes8::store(scores + static_cast<uint64_t>(i) * stride, merge_eight(lanes[i]));
}

}  // namespace
}  // namespace lutra::kernels::avx2
