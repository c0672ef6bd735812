// Attention over one tile of logical positions, for vectors of 8 (AVX2) and 16 lanes (AVX-512), f16 and q8_0 pages;
// bit-equal to scalar/attention.cc, which states the order.
//
// Queries are taken in blocks of up to six: one conversion of a key or value feeds all of them. Grouping and vector
// width change no bit: every accumulator belongs to one query, and to one position (scores) or dimension (values), and
// takes its terms in ascending order of the other.
//
// Lanes: Vector, kWidth, Eight (eight lanes, for the last dimensions), zero, set, load, store, multiply, multiply_add,
// widen of each element type, from_integers and weigh. Everything has internal linkage: each ISA path has its own copy.
#pragma once

#include <immintrin.h>

#include "kernels/avx2/attention_values.h"

namespace lutra::kernels::avx2 {
namespace {

/// Whether a tile's scores are given.
template <typename Args>
constexpr bool kHasScores = false;
template <>
constexpr bool kHasScores<LookupTileArgs> = true;

/// The tile of one call, scored from keys or, of LookupTileArgs, from tables. A call of one block (decode) finds K and
/// V in memory and fetches them a page ahead, which hardware prefetchers do not; with more blocks, later ones find them
/// in the cache, and fetching would only cost.
template <typename Lanes, typename Pages, typename Args>
class Tile {
 public:
  using Element = typename Pages::Element;

  explicit Tile(const Args& args) : args_(args), page_elements_(uint64_t{args.head_dim} * kPagePositions) {
    const uint64_t tile_begin = args.tile_begin, tile_end = tile_begin + kTilePositions;
    for (uint32_t i = 0; i < args.n_queries; ++i) {
      const uint64_t first = args.first[i] > tile_begin ? args.first[i] : tile_begin;
      const uint64_t last = args.last[i] < tile_end ? args.last[i] : tile_end;
      begin_[i] = first < last ? static_cast<uint32_t>(first - tile_begin) : 0;
      end_[i] = first < last ? static_cast<uint32_t>(last - tile_begin) : 0;
      if (begin_[i] < end_[i]) {
        lowest_ = begin_[i] < lowest_ ? begin_[i] : lowest_;
        highest_ = end_[i] > highest_ ? end_[i] : highest_;
      }
    }
  }

  void run() {
    for (uint64_t d = 0; d < uint64_t{args_.head_dim} * args_.n_queries; d += 8) {
      Lanes::Eight::store(args_.acc_out + d, Lanes::Eight::zero());
    }
    const bool one_block = args_.n_queries <= kMaxBlock;
    if constexpr (kHasScores<Args>) {
      look_up();
    } else {
      one_block ? score<true>() : score<false>();
    }
    for (uint32_t i = 0; i < args_.n_queries; ++i) {
      if (!Lanes::weigh(weights_[i], begin_[i], end_[i], args_.max_out + i, args_.sum_out + i)) begin_[i] = end_[i] = 0;
    }
    one_block ? add<true>() : add<false>();
  }

 private:
  Block block_at(uint32_t from) {
    return {begin_ + from, end_ + from, weights_[from], args_.acc_out + uint64_t{args_.head_dim} * from};
  }
  bool sees(uint32_t from, int n, uint32_t page) const {
    for (uint32_t i = from; i < from + static_cast<uint32_t>(n); ++i) {
      if (begin_[i] < (page + 1) * kPagePositions && end_[i] > page * kPagePositions) return true;
    }
    return false;
  }
  uint32_t first_page() const { return lowest_ / kPagePositions; }
  uint32_t last_page() const { return (highest_ + kPagePositions - 1) / kPagePositions; }
  static const Element* elements(const uint8_t* page) { return reinterpret_cast<const Element*>(page); }
  const uint16_t* scales(const uint8_t* page) const { return reinterpret_cast<const uint16_t*>(page + page_elements_); }
  /// The page worked on kAhead pages after page p of the keys or values; p itself at the end.
  const uint8_t* ahead(const uint8_t* const* pages, uint32_t p) const {
    constexpr uint32_t kAhead = 1;
    const uint32_t next = p + kAhead, wrapped = next - last_page() + first_page();
    const uint8_t* page = nullptr;
    if (next < last_page()) page = pages[next];
    if (next >= last_page() && pages != args_.v_pages && wrapped < last_page()) page = args_.v_pages[wrapped];
    return page == nullptr ? pages[p] : page;
  }
  void copy_queries(uint32_t from, int n) {
    for (int i = 0; i < n; ++i) {
      const float* query = args_.queries[from + static_cast<uint32_t>(i)];
      for (uint32_t d = 0; d < args_.head_dim; d += 8) {
        Lanes::Eight::store(queries_ + kQueryStride * i + d, Lanes::Eight::load(query + d));
      }
    }
  }

  template <bool kFetch>
  void score() {
    for_blocks<kMaxBlock>(args_.n_queries, [&](auto count, uint32_t from) {
      copy_queries(from, count.kValue);
      float* weights = weights_[from];
      for (uint32_t p = first_page(); p < last_page(); ++p) {
        const uint8_t* page = args_.k_pages[p];
        if (!sees(from, count.kValue, p)) continue;
        score_page<Lanes, count.kValue, Pages, kFetch>(queries_, elements(page), scales(page), args_.head_dim,
                                                       ahead(args_.k_pages, p), weights + p * kPagePositions);
      }
    });
  }

  void look_up() {
    for (uint32_t i = 0; i < args_.n_queries; ++i) {
      const auto step = Lanes::set(args_.steps[i]), bias = Lanes::set(args_.biases[i]);
      for (uint32_t t = begin_[i] / Lanes::kWidth * Lanes::kWidth; t < end_[i]; t += Lanes::kWidth) {
        Lanes::store(weights_[i] + t, Lanes::multiply_add(Lanes::from_integers(args_.scores[i] + t), step, bias));
      }
    }
  }

  template <bool kFetch>
  void add() {
    Values<Pages> values;
    for (uint32_t p = first_page(); p < last_page(); ++p) {
      if (args_.v_pages[p] == nullptr) continue;
      values.pages[p] = elements(args_.v_pages[p]);
      values.ahead[p] = elements(ahead(args_.v_pages, p));
      values.scales[p] = scales(args_.v_pages[p]);
    }
    for_blocks<kMaxBlock>(args_.n_queries, [&](auto count, uint32_t from) {
      add_block<Lanes, count.kValue, kFetch>(block_at(from), values, args_.head_dim);
    });
  }

  const Args& args_;
  uint64_t page_elements_;
  uint32_t begin_[kTileQueries], end_[kTileQueries];
  uint32_t lowest_ = kTilePositions, highest_ = 0;
  alignas(64) float weights_[kTileQueries][kTilePositions];
  alignas(64) float queries_[kMaxBlock * kQueryStride];
};

template <typename Lanes, typename Pages, typename Args>
void attention_tile(const Args& args) noexcept {
  Tile<Lanes, Pages, Args> tile(args);
  tile.run();
}

}  // namespace
}  // namespace lutra::kernels::avx2
