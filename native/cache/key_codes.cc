#include "cache/key_codes.h"

#include <cstring>
#include <string>
#include <utility>

#include "base/checked_size.h"

namespace lutra::cache {

using base::CheckedSize;
using base::Status;
using kernels::kPagePositions;

namespace {

/// rows[s][d] = columns[d][s] for the elements of a page.
template <typename Element>
void transpose(const Element* columns, uint32_t head_dim, Element* rows) {
  for (uint32_t d = 0; d < head_dim; ++d) {
    for (uint32_t s = 0; s < kPagePositions; ++s) rows[uint64_t{s} * head_dim + d] = columns[d * kPagePositions + s];
  }
}

}  // namespace

base::Result<KeyCodes> KeyCodes::create(const KvShape& shape, std::span<const uint8_t> coded, uint64_t code_bytes) {
  KeyCodes made;
  made.shape_ = shape;
  for (const uint8_t layer : coded) made.places_.push_back(layer != 0 ? static_cast<int32_t>(made.n_layers_++) : -1);
  made.code_bytes_ = code_bytes;
  made.row_bytes_ = kernels::kv_page_bytes(shape.type, shape.head_dim);
  const CheckedSize blocks = CheckedSize(shape.n_pages) * made.n_layers_ * shape.n_kv_heads;
  const CheckedSize codes = blocks * made.code_bytes_, rows = blocks * made.row_bytes_;
  if (codes.valid() && rows.valid()) {
    made.codes_ = base::AlignedBuffer(codes.value());
    made.rows_ = base::AlignedBuffer(rows.value());
  }
  if (blocks.value() != 0 && (made.codes_.data() == nullptr || made.rows_.data() == nullptr)) {
    return Status("E_OUT_OF_MEMORY", "could not allocate the key codes of " + std::to_string(shape.n_pages) + " pages");
  }
  made.codes_.prefer_huge_pages();
  made.rows_.prefer_huge_pages();
  return made;
}

void KeyCodes::store_rows(KvCache& cache, uint32_t layer, uint32_t page, uint32_t head) {
  const uint8_t* keys = cache.keys(layer, page, head);
  uint8_t* rows = key_rows(layer, page, head);
  if (shape_.type == KvType::kF16) {
    return transpose(reinterpret_cast<const uint16_t*>(keys), shape_.head_dim, reinterpret_cast<uint16_t*>(rows));
  }
  transpose(keys, shape_.head_dim, rows);
  const uint64_t n_codes = uint64_t{kPagePositions} * shape_.head_dim;  // scales have one order in both
  std::memcpy(rows + n_codes, keys + n_codes, row_bytes_ - n_codes);
}

void KeyCodes::copy_pages(std::span<const int32_t> pairs) {
  for (size_t pair = 0; pair + 1 < pairs.size(); pair += 2) {
    const auto from = static_cast<uint32_t>(pairs[pair]), to = static_cast<uint32_t>(pairs[pair + 1]);
    if (from == to) continue;
    for (uint32_t layer = 0; layer < places_.size(); ++layer) {
      for (uint32_t head = 0; has(layer) && head < shape_.n_kv_heads; ++head) {
        std::memcpy(codes(layer, to, head), codes(layer, from, head), code_bytes_);
        std::memcpy(key_rows(layer, to, head), key_rows(layer, from, head), row_bytes_);
      }
    }
  }
}

}  // namespace lutra::cache
