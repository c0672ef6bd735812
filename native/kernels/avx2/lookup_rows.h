// Attention over listed positions, whose rows of 8 bits are read, for vectors of 8 (AVX2) and 16 lanes (AVX-512);
// bit-equal to scalar/lookup_rows.cc.
//
// Rows are scattered, so hardware prefetchers see nothing: each is fetched by address some entries ahead.
// Lanes: see attention_tile.h. Dot: sixteen products of 16 bits, added in pairs to eight sums. Internal linkage.
#pragma once

#include <immintrin.h>

#include "kernels/avx2/attention_lanes.h"
#include "kernels/avx2/attention_scores.h"
#include "kernels/fetch.h"
#include "kernels/lookup_row_scale.h"

namespace lutra::kernels::avx2 {
namespace {

/// Entries from the one worked on to the one fetched, and into the second cache: the first has too few places for what
/// is under way.
constexpr uint32_t kFetchAhead = 32;
constexpr uint32_t kLine = 64;
/// Entries whose values are added for all dimensions and queries before the next: their rows stay in the first cache.
constexpr uint32_t kValueEntries = 64;

struct Dot8 {
  static __m256i add(__m256i sums, __m256i a, __m256i b) { return _mm256_add_epi32(sums, _mm256_madd_epi16(a, b)); }
};

/// The rows of listed positions.
struct ListedRows {
  const int8_t* key(uint32_t p) const {
    return reinterpret_cast<const int8_t*>(pages[p / kPagePositions]) + uint64_t{p % kPagePositions} * head_dim;
  }
  const int8_t* value(uint32_t p) const { return key(p) + uint64_t{kPagePositions} * head_dim; }
  const uint16_t* scales(uint32_t p) const {
    const uint8_t* end = pages[p / kPagePositions] + uint64_t{kPagePositions} * 2 * head_dim;
    return reinterpret_cast<const uint16_t*>(end) + uint64_t{p % kPagePositions} * 2;
  }
  void fetch(uint32_t p) const {
    for (uint32_t dim = 0; dim < head_dim; dim += kLine) {
      fetch_line<Cache::kSecond>(key(p) + dim);
      fetch_line<Cache::kSecond>(value(p) + dim);
    }
    fetch_line<Cache::kSecond>(scales(p));
  }
  /// Past the last entry, the last one's.
  uint32_t position(uint32_t entry) const { return listed[entry < n_listed ? entry : n_listed - 1]; }

  const uint8_t* const* pages;
  const uint32_t* listed;
  uint32_t n_listed;
  uint32_t head_dim;
};

/// The sums of eight vectors' lanes.
inline __m256i sum_eight(const __m256i (&v)[8]) {
  __m256i quads[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    quads[i] = _mm256_add_epi32(_mm256_permute2x128_si256(v[i], v[i + 4], 0x20),
                                _mm256_permute2x128_si256(v[i], v[i + 4], 0x31));
  }
  return _mm256_hadd_epi32(_mm256_hadd_epi32(quads[0], quads[1]), _mm256_hadd_epi32(quads[2], quads[3]));
}

/// The lanes of Q queries' products with K keys; lanes[i][from + k].
template <typename Dot, int Q, int K>
LUTRA_TILE_INLINE void add_keys(const int16_t* const* queries, const ListedRows& rows, const uint32_t* listed,
                                __m256i (&lanes)[Q][8], int from) {
  const int8_t* keys[K];
  __m256i sums[Q][K];
#pragma GCC unroll 32
  for (int i = 0; i < Q * K; ++i) sums[i / K][i % K] = _mm256_setzero_si256();
#pragma GCC unroll 8
  for (int k = 0; k < K; ++k) keys[k] = rows.key(listed[k]);
  uint32_t d = 0;
  for (; d + 16 <= rows.head_dim; d += 16) {
#pragma GCC unroll 8
    for (int k = 0; k < K; ++k) {
      const __m256i key = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(keys[k] + d)));
#pragma GCC unroll 4
      for (int i = 0; i < Q; ++i) {
        sums[i][k] = Dot::add(sums[i][k], key, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(queries[i] + d)));
      }
    }
  }
  if (d < rows.head_dim) {
    for (int k = 0; k < K; ++k) {
      const __m128i key = _mm_cvtepi8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(keys[k] + d)));
      for (int i = 0; i < Q; ++i) {
        const __m128i query = _mm_loadu_si128(reinterpret_cast<const __m128i*>(queries[i] + d));
        sums[i][k] = Dot::add(sums[i][k], _mm256_zextsi128_si256(key), _mm256_zextsi128_si256(query));
      }
    }
  }
#pragma GCC unroll 32
  for (int i = 0; i < Q * K; ++i) lanes[i / K][from + i % K] = sums[i / K][i % K];
}

/// acc[i][dim..] += Σ weight · v, ascending, over entries [begin, end), for D vectors of dimensions.
template <typename Lanes, int Q, int D>
void add_listed(const ListedRows& rows, const float* weights, uint64_t stride, uint32_t begin, uint32_t end,
                uint32_t dim, float* acc) {
  constexpr uint32_t kWidth = Lanes::kWidth;
  typename Lanes::Vector sums[Q][D];
#pragma GCC unroll 32
  for (int i = 0; i < Q * D; ++i) {
    sums[i / D][i % D] = Lanes::load(acc + static_cast<uint32_t>(i / D) * rows.head_dim + dim + kWidth * (i % D));
  }
  for (uint32_t entry = begin; entry < end; ++entry) {
    const uint32_t p = rows.listed[entry];
    const int8_t* value = rows.value(p) + dim;
    const auto scale = Lanes::set(row_scale_value(rows.scales(p)[1]));
    add_products<Lanes, Q, D>(
        sums,
        [&](int i) { return Lanes::multiply(Lanes::set(weights[static_cast<uint64_t>(i) * stride + entry]), scale); },
        [&](int j) { return Lanes::widen(value + kWidth * j); });
  }
#pragma GCC unroll 32
  for (int i = 0; i < Q * D; ++i) {
    Lanes::store(acc + static_cast<uint32_t>(i / D) * rows.head_dim + dim + kWidth * (i % D), sums[i / D][i % D]);
  }
}

template <typename Lanes, typename Dot>
class Refine {
 public:
  explicit Refine(const LookupRefineArgs& args)
      : args_(args), rows_{args.rows, args.selected, args.n_selected, args.head_dim} {}

  void run() {
    clear(0, args_.n_queries);
    if (args_.n_selected > 0) score();
    uint32_t empty = 0;
    for (uint32_t i = 0; i < args_.n_queries; ++i) {
      const bool any = Lanes::weigh(scores(i), 0, args_.n_selected, args_.max_out + i, args_.sum_out + i);
      if (!any) empty |= 1u << i;
    }
    add();
    // Every score -inf: what the scratch has are no weights, and what came of them is not wanted.
    for (uint32_t i = 0; empty != 0; ++i, empty >>= 1) {
      if (empty & 1) clear(i, i + 1);
    }
  }

 private:
  static constexpr int kBlockQueries = 4;

  float* scores(uint32_t query) const { return args_.scores + query * args_.score_stride; }
  void clear(uint64_t first, uint64_t last) {
    for (uint64_t d = args_.head_dim * first; d < args_.head_dim * last; d += 8) {
      Lanes::Eight::store(args_.acc_out + d, Lanes::Eight::zero());
    }
  }

  /// The last entry fills up the last eight: the scratch has room for their scores, which nobody reads.
  void score() {
    for (uint32_t entry = 0; entry < kFetchAhead; ++entry) rows_.fetch(rows_.position(entry));
    for (uint32_t entry = 0; entry < args_.n_selected; entry += 8) {
      uint32_t listed[8];
      alignas(32) float scales[8];
      for (uint32_t k = 0; k < 8; ++k) {
        listed[k] = rows_.position(entry + k);
        rows_.fetch(rows_.position(entry + k + kFetchAhead));
        scales[k] = row_scale_value(rows_.scales(listed[k])[0]);
      }
      for_blocks<kBlockQueries>(args_.n_queries, [&](auto count, uint32_t from) {
        constexpr int Q = count.kValue, K = Q == 1 ? 8 : Q <= 3 ? 4 : 2;
        __m256i lanes[Q][8];
#pragma GCC unroll 8
        for (int k = 0; k < 8; k += K) add_keys<Dot, Q, K>(args_.queries + from, rows_, listed + k, lanes, k);
#pragma GCC unroll 4
        for (uint32_t i = 0; i < Q; ++i) {
          const __m256 scale = Lanes8::multiply(Lanes8::set(args_.query_scales[from + i]), Lanes8::load(scales));
          const __m256 bias = Lanes8::set(args_.query_biases[from + i]);
          const __m256 sums = _mm256_cvtepi32_ps(sum_eight(lanes[i]));
          Lanes8::store(scores(from + i) + entry, Lanes8::multiply_add(sums, scale, bias));
        }
      });
    }
  }

  void add() {
    for (uint32_t begin = 0; begin < args_.n_selected; begin += kValueEntries) {
      const uint32_t rest = args_.n_selected - begin, end = begin + (rest < kValueEntries ? rest : kValueEntries);
      for_blocks<kBlockQueries>(args_.n_queries, [&](auto count, uint32_t from) {
        // Vectors of dimensions that fill the registers.
        constexpr int Q = count.kValue, D = Lanes::kWidth == 16 ? 4 : Q == 1 ? 8 : Q <= 3 ? 4 : 2;
        float* acc = args_.acc_out + uint64_t{from} * args_.head_dim;
        uint32_t dim = 0;
        for (; dim + Lanes::kWidth * D <= args_.head_dim; dim += Lanes::kWidth * D) {
          add_listed<Lanes, Q, D>(rows_, scores(from), args_.score_stride, begin, end, dim, acc);
        }
        for (; dim < args_.head_dim; dim += 8) {
          add_listed<typename Lanes::Eight, Q, 1>(rows_, scores(from), args_.score_stride, begin, end, dim, acc);
        }
      });
    }
  }

  const LookupRefineArgs& args_;
  ListedRows rows_;
};

}  // namespace
}  // namespace lutra::kernels::avx2
