#include "attention/key_encoder.h"

#include <algorithm>

namespace lutra::attention {

using kernels::kPagePositions;

namespace {

/// Puts the dimensions of `unpacked` in the order of sub-vectors; those of `outliers` become zeros.
void order_keys(float* unpacked, std::span<const uint32_t> dims, std::span<const uint32_t> outliers, PageKeys& keys) {
  for (size_t o = 0; o < outliers.size(); ++o) {
    float* row = unpacked + uint64_t{outliers[o]} * kPagePositions;
    std::copy_n(row, kPagePositions, keys.outliers + o * kPagePositions);
    std::fill_n(row, kPagePositions, 0.0f);
  }
  for (size_t place = 0; place < dims.size(); ++place) {
    std::copy_n(unpacked + uint64_t{dims[place]} * kPagePositions, kPagePositions,
                keys.places + place * kPagePositions);
  }
}

/// Where keys lie in their ranges: a row's one scale then serves dimensions of any size.
void place_keys(const float* keys, const KeyRanges& ranges, uint32_t head_dim, float* placed) {
  for (uint32_t d = 0; d < head_dim; ++d) {
    const float middle = ranges.middles[d], factor = 1.0f / ranges.reaches[d];
    for (uint32_t t = d * kPagePositions; t < (d + 1) * kPagePositions; ++t) placed[t] = (keys[t] - middle) * factor;
  }
}

}  // namespace

void read_page_keys(const kernels::KernelTable& kernels, cache::KvType type, const uint8_t* page,
                    std::span<const uint32_t> dims, std::span<const uint32_t> outliers, PageKeys& keys) {
  alignas(64) float unpacked[kMaxHeadDim * kPagePositions];
  kernels.lookup.unpack_keys[static_cast<size_t>(type)](page, static_cast<uint32_t>(dims.size()), unpacked);
  order_keys(unpacked, dims, outliers, keys);
}

void encode_page(const kernels::KernelTable& kernels, cache::KvCache& cache, Codebooks& books, cache::KeyCodes& codes,
                 uint32_t layer, uint32_t page, uint32_t head) {
  const auto type = static_cast<size_t>(cache.shape().type);
  const uint32_t head_dim = books.shape().head_dim;
  alignas(64) float unpacked[kMaxHeadDim * kPagePositions], placed[kMaxHeadDim * kPagePositions];
  kernels.lookup.unpack_keys[type](cache.keys(layer, page, head), head_dim, unpacked);
  place_keys(unpacked, books.ranges(layer, head), head_dim, placed);
  kernels.lookup.pack[type]({.head_dim = head_dim,
                             .keys = placed,
                             .values = cache.values(layer, page, head),
                             .rows = codes.rows(layer, page, head)});
  const HeadCodebook book = books.head(layer, head);
  PageKeys keys;
  order_keys(unpacked, books.dims(), {book.outlier_dims, books.shape().n_outliers}, keys);
  kernels.lookup.encode({.n_subs = books.shape().n_subs(),
                         .d_sub = books.shape().d_sub,
                         .keys = keys.places,
                         .centroids = book.centroids,
                         .n_outliers = books.shape().n_outliers,
                         .outliers = keys.outliers,
                         .outlier_scales = book.outlier_scales,
                         .codes = codes.codes(layer, page, head)});
}

}  // namespace lutra::attention
