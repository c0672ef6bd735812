#include "attention/key_encoder.h"

#include <algorithm>

namespace lutra::attention {

using kernels::kPagePositions;

void read_page_keys(const kernels::KernelTable& kernels, cache::KvType type, const uint8_t* page,
                    std::span<const uint32_t> dims, std::span<const uint32_t> outliers, PageKeys& keys) {
  alignas(64) float unpacked[kMaxHeadDim * kPagePositions];
  kernels.lookup.unpack_keys[static_cast<size_t>(type)](page, static_cast<uint32_t>(dims.size()), unpacked);
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

void encode_page(const kernels::KernelTable& kernels, cache::KvCache& cache, Codebooks& books, cache::KeyCodes& codes,
                 uint32_t layer, uint32_t page, uint32_t head) {
  const HeadCodebook book = books.head(layer, head);
  PageKeys keys;
  read_page_keys(kernels, cache.shape().type, cache.keys(layer, page, head), books.dims(),
                 {book.outlier_dims, books.shape().n_outliers}, keys);
  kernels.lookup.encode({.n_subs = books.shape().n_subs(),
                         .d_sub = books.shape().d_sub,
                         .keys = keys.places,
                         .centroids = book.centroids,
                         .n_outliers = books.shape().n_outliers,
                         .outliers = keys.outliers,
                         .outlier_scales = book.outlier_scales,
                         .codes = codes.codes(layer, page, head)});
  codes.store_rows(cache, layer, page, head);
}

}  // namespace lutra::attention
