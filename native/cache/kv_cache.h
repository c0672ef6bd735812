// K/V pages of one engine: 32 positions each, for every layer and K/V head, as f16 or q8_0.
//
// A page holds, per layer and head, keys dimension-major (so scores need no horizontal sums) and values
// position-major; see kernels::KvType. Pages carry no owner: page tables belong to the scheduler. What an attention
// tile reads of one head, the keys and then the values of eight neighbouring pages, is one stretch of memory: streaming
// reads need that, and huge pages. Memory is an anonymous mapping, so a stretch nobody wrote costs nothing, nearly.
#pragma once

#include <cstdint>

#include "base/aligned_buffer.h"
#include "base/status.h"
#include "kernels/kernels.h"

namespace lutra::cache {

using KvType = kernels::KvType;

struct KvShape {
  uint32_t n_layers;
  uint32_t n_kv_heads;
  uint32_t head_dim;
  uint32_t n_pages;
  KvType type = KvType::kF16;
};

class KvCache {
 public:
  /// E_OUT_OF_MEMORY when the arena cannot be had.
  static base::Result<KvCache> create(const KvShape& shape);
  /// Bytes one position takes over all layers.
  static uint64_t bytes_per_token(const KvShape& shape);

  /// Writes the key and the value of one position and head into `slot` of a page.
  void store(const kernels::KernelTable& kernels, uint32_t layer, uint32_t page, uint32_t head, uint32_t slot,
             const float* key, const float* value) {
    kernels.store_key[type_index()](key, shape_.head_dim, keys(layer, page, head), slot);
    kernels.store_value[type_index()](value, shape_.head_dim, values(layer, page, head), slot);
  }
  uint8_t* keys(uint32_t layer, uint32_t page, uint32_t head) { return block(layer, page, head, 0); }
  uint8_t* values(uint32_t layer, uint32_t page, uint32_t head) { return block(layer, page, head, 1); }
  /// Where the kernel table keeps this cache's functions.
  size_t type_index() const { return static_cast<size_t>(shape_.type); }
  const KvShape& shape() const { return shape_; }
  /// Bytes of all pages; a ragged last stretch reserves addresses beyond them that nothing touches.
  uint64_t size_bytes() const { return 2 * page_bytes() * shape_.n_layers * shape_.n_kv_heads * shape_.n_pages; }

 private:
  uint64_t page_bytes() const { return kernels::kv_page_bytes(shape_.type, shape_.head_dim); }
  /// [page / kTilePages][layer][head][keys, values][page % kTilePages]
  uint8_t* block(uint64_t layer, uint64_t page, uint64_t head, uint64_t part) {
    const uint64_t head_index = (page / kernels::kTilePages * shape_.n_layers + layer) * shape_.n_kv_heads + head;
    return arena_.data() + ((head_index * 2 + part) * kernels::kTilePages + page % kernels::kTilePages) * page_bytes();
  }

  KvShape shape_{};
  base::AlignedBuffer arena_;
};

}  // namespace lutra::cache
