// Products of activation codes with a codebook as table entries (lut_kernels.h). One source for every ISA path, as
// build_tables.h.
#pragma once

#include <cstdint>

#include "kernels/lut/build_tables.h"
#include "kernels/panel_layout.h"

namespace lutra::kernels::lut {
namespace {

typedef int16_t Products __attribute__((vector_size(32)));

template <Codes kCodes>
struct Codebook {
  static constexpr const int8_t* kValues = code_values(kCodes);
  static constexpr int32_t extreme(int sign) {
    int32_t found = 0;
    for (int i = 0; i < 16; ++i) found = sign * kValues[i] > sign * found ? kValues[i] : found;
    return found;
  }
  static constexpr int32_t total() {
    int32_t sum = 0;
    for (int i = 0; i < 16; ++i) sum += kValues[i];
    return sum;
  }
  static void load(Products& values) {
    for (int i = 0; i < 16; ++i) values[i] = kValues[i];
  }
};

inline void store_bytes(const Products& values, uint8_t* out) {
  const Entries bytes = __builtin_convertvector(values & 255, Entries);
  std::memcpy(out, &bytes, sizeof bytes);
}

/// v·(256 high + low) + 2^22 = v·low mod 256 + 256 · (v·high + ⌊v·low / 256⌋ + 2^14), |v·high| + 64 ≤ 127² + 64 < 2^14.
template <Codes kCodes>
inline void build_exact_products(const LutBuildArgs& args) noexcept {
  static_assert(kLutProductOffset == 1 << 22);
  Products values;
  Codebook<kCodes>::load(values);
  uint8_t* out = args.entries;
  for (uint32_t k = 0; k < args.k; k += 16, out += 16 * lut_group_bytes(LutTables::kExact)) {
    const int8_t* high = args.planes + k / 32 * 64 + k % 32;
    for (int i = 0; i < 16; ++i) {
      const Products low = values * static_cast<int16_t>(high[32 + i]);
      const Products upper = values * static_cast<int16_t>(high[i]) + (low >> 8) + static_cast<int16_t>(1 << 14);
      uint8_t* digits = out + static_cast<uint32_t>(i) * kLutEntries;
      store_bytes(low, digits);
      store_bytes(upper, digits + 16 * kLutEntries);
      store_bytes(upper >> 8, digits + 32 * kLutEntries);
    }
  }
}

/// Codes of half a block, and what is known of them.
struct HalfCodes {
  int32_t codes[16];
  int32_t largest = 0, total = 0;

  explicit HalfCodes(const int8_t* high) {
    for (int i = 0; i < 16; ++i) codes[i] = 256 * high[i] + high[32 + i];
    for (int i = 0; i < 16; ++i) {
      const int32_t size = codes[i] < 0 ? -codes[i] : codes[i];
      largest = size > largest ? size : largest;
      total += codes[i];
    }
  }
};

/// For each code of half a block: 256 high + low, what an entry grows by with v, in units of 2^-15, and what entries
/// get besides.
struct Steps {
  int16_t high[16], low[16], offset[16];

  /// Values reach from `least` to `largest`: one of them gives the least entry, the other the largest.
  Steps(const HalfCodes& half, float factor, int32_t least, int32_t largest) {
    for (int i = 0; i < 16; ++i) {
      const int32_t step = rounded(static_cast<float>(half.codes[i]) * (factor * 32768.0f));
      high[i] = static_cast<int16_t>(step >> 8);
      low[i] = static_cast<int16_t>(step & 255);
      const int32_t ends = ((least * step + (1 << 14)) >> 15) + ((largest * step + (1 << 14)) >> 15);
      offset[i] = static_cast<int16_t>(128 - ((ends + 1) >> 1));
    }
  }
};

template <Codes kCodes>
inline void build_int8_products_half(const int8_t* high, float d, uint8_t* entries, float& table_d, int32_t& bias) {
  using Book = Codebook<kCodes>;
  constexpr int32_t kLeast = Book::extreme(-1), kLargest = Book::extreme(1), kTotal = Book::total();
  const HalfCodes half(high);
  const int32_t reach = half.largest == 0 ? 1 : (kLargest - kLeast) * half.largest;
  const float factor = 254.0f / static_cast<float>(reach);
  const Steps steps(half, factor, kLeast, kLargest);
  Products values, totals = {};
  Book::load(values);
  for (int i = 0; i < 16; ++i, entries += kLutEntries) {
    // ⌊v·step / 2^8⌋, |v·step| < 2^23, then ⌊(that + 2^6) / 2^7⌋: the nearest to v·step / 2^15.
    const Products grown = values * steps.high[i] + ((values * steps.low[i]) >> 8);
    const Products x = ((grown + 64) >> 7) + steps.offset[i];
    store_bytes(x, entries);
    totals += x;
  }
  int32_t total = 0;
  for (int v = 0; v < 16; ++v) total += totals[v];
  // Products are kTotal / 16 times c on average, entries Σx / 16; in quarters.
  bias = rounded(static_cast<float>(half.total) * (factor * (static_cast<float>(kTotal) * 0.25f)) -
                 static_cast<float>(total) * 0.25f);
  table_d = d * (static_cast<float>(reach) / 1016.0f);
}

template <Codes kCodes>
inline void build_int8_products(const LutBuildArgs& args) noexcept {
  for (uint64_t half = 0; half < args.k / 16; ++half) {
    build_int8_products_half<kCodes>(args.planes + half / 2 * 64 + half % 2 * 16, args.d[half / 2],
                                     args.entries + half * 16 * kLutEntries, args.table_d[half], args.biases[half]);
  }
}

inline void fill_product_builders(LutKernels& lut) noexcept {
  const auto set = [&lut](LutSet at, LutBuildFn exact, LutBuildFn int8) {
    lut.build[static_cast<uint32_t>(at)][static_cast<uint32_t>(LutTables::kExact)] = exact;
    lut.build[static_cast<uint32_t>(at)][static_cast<uint32_t>(LutTables::kInt8)] = int8;
  };
  set(LutSet::kIq4Products, build_exact_products<Codes::kIq4>, build_int8_products<Codes::kIq4>);
  set(LutSet::kE2M1Products, build_exact_products<Codes::kE2M1>, build_int8_products<Codes::kE2M1>);
}

}  // namespace
}  // namespace lutra::kernels::lut
