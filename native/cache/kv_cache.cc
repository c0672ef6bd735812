#include "cache/kv_cache.h"

#include <string>
#include <utility>

#include "base/checked_size.h"

namespace lutra::cache {

using base::CheckedSize;

uint64_t KvCache::bytes_per_token(const KvShape& shape) {
  return 2 * kernels::kv_page_bytes(shape.type, shape.head_dim) / kernels::kPagePositions * shape.n_layers *
         shape.n_kv_heads;
}

base::Result<KvCache> KvCache::create(const KvShape& shape) {
  const CheckedSize bytes = CheckedSize(2 * kernels::kv_page_bytes(shape.type, shape.head_dim)) * shape.n_layers *
                            shape.n_kv_heads *
                            ((shape.n_pages + kernels::kTilePages - 1) / kernels::kTilePages * kernels::kTilePages);
  KvCache cache;
  cache.shape_ = shape;
  if (bytes.valid()) cache.arena_ = base::AlignedBuffer(bytes.value());
  if (cache.arena_.data() == nullptr) {
    return base::Status("E_OUT_OF_MEMORY", "could not allocate " + std::to_string(shape.n_pages) + " K/V pages of " +
                                               std::to_string(bytes_per_token(shape) * kernels::kPagePositions) +
                                               " bytes");
  }
  cache.arena_.prefer_huge_pages();
  return cache;
}

}  // namespace lutra::cache
