// Scalar attention over one tile of logical positions (attention_tile.h has the order), the K/V stores, and the merge
// of tiles.
#include <cmath>

#include "kernels/scalar/attention_tile.h"
#include "kernels/scalar/scalar.h"

namespace lutra::kernels::scalar {
namespace {

constexpr auto kF16 = static_cast<size_t>(KvType::kF16), kQ8_0 = static_cast<size_t>(KvType::kQ8_0);

uint16_t* halves_of(uint8_t* page) { return reinterpret_cast<uint16_t*>(page); }

void store_key_f16(const float* key, uint32_t head_dim, uint8_t* page, uint32_t slot) noexcept {
  for (uint32_t d = 0; d < head_dim; ++d) halves_of(page)[uint64_t{d} * kPagePositions + slot] = f16_from_f32(key[d]);
}

void store_value_f16(const float* value, uint32_t head_dim, uint8_t* page, uint32_t slot) noexcept {
  for (uint32_t d = 0; d < head_dim; ++d) halves_of(page)[uint64_t{slot} * head_dim + d] = f16_from_f32(value[d]);
}

/// The scale of a block of n ≤ 32 elements; NaN unless all of them, and the scale itself, are finite.
uint16_t scale_of(const float* x, uint32_t n) {
  uint32_t largest = 0;  // magnitudes as integers: the same order, and a NaN is above all
  for (uint32_t i = 0; i < n; ++i) {
    const uint32_t magnitude = std::bit_cast<uint32_t>(x[i]) & 0x7fffffffu;
    largest = magnitude > largest ? magnitude : largest;
  }
  const uint16_t scale = f16_from_f32(std::bit_cast<float>(largest) / 127.0f);
  return scale < 0x7c00u ? scale : uint16_t{0x7e00};
}

/// Writes the codes of a position, element d at page[d · stride], and its scales, block b at scales[32 · b].
void store_q8_0(const float* x, uint32_t head_dim, uint8_t* page, uint64_t stride, uint16_t* scales) {
  for (uint32_t begin = 0; begin < head_dim; begin += kBlock) {
    const uint32_t n = head_dim - begin < kBlock ? head_dim - begin : kBlock;
    const uint16_t scale = scale_of(x + begin, n);
    scales[begin / kBlock * kPagePositions] = scale;
    const bool zero = scale == 0 || scale >= 0x7c00u;
    const float inverse = zero ? 0.0f : 1.0f / f32_from_f16(scale);
    for (uint32_t d = begin; d < begin + n; ++d) {
      const float code = zero ? 0.0f : std::nearbyint(x[d] * inverse);
      page[d * stride] = static_cast<uint8_t>(static_cast<int8_t>(code > 127.0f    ? 127.0f
                                                                  : code < -127.0f ? -127.0f
                                                                                   : code));
    }
  }
}

void store_key_q8_0(const float* key, uint32_t head_dim, uint8_t* page, uint32_t slot) noexcept {
  store_q8_0(key, head_dim, page + slot, kPagePositions, halves_of(page + uint64_t{kPagePositions} * head_dim) + slot);
}

void store_value_q8_0(const float* value, uint32_t head_dim, uint8_t* page, uint32_t slot) noexcept {
  store_q8_0(value, head_dim, page + uint64_t{slot} * head_dim, 1,
             halves_of(page + uint64_t{kPagePositions} * head_dim) + slot);
}

template <typename Pages>
void attention_tile(const AttentionTileArgs& args) noexcept {
  add_tile<Pages>(args, [&](uint32_t i, uint32_t t) {
    return Pages::score(args.queries[i], args.k_pages[t / kPagePositions], t % kPagePositions, args.head_dim);
  });
}

void attention_merge(float* max, float* sum, float* acc, float tile_max, float tile_sum, const float* tile_acc,
                     uint32_t head_dim) noexcept {
  const float nothing = -std::numeric_limits<float>::infinity();
  if (tile_max == nothing) return;
  if (*max == nothing) {
    *max = tile_max;
    *sum = tile_sum;
    for (uint32_t d = 0; d < head_dim; ++d) acc[d] = tile_acc[d];
    return;
  }
  const float larger = tile_max > *max || std::isnan(tile_max) ? tile_max : *max;
  const float factor = exp_f32(*max - larger);
  const float tile_factor = exp_f32(tile_max - larger);
  *max = larger;
  *sum = std::fma(tile_sum, tile_factor, *sum * factor);
  for (uint32_t d = 0; d < head_dim; ++d) acc[d] = std::fma(tile_acc[d], tile_factor, acc[d] * factor);
}

}  // namespace

void fill_attention(KernelTable& table) noexcept {
  table.store_key[kF16] = store_key_f16;
  table.store_key[kQ8_0] = store_key_q8_0;
  table.store_value[kF16] = store_value_f16;
  table.store_value[kQ8_0] = store_value_q8_0;
  table.attention_tile[kF16] = attention_tile<HalfPages>;
  table.attention_tile[kQ8_0] = attention_tile<BytePages>;
  table.attention_merge = attention_merge;
}

}  // namespace lutra::kernels::scalar
