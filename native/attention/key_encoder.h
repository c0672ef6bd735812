// From a complete page of keys to its codes and rows.
#pragma once

#include <span>

#include "attention/attention.h"
#include "attention/codebooks.h"
#include "cache/key_codes.h"
#include "cache/kv_cache.h"
#include "kernels/kernels.h"

namespace lutra::attention {

/// One page's keys of one K/V head, as floats, in the order of sub-vectors and of outliers.
struct PageKeys {
  alignas(64) float places[kMaxHeadDim * kernels::kPagePositions];              ///< [head_dim][32]
  alignas(64) float outliers[kernels::kMaxOutliers * kernels::kPagePositions];  ///< [n_outliers][32]
};

/// Unpacks a page of keys and puts its dimensions in the order of sub-vectors; those of `outliers` are zeros there.
void read_page_keys(const kernels::KernelTable& kernels, cache::KvType type, const uint8_t* page,
                    std::span<const uint32_t> dims, std::span<const uint32_t> outliers, PageKeys& keys);

/// Writes the codes and rows of a page. Pages and heads may be encoded at the same time.
void encode_page(const kernels::KernelTable& kernels, cache::KvCache& cache, Codebooks& books, cache::KeyCodes& codes,
                 uint32_t layer, uint32_t page, uint32_t head);

}  // namespace lutra::attention
