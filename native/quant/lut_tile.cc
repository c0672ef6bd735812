#include "quant/lut_tile.h"

#include <algorithm>
#include <cstring>

#include "kernels/kernels.h"
#include "quant/block_codes.h"
#include "quant/quant.h"

namespace lutra::quant {

namespace {

using base::TensorType;
using kernels::HighBits;
using kernels::kLutPanels;
using kernels::kLutRows;
using kernels::kPanelRows;
using kernels::LowBits;
using kernels::LutSet;
using kernels::PanelShape;

constexpr uint32_t kMaxSuperBlock = 1680;

constexpr kernels::LutSets bit_of(LutSet set) {
  return static_cast<kernels::LutSets>(1u << static_cast<uint32_t>(set));
}

// A super-block's shape, and whether its codes stay whole.
struct Layout {
  const PanelShape& shape;
  bool whole;

  explicit Layout(TensorType type)
      : shape(*panel_shape(type)), whole((lut_sets(type) & ~bit_of(LutSet::kSubsetSums)) != 0) {}
};

uint32_t load_u32(const uint8_t* bytes) {
  uint32_t word;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}
void store_u32(uint8_t* bytes, uint32_t word) { std::memcpy(bytes, &word, sizeof word); }

// Bytes are rows of bits: transposes each of the two 4 × 4 blocks (low and high nibbles) of four bytes. Its own
// inverse.
uint32_t transposed(uint32_t word) {
  uint32_t swap = (word ^ (word >> 7)) & 0x00AA00AAu;
  word ^= swap ^ (swap << 7);
  swap = (word ^ (word >> 14)) & 0x0000CCCCu;
  return word ^ swap ^ (swap << 14);
}

// The 8 × 8 bits of eight bytes. Its own inverse.
uint64_t transposed(uint64_t word) {
  uint64_t swap = (word ^ (word >> 7)) & 0x00AA00AA00AA00AAull;
  word ^= swap ^ (swap << 7);
  swap = (word ^ (word >> 14)) & 0x0000CCCC0000CCCCull;
  word ^= swap ^ (swap << 14);
  swap = (word ^ (word >> 28)) & 0x00000000F0F0F0F0ull;
  return word ^ swap ^ (swap << 28);
}

// Four bits of each code, four codes a dword and row: in a panel a byte is a code of k = 4m + t and one of 16 more, in
// a tile a plane.
void transpose_nibbles(const uint8_t* from, uint8_t* to) {
  for (uint32_t r = 0; r < kPanelRows; ++r) store_u32(to + 4 * r, transposed(load_u32(from + 4 * r)));
}

// In each half of the four words, the 4 × 4 bytes. Its own inverse.
void transpose_bytes(uint64_t (&words)[4]) {
  constexpr uint64_t kBytes = 0x00FF00FF00FF00FFull, kPairs = 0x0000FFFF0000FFFFull;
  for (uint32_t i : {0u, 2u}) {
    const uint64_t swap = ((words[i] >> 8) ^ words[i + 1]) & kBytes;
    words[i] ^= swap << 8;
    words[i + 1] ^= swap;
  }
  for (uint32_t i : {0u, 1u}) {
    const uint64_t swap = ((words[i] >> 16) ^ words[i + 2]) & kPairs;
    words[i] ^= swap << 16;
    words[i + 2] ^= swap;
  }
}

// A vector of a panel, byte 4r + t, as four runs of eight rows in a tile, one for each t.
void codes_to_tile(const uint8_t* vector, uint8_t* runs) {
  uint64_t words[4];
  for (uint32_t r = 0; r < 4; ++r) words[r] = load_u32(vector + 4 * r) | uint64_t{load_u32(vector + 16 + 4 * r)} << 32;
  transpose_bytes(words);
  for (uint32_t t = 0; t < 4; ++t) std::memcpy(runs + kLutRows * t, &words[t], sizeof words[t]);
}

void codes_to_panel(const uint8_t* runs, uint8_t* vector) {
  uint64_t words[4];
  for (uint32_t t = 0; t < 4; ++t) std::memcpy(&words[t], runs + kLutRows * t, sizeof words[t]);
  transpose_bytes(words);
  for (uint32_t r = 0; r < 4; ++r) {
    store_u32(vector + 4 * r, static_cast<uint32_t>(words[r]));
    store_u32(vector + 16 + 4 * r, static_cast<uint32_t>(words[r] >> 32));
  }
}

// The unit of one panel, and its part of the unit of a tile; `first` is the panel's first row there.
struct UnitPlace {
  const Layout& layout;
  uint32_t first;
  const PanelShape& shape = layout.shape;

  bool pairs() const { return shape.low == LowBits::kTwo; }
  uint32_t place(uint32_t r) const { return pairs() ? kernels::lut_place(first + r) : first + r; }

  void to_tile(const uint8_t* panel_unit, uint8_t* tile_unit) const {
    const uint8_t* low = panel_unit + shape.high_bytes;
    uint8_t* tile_low = tile_unit + kLutPanels * shape.high_bytes;
    if (layout.whole) {
      for (uint32_t j = 0; j < 4; ++j) codes_to_tile(low + 32 * j, tile_low + 128 * j + first);
      return;
    }
    if (shape.high == HighBits::kOne) {
      for (uint32_t r = 0; r < kPanelRows; ++r) {
        const uint32_t planes = transposed(load_u32(panel_unit + 4 * r));
        for (uint32_t m = 0; m < 4; ++m) tile_unit[32 * m + place(r)] = static_cast<uint8_t>(planes >> (8 * m));
      }
    }
    if (!pairs()) {
      for (uint32_t m = 0; m < 4; ++m) transpose_nibbles(low + 32 * m, tile_low + 128 * m + 4 * first);
      return;
    }
    for (uint32_t r = 0; r < kPanelRows; ++r) {
      const uint64_t codes = load_u32(low + 4 * r) | uint64_t{load_u32(low + 32 + 4 * r)} << 32;
      const uint64_t planes = transposed(codes);
      for (uint32_t m = 0; m < 4; ++m) std::memcpy(tile_low + 64 * m + 2 * place(r), as_bytes(planes) + 2 * m, 2);
    }
  }

  void to_panel(const uint8_t* tile_unit, uint8_t* panel_unit) const {
    const uint8_t* tile_low = tile_unit + kLutPanels * shape.high_bytes;
    uint8_t* low = panel_unit + shape.high_bytes;
    if (layout.whole) {
      for (uint32_t j = 0; j < 4; ++j) codes_to_panel(tile_low + 128 * j + first, low + 32 * j);
      return;
    }
    if (shape.high == HighBits::kOne) {
      for (uint32_t r = 0; r < kPanelRows; ++r) {
        uint32_t planes = 0;
        for (uint32_t m = 0; m < 4; ++m) planes |= static_cast<uint32_t>(tile_unit[32 * m + place(r)]) << (8 * m);
        store_u32(panel_unit + 4 * r, transposed(planes));
      }
    }
    if (!pairs()) {
      for (uint32_t m = 0; m < 4; ++m) transpose_nibbles(tile_low + 128 * m + 4 * first, low + 32 * m);
      return;
    }
    for (uint32_t r = 0; r < kPanelRows; ++r) {
      uint64_t planes = 0;
      for (uint32_t m = 0; m < 4; ++m) std::memcpy(as_bytes(planes) + 2 * m, tile_low + 64 * m + 2 * place(r), 2);
      const uint64_t codes = transposed(planes);
      store_u32(low + 4 * r, static_cast<uint32_t>(codes));
      store_u32(low + 32 + 4 * r, static_cast<uint32_t>(codes >> 32));
    }
  }

 private:
  static uint8_t* as_bytes(uint64_t& word) { return reinterpret_cast<uint8_t*>(&word); }
  static const uint8_t* as_bytes(const uint64_t& word) { return reinterpret_cast<const uint8_t*>(&word); }
};

// A panel's super-block, and its quarter of a tile's.
struct BlockPlace {
  const Layout& layout;
  uint32_t panel;
  const PanelShape& shape = layout.shape;

  void to_tile(const uint8_t* from, uint8_t* to) const {
    const UnitPlace units = {layout, panel * kPanelRows};
    std::memcpy(to + d_bytes() * panel, from, d_bytes());
    if (shape.min_offset != 0) std::memcpy(to + min_at(), from + shape.min_offset, 16);
    for (uint32_t s = 0; s < shape.n_scales; ++s) {
      for (uint32_t r = 0; r < kPanelRows; ++r) to[scale_at(units, s, r)] = from[shape.scale_offset + 8 * s + r];
    }
    for (uint32_t s = 0; s < n_mins(); ++s) std::memcpy(to + mins_at(s), from + shape.mins_offset + 8 * s, 8);
    for (uint32_t u = 0; u < n_units(); ++u) units.to_tile(from + unit_at(u), to + kLutPanels * unit_at(u));
  }

  void to_panel(const uint8_t* from, uint8_t* to) const {
    const UnitPlace units = {layout, panel * kPanelRows};
    std::memcpy(to, from + d_bytes() * panel, d_bytes());
    if (shape.min_offset != 0) std::memcpy(to + shape.min_offset, from + min_at(), 16);
    for (uint32_t s = 0; s < shape.n_scales; ++s) {
      for (uint32_t r = 0; r < kPanelRows; ++r) to[shape.scale_offset + 8 * s + r] = from[scale_at(units, s, r)];
    }
    for (uint32_t s = 0; s < n_mins(); ++s) std::memcpy(to + shape.mins_offset + 8 * s, from + mins_at(s), 8);
    for (uint32_t u = 0; u < n_units(); ++u) units.to_panel(from + kLutPanels * unit_at(u), to + unit_at(u));
  }

 private:
  uint32_t n_units() const { return shape.elements / 32u; }
  uint32_t d_bytes() const { return shape.d == kernels::RowScale::kHalf ? 16 : 8; }
  uint32_t n_mins() const { return shape.mins_offset != 0 ? 8 : 0; }
  uint32_t unit_at(uint32_t u) const { return shape.unit_offset + u * shape.unit_bytes; }
  uint32_t min_at() const { return kLutPanels * shape.min_offset + 16 * panel; }
  uint32_t mins_at(uint32_t s) const { return kLutPanels * shape.mins_offset + kLutRows * s + kPanelRows * panel; }
  uint32_t scale_at(const UnitPlace& units, uint32_t s, uint32_t r) const {
    return kLutPanels * shape.scale_offset + kLutRows * s + units.place(r);
  }
};

}  // namespace

kernels::LutSets lut_sets(TensorType type) {
  switch (type) {
    case TensorType::Q4_0:
    case TensorType::Q4_1:
    case TensorType::Q5_0:
    case TensorType::Q5_1:
    case TensorType::Q2_K:
    case TensorType::Q3_K:
    case TensorType::Q4_K:
    case TensorType::Q5_K:
    case TensorType::TQ1_0:
    case TensorType::TQ2_0: return bit_of(LutSet::kSubsetSums);
    case TensorType::IQ4_NL:
    case TensorType::IQ4_XS: return bit_of(LutSet::kIq4Products);
    case TensorType::MXFP4: return bit_of(LutSet::kE2M1Products);
    default: return 0;
  }
}

uint64_t lut_tile_bytes(TensorType type, uint64_t k) { return kLutPanels * panel_bytes(type, k); }

void pack_lut_tile(TensorType type, const uint8_t* rows, uint32_t n_rows, uint64_t k, uint8_t* tile) {
  const Layout layout(type);
  const PanelShape& shape = layout.shape;
  const uint32_t block_bytes = base::tensor_type_traits(type).block_bytes;
  const uint64_t stride = row_bytes(type, k);
  std::memset(tile, 0, lut_tile_bytes(type, k));
  n_rows = std::min(n_rows, kLutRows);
  BlockCodes block;
  uint8_t panel_block[kMaxSuperBlock];
  for (uint64_t b = 0; b < k / shape.elements; ++b, tile += kLutPanels * shape.bytes) {
    for (uint32_t panel = 0; panel < kLutPanels && panel * kPanelRows < n_rows; ++panel) {
      const uint32_t first = panel * kPanelRows;
      std::memset(panel_block, 0, shape.bytes);
      for (uint32_t r = 0; r < std::min(kPanelRows, n_rows - first); ++r) {
        read_gguf_block(type, rows + (first + r) * stride + b * block_bytes, block);
        write_panel_block(shape, block, r, panel_block);
      }
      BlockPlace{layout, panel}.to_tile(panel_block, tile);
    }
  }
}

void unpack_lut_panels(TensorType type, const uint8_t* tile, uint32_t begin, uint32_t end, uint64_t k,
                       uint8_t* panels) {
  const Layout layout(type);
  const PanelShape& shape = layout.shape;
  const uint64_t bytes = panel_bytes(type, k);
  for (uint64_t b = 0; b < k / shape.elements; ++b) {
    for (uint32_t panel = begin; panel < end; ++panel) {
      BlockPlace{layout, panel}.to_panel(tile + b * kLutPanels * shape.bytes,
                                         panels + (panel - begin) * bytes + b * shape.bytes);
    }
  }
}

void dequantize_lut_row(TensorType type, const uint8_t* tile, uint32_t r, uint64_t k, float* out) {
  const Layout layout(type);
  const PanelShape& shape = layout.shape;
  BlockCodes block;
  uint8_t panel_block[kMaxSuperBlock];
  for (uint64_t i = 0; i < k; i += shape.elements, tile += kLutPanels * shape.bytes) {
    BlockPlace{layout, r / kPanelRows}.to_panel(tile, panel_block);
    read_panel_block(shape, panel_block, r % kPanelRows, block);
    block_values(type, block, out + i);
  }
}

}  // namespace lutra::quant
