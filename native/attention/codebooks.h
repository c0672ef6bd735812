// The codebooks of lookup attention: for each K/V head of each layer with full attention, 16 centroids a sub-vector of
// its keys, and which dimensions are kept as bytes beside the codes.
//
// Sub-vectors are made of pairs of dimensions that rotate together (d_sub 2 is one pair, 4 two of neighbouring
// frequency): after rotation a pair of high frequency is a ring, which a codebook of pairs can follow and one of single
// dimensions cannot.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"

namespace lutra::attention {

struct CodebookShape {
  uint32_t n_layers;
  uint32_t n_kv_heads;
  uint32_t head_dim;
  uint32_t d_sub;       ///< 1, 2 or 4
  uint32_t n_outliers;  ///< dimensions a head keeps as int8 too; even

  uint32_t n_subs() const { return head_dim / d_sub; }
  bool operator==(const CodebookShape&) const = default;
};

/// Where a head's keys lie, by dimension: middle ± reach is what its centroids span. 0 ± 1 where they span nothing.
struct KeyRanges {
  const float* middles;  ///< [head_dim]
  const float* reaches;  ///< [head_dim], above 0
};

/// Of one layer and K/V head.
struct HeadCodebook {
  float* centroids;        ///< [n_subs][d_sub][16]; 0 for outliers
  uint32_t* outlier_dims;  ///< [n_outliers] dimensions, as the head has them
  float* outlier_scales;   ///< [n_outliers]
};

class Codebooks {
 public:
  /// All zeros. `dims` [head_dim]: the dimension that stands at each place of the sub-vectors; `coded` [n_layers].
  Codebooks(const CodebookShape& shape, std::vector<uint32_t> dims, std::vector<uint8_t> coded);
  /// What bytes() gave. INVALID_OPTION when it is anything else.
  static base::Result<Codebooks> parse(std::span<const uint8_t> bytes);
  std::vector<uint8_t> bytes() const;

  const CodebookShape& shape() const { return shape_; }
  const std::vector<uint32_t>& dims() const { return dims_; }
  const std::vector<uint8_t>& coded() const { return coded_; }
  HeadCodebook head(uint32_t layer, uint32_t head);
  KeyRanges ranges(uint32_t layer, uint32_t head) const {
    const float* middles = ranges_.data() + place(layer, head) * 2 * shape_.head_dim;
    return {middles, middles + shape_.head_dim};
  }
  /// To be called when what head() gave was written.
  void update_ranges();

 private:
  uint64_t place(uint32_t layer, uint32_t head) const { return uint64_t{places_[layer]} * shape_.n_kv_heads + head; }
  uint64_t floats_per_head() const { return 16ull * shape_.head_dim + shape_.n_outliers; }

  CodebookShape shape_;
  std::vector<uint32_t> dims_;
  std::vector<uint8_t> coded_;
  std::vector<uint32_t> places_;        ///< [n_layers] among the coded layers
  std::vector<float> floats_;           ///< [coded layers][n_kv_heads][centroids, outlier scales]
  std::vector<uint32_t> outlier_dims_;  ///< [coded layers][n_kv_heads][n_outliers]
  std::vector<float> ranges_;           ///< [coded layers][n_kv_heads][middles, reaches]
};

}  // namespace lutra::attention
