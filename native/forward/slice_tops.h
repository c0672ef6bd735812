// The k best (value, id) pairs of each slice of a row, and their merge: descending, ties by lowest id.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/kernels.h"

namespace lutra::forward {

class SliceTops {
 public:
  void resize(uint32_t n_slices, uint32_t k) {
    k_ = k;
    ids_.resize(static_cast<size_t>(n_slices) * k);
    values_.resize(ids_.size());
    counts_.resize(n_slices);
  }

  /// Finds slice `slice`, `size` values, the row's entries from `begin` on. Slices ascend with `begin`; any thread,
  /// each once.
  void find(const kernels::KernelTable& kernels, uint32_t slice, const float* values, uint32_t begin, uint32_t size) {
    int32_t* ids = ids_.data() + static_cast<size_t>(slice) * k_;
    counts_[slice] = kernels.top_k(values, size, k_, ids, values_.data() + static_cast<size_t>(slice) * k_);
    for (uint32_t i = 0; i < counts_[slice]; ++i) ids[i] += static_cast<int32_t>(begin);
  }

  /// The `n` best of all slices, of each its k best; −1 and −infinity where there are fewer.
  void merge(uint32_t n, int32_t* ids, float* values) {
    const auto n_slices = static_cast<uint32_t>(counts_.size());
    heads_.assign(n_slices, 0);
    for (uint32_t i = 0; i < n; ++i) {
      uint32_t best = n_slices;
      for (uint32_t s = 0; s < n_slices; ++s) {
        if (heads_[s] == counts_[s]) continue;
        // Strictly greater: on a tie the earlier slice, which holds the lower ids, goes first.
        if (best == n_slices || values_[head(s)] > values_[head(best)]) best = s;
      }
      ids[i] = best == n_slices ? -1 : ids_[head(best)];
      values[i] = best == n_slices ? -INFINITY : values_[head(best)];
      if (best != n_slices) ++heads_[best];
    }
  }

 private:
  size_t head(uint32_t slice) const { return static_cast<size_t>(slice) * k_ + heads_[slice]; }

  uint32_t k_ = 0;
  std::vector<int32_t> ids_;  ///< [n_slices][k]
  std::vector<float> values_;
  std::vector<uint32_t> counts_;  ///< [n_slices]
  std::vector<uint32_t> heads_;   ///< [n_slices] merged so far
};

}  // namespace lutra::forward
