// What the rounds of lookup attention leave for each other: scores of codes, thresholds, partial results.
#pragma once

#include <algorithm>
#include <cstdint>

#include "attention/codebooks.h"
#include "kernels/kernels.h"

namespace lutra::attention {

/// Rows whose scores are kept at a time.
constexpr uint32_t kScratchRows = 4;
/// Pages of one range of chosen keys.
constexpr uint32_t kReadPages = 32;
/// Ranges of a row that are exact: the first page, and up to two tiles of the newest.
constexpr uint32_t kExactParts = 3;

/// What a query head's scores mean, and which it chose.
struct HeadScores {
  float step;
  float bias;
  float query_scale;  ///< of the query's codes
  float query_bias;   ///< its product with the middles of the keys' ranges
  uint16_t threshold;
  double dropped;  ///< estimated share of the mass below the threshold
};

/// (max, sum, accumulator) of one query over one range.
class Partial {
 public:
  Partial(float* place, uint32_t head_dim) : place_(place), head_dim_(head_dim) {}
  float& max() const { return place_[0]; }
  float& sum() const { return place_[1]; }
  float* acc() const { return place_ + 2; }
  void store(float max, float sum, const float* acc) const {
    place_[0] = max;
    place_[1] = sum;
    std::copy_n(acc, head_dim_, place_ + 2);
  }

 private:
  float* place_;
  uint32_t head_dim_;
};

class NomadScratch {
 public:
  NomadScratch() = default;
  /// For rows that have codes of fewer than `n_pages` pages. With a null arena only size_bytes() makes sense.
  NomadScratch(const CodebookShape& shape, uint32_t n_heads, uint32_t n_pages, uint8_t* arena)
      : n_heads_(n_heads), head_dim_(shape.head_dim), n_pages_(n_pages + 1), arena_(arena) {
    n_ranges_ = n_pages_ / kernels::kTilePages + 1;  // tiles of pure attention; ranges of chosen keys are longer
    const uint64_t heads = uint64_t{kScratchRows} * n_heads;
    heads_ = take(heads * sizeof(HeadScores));
    scores_ = take(heads * score_stride() * sizeof(uint16_t));
    page_max_ = take(heads * n_pages_ * sizeof(uint16_t));
    parts_ = take(heads * (kExactParts + n_ranges_) * part_floats() * sizeof(float));
    chosen_ = take(heads * n_ranges_ * sizeof(uint32_t));
    queries_ = take(heads * head_dim_ * sizeof(int16_t));
  }

  uint64_t size_bytes() const { return used_; }
  HeadScores& head(uint32_t r, uint32_t head) const { return at<HeadScores>(heads_)[row_head(r, head)]; }
  /// From the first position of `page` on; the next head's are score_stride() further.
  uint16_t* scores(uint32_t r, uint32_t head, uint32_t page) const {
    return at<uint16_t>(scores_) + row_head(r, head) * score_stride() + uint64_t{page} * kernels::kPagePositions;
  }
  /// The codes of a query [head_dim].
  int16_t* query(uint32_t r, uint32_t head) const { return at<int16_t>(queries_) + row_head(r, head) * head_dim_; }
  uint64_t score_stride() const { return uint64_t{n_pages_} * kernels::kPagePositions; }
  uint16_t* page_max(uint32_t r, uint32_t head, uint32_t page) const {
    return at<uint16_t>(page_max_) + row_head(r, head) * n_pages_ + page;
  }
  uint64_t max_stride() const { return n_pages_; }
  Partial exact_part(uint32_t r, uint32_t head, uint32_t part) const { return part_at(r, head, part); }
  Partial range_part(uint32_t r, uint32_t head, uint32_t range) const { return part_at(r, head, kExactParts + range); }
  /// Keys that a group of query heads chose in a range.
  uint32_t& chosen(uint32_t r, uint32_t group, uint32_t range) const {
    return at<uint32_t>(chosen_)[row_head(r, group) * n_ranges_ + range];
  }

 private:
  uint64_t row_head(uint32_t r, uint32_t head) const { return uint64_t{r} * n_heads_ + head; }
  uint64_t part_floats() const { return uint64_t{head_dim_} + 2; }
  Partial part_at(uint32_t r, uint32_t head, uint32_t part) const {
    return {at<float>(parts_) + (row_head(r, head) * (kExactParts + n_ranges_) + part) * part_floats(), head_dim_};
  }
  uint64_t take(uint64_t bytes) {
    const uint64_t begin = used_;
    used_ = (used_ + bytes + 63) / 64 * 64;
    return begin;
  }
  template <typename T>
  T* at(uint64_t offset) const {
    return reinterpret_cast<T*>(arena_ + offset);
  }

  uint32_t n_heads_ = 0, head_dim_ = 0, n_pages_ = 0, n_ranges_ = 0;
  uint8_t* arena_ = nullptr;
  uint64_t used_ = 0, heads_ = 0, scores_ = 0, page_max_ = 0, parts_ = 0, chosen_ = 0, queries_ = 0;
};

}  // namespace lutra::attention
