// The merge loop both vocabularies share: again and again the adjacent pair of the lowest rank becomes one symbol, the
// leftmost of equals first, until no pair has a rank.
//
// Contract: words of up to kMaxWordBytes; one MergeScratch per thread.
// `lookup(left, right, merge)` fills a Merge and returns true when the pair
// merges. Short words scan for the minimum. Long ones keep one queue of positions per rank: positions nearly
// always arrive in ascending order and are appended, the few others go to a heap, so a word of n symbols costs
// O(n + late · log n) and not a heap operation for every pair.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "tokenizer/piece_map.h"

namespace lutra::tokenizer {

constexpr uint32_t kNoRank = UINT32_MAX;
constexpr uint32_t kNoSymbol = UINT32_MAX;

struct Symbol {
  uint32_t begin, size_bytes;  ///< bytes of the word it covers
  int32_t id;                  ///< -1: no token
  uint32_t prev, next;
  uint32_t rank;   ///< of the pair (this, next); kNoRank when it does not merge or this symbol is gone
  int32_t merged;  ///< id the pair becomes
};

/// Positions waiting at one rank, popped in ascending order.
class PositionQueue {
 public:
  void clear() {
    ordered_.clear();
    late_.clear();
    cursor_ = 0;
  }
  bool empty() const { return cursor_ == ordered_.size() && late_.empty(); }
  void push(uint32_t position) {
    if (ordered_.empty() || position >= ordered_.back()) {
      ordered_.push_back(position);
    } else {
      late_.push_back(position);
      std::push_heap(late_.begin(), late_.end(), std::greater<>());
    }
  }
  uint32_t pop() {
    if (late_.empty() || (cursor_ < ordered_.size() && ordered_[cursor_] <= late_.front())) return ordered_[cursor_++];
    std::pop_heap(late_.begin(), late_.end(), std::greater<>());
    const uint32_t position = late_.back();
    late_.pop_back();
    return position;
  }

 private:
  std::vector<uint32_t> ordered_, late_;
  size_t cursor_ = 0;
};

struct MergeScratch {
  std::vector<Symbol> symbols;
  std::vector<uint32_t> queue_of_rank;  ///< index + 1 into queues; sized on the first long word
  std::vector<PositionQueue> queues;
  std::vector<uint32_t> ranks;  ///< min-heap of ranks with a queue
};

/// Longer words are cut: no real text has one, and it bounds the scratch of a call to some 32 MB.
constexpr size_t kMaxWordBytes = size_t{1} << 20;

/// Words of up to this many symbols scan for the minimum.
constexpr size_t kShortWord = 40;

template <typename Lookup>
class Merger {
 public:
  Merger(MergeScratch& scratch, const Lookup& lookup) : scratch_(scratch), symbols_(scratch.symbols), lookup_(lookup) {}

  /// Merges scratch.symbols (linked in order); what is left is the chain from symbol 0. Ranks are below n_ranks.
  void run(uint32_t n_ranks) {
    if (symbols_.size() < 2) return;
    for (uint32_t i = 0; i < symbols_.size(); ++i) look_up(i);
    if (symbols_.size() <= kShortWord) {
      run_short();
    } else {
      run_long(n_ranks);
    }
  }

 private:
  void look_up(uint32_t i) {
    Symbol& left = symbols_[i];
    Merge merge{kNoRank, -1};
    if (left.next == kNoSymbol || !lookup_(left, symbols_[left.next], merge)) merge = {kNoRank, -1};
    left.rank = merge.rank;
    left.merged = merge.id;
  }

  void merge_at(uint32_t i) {
    Symbol& left = symbols_[i];
    Symbol& right = symbols_[left.next];
    left.size_bytes += right.size_bytes;
    left.id = left.merged;
    left.next = right.next;
    if (right.next != kNoSymbol) symbols_[right.next].prev = i;
    right.rank = kNoRank;
    look_up(i);
    if (left.prev != kNoSymbol) look_up(left.prev);
  }

  void run_short() {
    for (;;) {
      uint32_t best = 0;
      for (uint32_t i = 0; i != kNoSymbol; i = symbols_[i].next) {
        if (symbols_[i].rank < symbols_[best].rank) best = i;
      }
      if (symbols_[best].rank == kNoRank) return;
      merge_at(best);
    }
  }

  void push(uint32_t i) {
    const uint32_t rank = symbols_[i].rank;
    if (rank == kNoRank) return;
    uint32_t& queue = scratch_.queue_of_rank[rank];
    if (queue == 0) {
      if (free_ == scratch_.queues.size()) scratch_.queues.emplace_back();
      queue = ++free_;
      used_.push_back(rank);
    }
    PositionQueue& positions = scratch_.queues[queue - 1];
    if (positions.empty()) {
      positions.clear();
      scratch_.ranks.push_back(rank);
      std::push_heap(scratch_.ranks.begin(), scratch_.ranks.end(), std::greater<>());
    }
    positions.push(i);
  }

  void run_long(uint32_t n_ranks) {
    if (scratch_.queue_of_rank.size() < n_ranks) scratch_.queue_of_rank.resize(n_ranks, 0);
    for (uint32_t i = 0; i < symbols_.size(); ++i) push(i);
    while (!scratch_.ranks.empty()) drain_lowest();
    for (const uint32_t rank : used_) scratch_.queue_of_rank[rank] = 0;
  }

  /// Pops one position of the lowest rank at a time; a rank is in the heap exactly while its queue has positions.
  void drain_lowest() {
    const uint32_t rank = scratch_.ranks.front();
    const uint32_t queue = scratch_.queue_of_rank[rank] - 1;
    while (scratch_.ranks.front() == rank) {
      const uint32_t i = scratch_.queues[queue].pop();
      // Popped before the merge, so that pairs of this rank it makes are queued anew.
      if (scratch_.queues[queue].empty()) {
        std::pop_heap(scratch_.ranks.begin(), scratch_.ranks.end(), std::greater<>());
        scratch_.ranks.pop_back();
      }
      if (symbols_[i].rank == rank) {
        merge_at(i);
        if (symbols_[i].prev != kNoSymbol) push(symbols_[i].prev);
        push(i);
      }
      if (scratch_.ranks.empty()) break;
    }
  }

  MergeScratch& scratch_;
  std::vector<Symbol>& symbols_;
  const Lookup& lookup_;
  uint32_t free_ = 0;           ///< queues in use
  std::vector<uint32_t> used_;  ///< their ranks
};

}  // namespace lutra::tokenizer
