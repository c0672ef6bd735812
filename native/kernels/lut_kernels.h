// Matrix products by table lookup: weights as bit planes, activations as tables of their subset sums. Part of the
// kernel table; the contract of kernels.h holds.
//
// Weights. q = Σ_i 2^i b_i for codes of 2 to 5 bits, so Σ_k q_k c_k = Σ_i 2^i Σ_k b_ik c_k. k is cut into groups of
// four: the four bits of a plane are an index into the 16 subset sums of the group's activation codes c, and one table
// serves all planes and all rows. (LUT-GEMM, Park et al. 2022; the bit-plane form is T-MAC, Wei et al. 2024.)
//
// A tile is 32 rows, kLutPanels panels' worth of rows and bytes. A super-block of it is one of panel_layout.h with
// every field four times as wide, where a unit (32 k) holds, for m = 0..3, the planes of the groups m (k = 4m, in low
// nibbles) and m + 4 (k = 4m + 16, in high nibbles); bit t of a nibble is of k = 4m + t or 4m + 16 + t:
//   nibble    128 bytes   byte 4r + i       plane i of row r
//   two bits   64 bytes   byte 2p + i       plane i of the row at place p
//   one bit    32 bytes   byte r, or p where it stands beside two bits
// Row r stands at place 2r, or 2 (r − 16) + 1 from 16 on: the even and the odd 16-bit lanes are runs of rows. Scales of
// types with two low bits stand in order of places, everything else in order of rows.
// Types whose codes are indices of a codebook have no planes: there a unit is 512 bytes, where byte 32m + r holds the
// codes of row r at k = m (low nibble) and k = m + 16 (high), and a table is of one k: its products with the codebook.
//
// Tables of subset sums. kExact: T = Σ of a subset of four c, |T| ≤ 4 · 32639 = 130556 < 2^17, as three digits to base
// 64: T = t0 + 64 t1 + 4096 t2, 0 ≤ t0, t1 ≤ 63, −32 ≤ t2 ≤ 31. Four entries (half a unit) add up within a byte: 4 · 63
// = 252, 4 · −32 = −128, 4 · 31 = 124. So a half costs 12 lookups and 9 byte sums a plane, and sums are those of the
// multiply-adds, bit for bit; so are the floats, whose operations and order are the same.
// kInt8: x = q − centre, q = round-half-even(float(T) · (254 / reach)), reach = the largest Σ|c| of the half block's
// groups (at least 1), centre = (least q + largest q + 1) >> 1: q's differ by at most 255, so −128 ≤ x ≤ 127. An entry
// is off by half of 1/254 of reach at most. What is left out comes back as one integer a half block and plane, its
// `bias`, in quarters of an entry: it makes the entries of a half right on average (without it, and with one reach a
// block, the squared error is 1.5 times as large). So a sum is 4 Σ x + bias, and d becomes d · (reach / 1016).
//
// Tables of products, T = v·c for the 16 values v of a codebook, |v| ≤ 127. A unit's entries are [half][digit][k % 16]
// [code], all unsigned. kExact: T + 2^22 as three digits to base 256, |T| ≤ 127 · 32639 < 2^22; the sums of a unit lack
// 32 · 2^22 = 2^27, and a digit's are at most 32 · 255 = 8160.
// kInt8: as above, with reach = (largest v − least v) · the largest |c| of the half block or, if that is 0, 1;
// q = ⌊v·step / 2^15 + 1/2⌋, step = round-half-even(c · (254 / reach · 2^15)); and the entry x + 128. 16 of them add up
// to at most 4080; what is too much stands in bias.
#pragma once

#include <cstdint>

#include "base/tensor_type.h"

namespace lutra::kernels {

struct PlaneActivations;

constexpr uint32_t kLutRows = 32;
constexpr uint32_t kLutPanels = 4;
/// Columns a kernel takes at once; more are taken in several sweeps.
constexpr uint32_t kLutColumns = 4;
constexpr uint32_t kLutGroup = 4;
constexpr uint32_t kLutEntries = 16;

enum class LutTables : uint8_t { kExact, kInt8 };
constexpr uint64_t kLutTableKinds = 2;

/// What the tables of an activation row hold: subset sums for bit planes, or products with a codebook of
/// panel_layout.h.
enum class LutSet : uint8_t { kSubsetSums, kIq4Products, kE2M1Products };
constexpr uint64_t kLutSets = 3;
/// Several sets: bit 1 << set.
using LutSets = uint8_t;

/// Bytes of the entries of one table, all digits: of a group, or of one k.
constexpr uint32_t lut_group_bytes(LutTables tables) {
  return tables == LutTables::kExact ? 3 * kLutEntries : kLutEntries;
}
/// Elements of k that one table serves.
constexpr uint32_t lut_table_elements(LutSet set) { return set == LutSet::kSubsetSums ? kLutGroup : 1; }
/// Bytes of the entries of k elements, k % 32 == 0.
constexpr uint64_t lut_entries_bytes(LutSet set, LutTables tables, uint64_t k) {
  return k / lut_table_elements(set) * lut_group_bytes(tables);
}
/// What products lack with exact tables: a table's entries, and a unit's sum.
constexpr int32_t kLutProductOffset = 1 << 22;
constexpr int32_t kLutUnitOffset = 32 * kLutProductOffset;

/// Where the row of a tile stands among places.
constexpr uint32_t lut_place(uint32_t row) { return row < 16 ? 2 * row : 2 * (row - 16) + 1; }

/// Tables of one activation row of k elements (k % 32 == 0), from its planes.
struct LutBuildArgs {
  uint32_t k;
  const int8_t* planes;  ///< as PlaneActivations, as is d
  const float* d;
  uint8_t* entries;  ///< [k/4][digits][16], or [k/32][2][digits][16][16] products
  float* table_d;    ///< [k/16] kInt8 only: the scale of a half block's sums
  int32_t* biases;   ///< [k/16] kInt8 only: Σ over the half's groups of what entries lack, in quarters
};
using LutBuildFn = void (*)(const LutBuildArgs& args) noexcept;

/// out[column * out_stride + row] for the first `rows` rows of consecutive tiles; the last tile may be ragged: nothing
/// is written at or past `rows`.
struct LutMatmulArgs {
  const uint8_t* tiles;
  uint64_t tile_bytes;  ///< from one tile to the next
  uint32_t rows;
  uint32_t k;
  uint32_t n;              ///< columns, ≥ 1
  const uint8_t* entries;  ///< [n][lut_entries_bytes]: see LutBuildArgs
  const float* d;          ///< kExact: [n][k/32] PlaneActivations::d; kInt8: [n][k/16] table_d
  const int32_t* biases;   ///< [n][k/16] kInt8 only
  const float* s;          ///< [n][k/32] as PlaneActivations, as is s16
  const float* s16;        ///< [n][k/16]
  float* out;
  uint64_t out_stride;
};
using LutMatmulFn = void (*)(const LutMatmulArgs& args) noexcept;

/// Part of the kernel table.
struct LutKernels {
  LutBuildFn build[kLutSets][kLutTableKinds];
  LutMatmulFn matmul[kLutTableKinds][base::kTensorTypeLimit];  ///< null for types that have no tiles
};

}  // namespace lutra::kernels
