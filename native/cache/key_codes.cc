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

/// rows[s] = key s, which is column s, and then value s.
template <typename Element>
void interleave(const Element* keys, const Element* values, uint32_t head_dim, Element* rows) {
  for (uint32_t s = 0; s < kPagePositions; ++s) {
    std::memcpy(rows + (2ull * s + 1) * head_dim, values + uint64_t{s} * head_dim, head_dim * sizeof(Element));
  }
  for (uint32_t d = 0; d < head_dim; ++d) {
    for (uint32_t s = 0; s < kPagePositions; ++s) rows[2ull * s * head_dim + d] = keys[d * kPagePositions + s];
  }
}

}  // namespace

base::Result<KeyCodes> KeyCodes::create(const KvShape& shape, std::span<const uint8_t> coded, uint64_t code_bytes) {
  KeyCodes made;
  made.shape_ = shape;
  for (const uint8_t layer : coded) made.places_.push_back(layer != 0 ? static_cast<int32_t>(made.n_layers_++) : -1);
  made.code_bytes_ = code_bytes;
  made.row_bytes_ = kernels::row_page_bytes(kernels::kv_page_bytes(shape.type, shape.head_dim));
  const uint64_t tiles = (uint64_t{shape.n_pages} + kernels::kTilePages - 1) / kernels::kTilePages;
  const CheckedSize blocks = CheckedSize(tiles * kernels::kTilePages) * made.n_layers_ * shape.n_kv_heads;
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
  const uint8_t* values = cache.values(layer, page, head);
  uint8_t* to = rows(layer, page, head);
  if (shape_.type == KvType::kF16) {
    return interleave(reinterpret_cast<const uint16_t*>(keys), reinterpret_cast<const uint16_t*>(values),
                      shape_.head_dim, reinterpret_cast<uint16_t*>(to));
  }
  interleave(keys, values, shape_.head_dim, to);
  const uint64_t n_codes = uint64_t{kPagePositions} * shape_.head_dim;
  const uint64_t scale_bytes = row_bytes_ / 2 - n_codes;
  std::memcpy(to + 2 * n_codes, keys + n_codes, scale_bytes);
  std::memcpy(to + 2 * n_codes + scale_bytes, values + n_codes, scale_bytes);
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
