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
#include "kernels/lookup_row.h"

namespace lutra::kernels::avx2 {
namespace {

/// Entries from the one worked on to the one fetched.
constexpr uint32_t kFetchAhead = 32;
constexpr uint32_t kLine = 64;
/// Entries whose rows are found at a time; a multiple of four.
constexpr uint32_t kBlockEntries = 128;
/// Entries whose values are added for all dimensions and queries before the next: their rows stay in the first cache.
constexpr uint32_t kValueEntries = 64;

struct Dot8 {
  static __m256i add(__m256i sums, __m256i a, __m256i b) { return _mm256_add_epi32(sums, _mm256_madd_epi16(a, b)); }
};

LUTRA_TILE_INLINE void fetch_row(const LookupRow& row, uint32_t head_dim) {
  fetch_line(row.scales);
  uint32_t dim = 0;
  do {
    fetch_line(row.key + dim);
    fetch_line(row.value + dim);
    dim += kLine;
  } while (dim < head_dim);
}

/// The sums of four vectors' lanes.
inline __m128i sum_four(const __m256i (&v)[4]) {
  const __m256i halves = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
  return _mm_add_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
}

/// The integer products of Q queries with four keys.
template <typename Dot, int Q>
LUTRA_TILE_INLINE void dot_four(const int16_t* const* queries, const LookupRow* rows, uint32_t head_dim,
                                __m128i (&out)[Q]) {
  const int16_t* query[Q];
  __m256i sums[Q][4];
#pragma GCC unroll 4
  for (int i = 0; i < Q; ++i) query[i] = queries[i];
#pragma GCC unroll 16
  for (int i = 0; i < Q * 4; ++i) sums[i / 4][i % 4] = _mm256_setzero_si256();
  // An odd eight first: sums that live on behind the loop would be copied in each of its turns (GCC 12).
  const uint32_t odd = head_dim % 16;
  if (odd != 0) {
    for (int k = 0; k < 4; ++k) {
      const __m128i key = _mm_cvtepi8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(rows[k].key)));
      for (int i = 0; i < Q; ++i) {
        const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(query[i]));
        sums[i][k] = Dot::add(sums[i][k], _mm256_zextsi128_si256(key), _mm256_zextsi128_si256(codes));
      }
    }
  }
  for (uint32_t d = odd; d < head_dim; d += 16) {
    __m256i codes[Q];
#pragma GCC unroll 4
    for (int i = 0; i < Q; ++i) codes[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(query[i] + d));
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      const __m256i key = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[k].key + d)));
#pragma GCC unroll 4
      for (int i = 0; i < Q; ++i) sums[i][k] = Dot::add(sums[i][k], key, codes[i]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < Q; ++i) out[i] = sum_four(sums[i]);
}

/// acc[i][dim..] += Σ weight · v, ascending, over entries [begin, end), for D vectors of dimensions.
template <typename Lanes, int Q, int D>
void add_listed(const LookupRefineArgs& args, const float* weights, uint32_t begin, uint32_t end, uint32_t dim,
                float* acc) {
  constexpr uint32_t kWidth = Lanes::kWidth;
  typename Lanes::Vector sums[Q][D];
#pragma GCC unroll 32
  for (int i = 0; i < Q * D; ++i) {
    sums[i / D][i % D] = Lanes::load(acc + static_cast<uint32_t>(i / D) * args.head_dim + dim + kWidth * (i % D));
  }
  for (uint32_t entry = begin; entry < end; ++entry) {
    const LookupRow row = lookup_row(args.rows, args.selected[entry], args.head_dim);
    const int8_t* value = row.value + dim;
    const auto scale = Lanes::set(row_scale_value(row.scales[1]));
    add_products<Lanes, Q, D>(
        sums,
        [&](int i) {
          return Lanes::multiply(Lanes::set(weights[static_cast<uint64_t>(i) * args.score_stride + entry]), scale);
        },
        [&](int j) { return Lanes::widen(value + kWidth * j); });
  }
#pragma GCC unroll 32
  for (int i = 0; i < Q * D; ++i) {
    Lanes::store(acc + static_cast<uint32_t>(i / D) * args.head_dim + dim + kWidth * (i % D), sums[i / D][i % D]);
  }
}

template <typename Lanes, typename Dot>
class Refine {
 public:
  explicit Refine(const LookupRefineArgs& args) : args_(args) {}

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

  /// Entries in blocks, whose rows are found before; those behind the last are the last again, and their scores, for
  /// which the scratch has room, are read by nobody.
  void score() {
    LookupRow rows[kBlockEntries + kFetchAhead];
    for (uint32_t begin = 0; begin < args_.n_selected; begin += kBlockEntries) {
      const uint32_t rest = args_.n_selected - begin, last = args_.n_selected - 1;
      const uint32_t n = rest < kBlockEntries ? rest : kBlockEntries;
      for (uint32_t i = 0; i < n + kFetchAhead; ++i) {
        rows[i] = lookup_row(args_.rows, args_.selected[begin + i < last ? begin + i : last], args_.head_dim);
      }
      for (uint32_t i = 0; begin == 0 && i < kFetchAhead; ++i) fetch_row(rows[i], args_.head_dim);
      for (uint32_t i = 0; i < n; i += 4) score_four(rows + i, begin + i);
    }
  }

  LUTRA_TILE_INLINE void score_four(const LookupRow* rows, uint32_t entry) {
#pragma GCC unroll 4
    for (uint32_t k = 0; k < 4; ++k) fetch_row(rows[k + kFetchAhead], args_.head_dim);
    const auto scale_of = [&](int k) { return row_scale_value(rows[k].scales[0]); };
    const __m128 key_scales = _mm_setr_ps(scale_of(0), scale_of(1), scale_of(2), scale_of(3));
    for_blocks<kBlockQueries>(args_.n_queries, [&](auto count, uint32_t from) {
      constexpr int Q = count.kValue;
      __m128i sums[Q];
      dot_four<Dot, Q>(args_.queries + from, rows, args_.head_dim, sums);
#pragma GCC unroll 4
      for (uint32_t i = 0; i < Q; ++i) {
        const __m128 scale = _mm_mul_ps(_mm_set1_ps(args_.query_scales[from + i]), key_scales);
        const __m128 bias = _mm_set1_ps(args_.query_biases[from + i]);
        _mm_storeu_ps(scores(from + i) + entry, _mm_fmadd_ps(_mm_cvtepi32_ps(sums[i]), scale, bias));
      }
    });
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
          add_listed<Lanes, Q, D>(args_, scores(from), begin, end, dim, acc);
        }
        for (; dim < args_.head_dim; dim += 8) {
          add_listed<typename Lanes::Eight, Q, 1>(args_, scores(from), begin, end, dim, acc);
        }
      });
    }
  }

  const LookupRefineArgs& args_;
};

}  // namespace
}  // namespace lutra::kernels::avx2
