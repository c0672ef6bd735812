#include "cache/key_codes.h"

#include <cstring>
#include <string>
#include <utility>

#include "base/checked_size.h"
#include "base/cpu.h"

namespace lutra::cache {

using base::CheckedSize;
using base::Status;

base::Result<KeyCodes> KeyCodes::create(const KvShape& shape, std::span<const uint8_t> coded, uint64_t code_bytes) {
  KeyCodes made;
  made.shape_ = shape;
  for (const uint8_t layer : coded) made.places_.push_back(layer != 0 ? static_cast<int32_t>(made.n_layers_++) : -1);
  made.code_bytes_ = code_bytes;
  made.row_bytes_ = kernels::lookup_rows_bytes(shape.head_dim);
  const CheckedSize blocks = CheckedSize(shape.n_pages) * made.n_layers_ * shape.n_kv_heads;
  const CheckedSize codes = blocks * made.code_bytes_, rows = blocks * made.row_bytes_;
  // The K/V arenas are reserved, but not yet touched.
  const CheckedSize all =
      codes + rows + CheckedSize(KvCache::bytes_per_token(shape)) * kernels::kPagePositions * shape.n_pages;
  const uint64_t available = base::available_memory_bytes();
  if (codes.valid() && rows.valid() && all.valid() && (available == 0 || all.value() <= available)) {
    made.codes_ = base::AlignedBuffer(codes.value());
    made.rows_ = base::AlignedBuffer(rows.value());
  }
  if (blocks.value() != 0 && (made.codes_.data() == nullptr || made.rows_.data() == nullptr)) {
    return Status("E_OUT_OF_MEMORY", "the K/V cache and key codes of " +
                                         std::to_string(uint64_t{shape.n_pages} * kernels::kPagePositions) +
                                         " positions do not fit into memory: lower contextSize or maxSequences");
  }
  made.codes_.prefer_huge_pages();
  made.rows_.prefer_huge_pages();
  return made;
}

void KeyCodes::copy_pages(std::span<const int32_t> pairs) {
  for (size_t pair = 0; pair + 1 < pairs.size(); pair += 2) {
    const auto from = static_cast<uint32_t>(pairs[pair]), to = static_cast<uint32_t>(pairs[pair + 1]);
    if (from == to) continue;
    for (uint32_t layer = 0; layer < places_.size(); ++layer) {
      for (uint32_t head = 0; has(layer) && head < shape_.n_kv_heads; ++head) {
        std::memcpy(codes(layer, to, head), codes(layer, from, head), code_bytes_);
        std::memcpy(rows(layer, to, head), rows(layer, from, head), row_bytes_);
      }
    }
  }
}

}  // namespace lutra::cache
