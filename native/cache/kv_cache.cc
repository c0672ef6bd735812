#include "cache/kv_cache.h"

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "base/checked_size.h"

namespace lutra::cache {

using base::CheckedSize;
using base::Status;

namespace {

Status wrong_length(const char* field, const std::string& expected, uint64_t found) {
  return {"INVALID_OPTION", std::string(field) + ": expected " + expected + ", got " + std::to_string(found)};
}

/// Copies a block without its slots from `filled` on, which become zeros; storing zeros gives zero bytes in either
/// type.
class TailCopier {
 public:
  TailCopier(const KvShape& shape, uint64_t block_bytes)
      : shape_(shape), zeros_(shape.head_dim), aligned_((block_bytes + 7) / 8) {}

  void copy(const uint8_t* from, bool keys, uint32_t filled, uint64_t bytes, uint8_t* to) {
    auto* block = reinterpret_cast<uint8_t*>(aligned_.data());  // `to` may stand anywhere; stores want whole halves
    std::memcpy(block, from, bytes);
    const kernels::KernelTable& kernels = *kernels::kernel_table(base::Isa::kScalar);
    const auto store = (keys ? kernels.store_key : kernels.store_value)[static_cast<size_t>(shape_.type)];
    for (uint32_t s = filled; s < kernels::kPagePositions; ++s) store(zeros_.data(), shape_.head_dim, block, s);
    std::memcpy(to, block, bytes);
  }

 private:
  const KvShape& shape_;
  std::vector<float> zeros_;
  std::vector<uint64_t> aligned_;
};

}  // namespace

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

Status KvCache::check_pages(const char* field, std::span<const int32_t> pages) const {
  for (size_t i = 0; i < pages.size(); ++i) {
    if (static_cast<uint32_t>(pages[i]) < shape_.n_pages) continue;
    return {"INVALID_OPTION", std::string(field) + "[" + std::to_string(i) + "]: expected a page below " +
                                  std::to_string(shape_.n_pages) + ", got " + std::to_string(pages[i])};
  }
  return {};
}

Status KvCache::copy_pages(std::span<const int32_t> pairs) {
  if (pairs.size() % 2 != 0) return wrong_length("pairs", "an even number of pages", pairs.size());
  if (Status status = check_pages("pairs", pairs); !status.ok()) return status;
  for (size_t pair = 0; pair < pairs.size(); pair += 2) {
    const auto from = static_cast<uint32_t>(pairs[pair]), to = static_cast<uint32_t>(pairs[pair + 1]);
    if (from == to) continue;
    for (uint64_t i = 0; i < n_blocks(); ++i) {
      std::memcpy(arena_.data() + block_offset(to, i), arena_.data() + block_offset(from, i), block_bytes());
    }
  }
  return {};
}

Status KvCache::read_pages(std::span<const int32_t> pages, uint64_t positions, std::span<uint8_t> out) const {
  if (Status status = check_pages("pages", pages); !status.ok()) return status;
  const CheckedSize bytes = CheckedSize(page_bytes()) * pages.size();
  if (!bytes.valid() || bytes.value() != out.size()) {
    return wrong_length("out", std::to_string(page_bytes()) + " bytes a page", out.size());
  }
  if (positions > pages.size() * kernels::kPagePositions) {
    return wrong_length("positions", std::to_string(kernels::kPagePositions) + " a page at most", positions);
  }
  TailCopier tail(shape_, block_bytes());
  uint8_t* to = out.data();
  for (size_t p = 0; p < pages.size(); ++p) {
    const uint64_t begin = p * kernels::kPagePositions;
    const uint64_t filled = positions > begin ? positions - begin : 0;
    for (uint64_t i = 0; i < n_blocks(); ++i, to += block_bytes()) {
      const uint8_t* from = arena_.data() + block_offset(static_cast<uint32_t>(pages[p]), i);
      if (filled >= kernels::kPagePositions)
        std::memcpy(to, from, block_bytes());
      else
        tail.copy(from, i % 2 == 0, static_cast<uint32_t>(filled), block_bytes(), to);
    }
  }
  return {};
}

Status KvCache::write_pages(std::span<const int32_t> pages, std::span<const uint8_t> bytes) {
  if (Status status = check_pages("pages", pages); !status.ok()) return status;
  const CheckedSize expected = CheckedSize(page_bytes()) * pages.size();
  if (!expected.valid() || expected.value() != bytes.size()) {
    return wrong_length("bytes", std::to_string(page_bytes()) + " bytes a page", bytes.size());
  }
  const uint8_t* from = bytes.data();
  for (const int32_t page : pages) {
    for (uint64_t i = 0; i < n_blocks(); ++i, from += block_bytes()) {
      std::memcpy(arena_.data() + block_offset(static_cast<uint32_t>(page), i), from, block_bytes());
    }
  }
  return {};
}

}  // namespace lutra::cache
