// Exact attention over listed positions, for vectors of 8 (AVX2) and 16 lanes (AVX-512), f16 and q8_0 pages; bit-equal
// to scalar/lookup_values.cc.
//
// Rows are scattered, so hardware prefetchers see nothing: each is fetched by address some entries ahead.
// Lanes: see attention_tile.h. Internal linkage.
#pragma once

#include <immintrin.h>

#include "kernels/avx2/lookup_values_scores.h"

namespace lutra::kernels::avx2 {
namespace {

/// Entries whose values are added for all dimensions and queries before the next: their rows stay in the first cache.
constexpr uint32_t kValueEntries = 64;

/// Weighted values to add: listed entries [begin, end), weights[i · stride + entry].
template <typename Pages>
struct ListedValues {
  ListedRows<Pages> rows;
  const float* weights;
  uint64_t stride;
  uint32_t begin, end;
};

/// acc[i][dim..] += Σ weight · v, ascending, for D vectors of dimensions, all in one block of scales. kFetch: fetches
/// these dimensions of later entries.
template <typename Lanes, int Q, int D, bool kFetch, typename Pages>
void add_listed(const ListedValues<Pages>& values, uint32_t dim, float* acc) {
  constexpr uint32_t kWidth = Lanes::kWidth;
  const ListedRows<Pages>& rows = values.rows;
  typename Lanes::Vector sums[Q][D];
#pragma GCC unroll 8
  for (uint32_t i = 0; i < Q; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < D; ++j) sums[i][j] = Lanes::load(acc + i * rows.head_dim + dim + kWidth * j);
  }
  for (uint32_t entry = values.begin; entry < values.end; ++entry) {
    if constexpr (kFetch) {
      const auto* ahead = rows.row(rows.position(entry + kFetchAhead)) + dim;
#pragma GCC unroll 8
      for (uint32_t j = 0; j < D * kWidth; j += 64 / sizeof(*ahead)) fetch_line(ahead + j);
    }
    const auto* row = rows.row(rows.listed[entry]) + dim;
    const float* weights = values.weights + entry;
    const auto weight = [&](int i) { return Lanes::set(weights[static_cast<uint64_t>(i) * values.stride]); };
    const auto value = [&](int j) { return Lanes::widen(row + kWidth * j); };
    if constexpr (Pages::kScaled) {
      const auto scale = Lanes::widen_one(rows.scales(rows.listed[entry]) + dim / kBlock * kBlock);
      add_products<Lanes, Q, D>(sums, [&](int i) { return Lanes::multiply(weight(i), scale); }, value);
    } else {
      add_products<Lanes, Q, D>(sums, weight, value);
    }
  }
#pragma GCC unroll 8
  for (uint32_t i = 0; i < Q; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < D; ++j) Lanes::store(acc + i * rows.head_dim + dim + kWidth * j, sums[i][j]);
  }
}

/// All dimensions of Q queries.
template <typename Lanes, int Q, bool kFetch, typename Pages>
void add_dimensions(const ListedValues<Pages>& values, float* acc) {
  constexpr uint32_t kWidth = Lanes::kWidth;
  // Vectors of dimensions that fill the registers, but not past a block's scale.
  constexpr int kRegisters = kWidth == 16 ? 4 : Q == 1 ? 8 : Q <= 3 ? 4 : 2;
  constexpr int kInBlock = static_cast<int>(kBlock / kWidth);
  constexpr int D = Pages::kScaled && kInBlock < kRegisters ? kInBlock : kRegisters;
  const uint32_t head_dim = values.rows.head_dim;
  uint32_t dim = 0;
  for (; dim + kWidth * D <= head_dim; dim += kWidth * D) add_listed<Lanes, Q, D, kFetch>(values, dim, acc);
  for (; dim < head_dim; dim += 8) add_listed<typename Lanes::Eight, Q, 1, kFetch>(values, dim, acc);
}

template <typename Lanes, typename Pages>
class Refine {
 public:
  explicit Refine(const LookupRefineArgs& args)
      : args_(args),
        keys_{args.key_rows, args.selected, args.n_selected, args.head_dim},
        values_{args.v_pages, args.selected, args.n_selected, args.head_dim} {}

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
    for (uint32_t entry = 0; entry < kFetchAhead; ++entry) keys_.fetch(keys_.position(entry));
    for (uint32_t entry = 0; entry < args_.n_selected; entry += 8) {
      uint32_t listed[8];
      for (uint32_t k = 0; k < 8; ++k) {
        listed[k] = keys_.position(entry + k);
        keys_.fetch(keys_.position(entry + k + kFetchAhead));
      }
      for_blocks<kBlockQueries>(args_.n_queries, [&](auto count, uint32_t from) {
        constexpr int Q = count.kValue, K = Q == 1 ? 8 : Q <= 3 ? 4 : 2;
        score_eight<Q, K>(args_.queries + from, keys_, listed, scores(from) + entry, args_.score_stride);
      });
    }
    for (uint32_t entry = 0; entry < kFetchAhead; ++entry) values_.fetch(values_.position(entry));
  }

  void add() {
    for (uint32_t begin = 0; begin < args_.n_selected; begin += kValueEntries) {
      const uint32_t rest = args_.n_selected - begin, end = begin + (rest < kValueEntries ? rest : kValueEntries);
      for_blocks<kBlockQueries>(args_.n_queries, [&](auto count, uint32_t from) {
        const ListedValues<Pages> values = {values_, scores(from), args_.score_stride, begin, end};
        float* acc = args_.acc_out + uint64_t{from} * args_.head_dim;
        from == 0 ? add_dimensions<Lanes, count.kValue, true>(values, acc)
                  : add_dimensions<Lanes, count.kValue, false>(values, acc);
      });
    }
  }

  const LookupRefineArgs& args_;
  ListedRows<Pages> keys_, values_;
};

template <typename Lanes, typename Pages>
void refine(const LookupRefineArgs& args) noexcept {
  Refine<Lanes, Pages> listed(args);
  listed.run();
}

}  // namespace
}  // namespace lutra::kernels::avx2
