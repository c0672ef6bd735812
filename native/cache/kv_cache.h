// K/V pages of one engine: 32 positions each, for every layer and K/V head, as f16 or q8_0.
//
// A page holds, per layer and head, keys dimension-major (so scores need no horizontal sums) and values
// position-major; see kernels::KvType. Pages carry no owner: page tables belong to the scheduler. What an attention
// tile reads of one head, the keys and then the values of eight neighbouring pages, is one stretch of memory: streaming
// reads need that, and huge pages. Memory is an anonymous mapping, so a stretch nobody wrote costs nothing, nearly.
//
// A page that leaves the arena is [layer][head][keys, values][block], block as kernels::KvType describes it: the same
// bytes wherever in the arena the page lies. They are in the machine's byte order.
#pragma once

#include <cstdint>
#include <span>

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
  /// Copies whole pages, all layers and heads: `pairs` is [from, to, from, to, …], done in this order.
  /// Code, here and below: INVALID_OPTION for a page that is not there or a wrong length; nothing was touched then.
  base::Status copy_pages(std::span<const int32_t> pairs);
  /// The bytes of pages that follow each other in one sequence. Slots from `positions` on are zeros, whatever lies
  /// there: an earlier owner's keys and values do not leave the arena.
  base::Status read_pages(std::span<const int32_t> pages, uint64_t positions, std::span<uint8_t> out) const;
  /// Puts back what read_pages gave, into any pages of a cache of the same shape.
  base::Status write_pages(std::span<const int32_t> pages, std::span<const uint8_t> bytes);
  /// Bytes of one page over all layers and heads.
  uint64_t page_bytes() const { return n_blocks() * block_bytes(); }

  uint8_t* keys(uint32_t layer, uint32_t page, uint32_t head) { return block(layer, page, head, 0); }
  uint8_t* values(uint32_t layer, uint32_t page, uint32_t head) { return block(layer, page, head, 1); }
  /// Where the kernel table keeps this cache's functions.
  size_t type_index() const { return static_cast<size_t>(shape_.type); }
  const KvShape& shape() const { return shape_; }
  /// Bytes of all pages; a ragged last stretch reserves addresses beyond them that nothing touches.
  uint64_t size_bytes() const { return page_bytes() * shape_.n_pages; }

 private:
  base::Status check_pages(const char* field, std::span<const int32_t> pages) const;
  /// Offset in the arena of block `i` of a page, in the order of the page's own bytes.
  uint64_t block_offset(uint32_t page, uint64_t i) const {
    return offset(i / 2 / shape_.n_kv_heads, page, i / 2 % shape_.n_kv_heads, i % 2);
  }
  uint64_t n_blocks() const { return uint64_t{2} * shape_.n_layers * shape_.n_kv_heads; }
  uint64_t block_bytes() const { return kernels::kv_page_bytes(shape_.type, shape_.head_dim); }
  /// [page / kTilePages][layer][head][keys, values][page % kTilePages]
  uint64_t offset(uint64_t layer, uint64_t page, uint64_t head, uint64_t part) const {
    const uint64_t head_index = (page / kernels::kTilePages * shape_.n_layers + layer) * shape_.n_kv_heads + head;
    return ((head_index * 2 + part) * kernels::kTilePages + page % kernels::kTilePages) * block_bytes();
  }
  uint8_t* block(uint64_t layer, uint64_t page, uint64_t head, uint64_t part) {
    return arena_.data() + offset(layer, page, head, part);
  }

  KvShape shape_{};
  base::AlignedBuffer arena_;
};

}  // namespace lutra::cache
