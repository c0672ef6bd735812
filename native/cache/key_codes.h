// What lookup attention keeps beside the K/V pages: the codes of each complete page of keys, and its keys and values
// once more, in 8 bits, so that single ones can be read. Pages have the numbers of the K/V pages they describe.
//
// Both are functions of a page, written when its last position is stored; those of a page that is not complete are
// garbage that nobody reads. Codes: kernels/lookup_args.h; rows: kernels/lookup_kernels.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/status.h"
#include "cache/kv_cache.h"

namespace lutra::cache {

class KeyCodes {
 public:
  /// `coded` [n_layers]: the layers that have codes. `code_bytes`: of one page of one head.
  /// E_OUT_OF_MEMORY when the arenas cannot be had.
  static base::Result<KeyCodes> create(const KvShape& shape, std::span<const uint8_t> coded, uint64_t code_bytes);

  bool has(uint32_t layer) const { return places_[layer] >= 0; }
  uint8_t* codes(uint32_t layer, uint32_t page, uint32_t head) {
    return codes_.data() + block(layer, page, head) * code_bytes_;
  }
  uint8_t* rows(uint32_t layer, uint32_t page, uint32_t head) {
    return rows_.data() + block(layer, page, head) * row_bytes_;
  }
  /// As KvCache::copy_pages; the pairs were checked there.
  void copy_pages(std::span<const int32_t> pairs);
  uint64_t size_bytes() const {
    return uint64_t{shape_.n_pages} * n_layers_ * shape_.n_kv_heads * (code_bytes_ + row_bytes_);
  }

 private:
  /// [layer][head][page]: a scan reads the pages of one head, which streams where they are neighbours.
  uint64_t block(uint32_t layer, uint32_t page, uint32_t head) const {
    const uint64_t place = static_cast<uint64_t>(places_[layer]);
    return (place * shape_.n_kv_heads + head) * shape_.n_pages + page;
  }

  KvShape shape_{};
  uint64_t n_layers_ = 0;        ///< with codes
  std::vector<int32_t> places_;  ///< [n_layers] among the layers with codes, or -1
  uint64_t code_bytes_ = 0;
  uint64_t row_bytes_ = 0;
  base::AlignedBuffer codes_;
  base::AlignedBuffer rows_;
};

}  // namespace lutra::cache
