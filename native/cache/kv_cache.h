// K/V pages of one engine: 32 positions each, for every layer and K/V head, as f16.
//
// A page holds, per layer and head, keys dimension-major [head_dim][32] (so scores need no horizontal sums) and values
// position-major [32][head_dim]. Pages carry no owner: page tables belong to the scheduler. Memory is an anonymous
// mapping, so a page nobody wrote costs nothing.
#pragma once

#include <cstdint>

#include "base/aligned_buffer.h"
#include "base/status.h"
#include "kernels/kernels.h"

namespace lutra::cache {

struct KvShape {
  uint32_t n_layers;
  uint32_t n_kv_heads;
  uint32_t head_dim;
  uint32_t n_pages;
};

class KvCache {
 public:
  /// E_OUT_OF_MEMORY when the arena cannot be had.
  static base::Result<KvCache> create(const KvShape& shape);
  /// Bytes one position takes over all layers.
  static uint64_t bytes_per_token(const KvShape& shape);

  uint16_t* keys(uint32_t layer, uint32_t page, uint32_t head) { return block(layer, page, head); }
  uint16_t* values(uint32_t layer, uint32_t page, uint32_t head) { return block(layer, page, head) + block_elements(); }
  const KvShape& shape() const { return shape_; }
  uint64_t size_bytes() const { return arena_.size_bytes(); }

 private:
  uint64_t block_elements() const { return static_cast<uint64_t>(shape_.head_dim) * kernels::kPagePositions; }
  uint16_t* block(uint64_t layer, uint64_t page, uint64_t head) {
    return arena_.as<uint16_t>() + ((layer * shape_.n_pages + page) * shape_.n_kv_heads + head) * 2 * block_elements();
  }

  KvShape shape_{};
  base::AlignedBuffer arena_;
};

}  // namespace lutra::cache
