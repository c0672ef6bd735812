// Products of activation codes with a codebook as table entries (lut_kernels.h). One source for every ISA path, as
// build_tables.h.
#pragma once

#include <cstdint>

#include "kernels/lut/build_tables.h"
#include "kernels/panel_layout.h"

namespace lutra::kernels::lut {
namespace {

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
  static void load(Sums& values) {
    for (int i = 0; i < 16; ++i) values[i] = kValues[i];
  }
};

/// Code i of half a block at `high`.
inline int32_t code_at(const int8_t* high, int i) { return 256 * high[i] + high[32 + i]; }

template <Codes kCodes>
inline void build_exact_products(const LutBuildArgs& args) noexcept {
  Sums values;
  Codebook<kCodes>::load(values);
  uint8_t* out = args.entries;
  for (uint32_t k = 0; k < args.k; k += 16, out += 16 * lut_group_bytes(LutTables::kExact)) {
    const int8_t* high = args.planes + k / 32 * 64 + k % 32;
    for (int i = 0; i < 16; ++i) {
      const Sums products = values * code_at(high, i) + kLutProductOffset;
      uint8_t* digits = out + static_cast<uint32_t>(i) * kLutEntries;
      store_entries(products, digits);
      store_entries(products >> 8, digits + 16 * kLutEntries);
      store_entries(products >> 16, digits + 32 * kLutEntries);
    }
  }
}

template <Codes kCodes>
inline void build_int8_products_half(const int8_t* high, float d, uint8_t* entries, float& table_d, int32_t& bias) {
  using Book = Codebook<kCodes>;
  constexpr int32_t kLeast = Book::extreme(-1), kLargest = Book::extreme(1), kTotal = Book::total();
  Sums values;
  Book::load(values);
  int32_t largest_code = 0, codes = 0;
  for (int i = 0; i < 16; ++i) {
    const int32_t c = code_at(high, i), size = c < 0 ? -c : c;
    largest_code = size > largest_code ? size : largest_code;
    codes += c;
  }
  const int32_t reach = largest_code == 0 ? 1 : (kLargest - kLeast) * largest_code;
  const float factor = 254.0f / static_cast<float>(reach);
  Sums totals = {};
  for (int i = 0; i < 16; ++i, entries += kLutEntries) {
    const int32_t c = code_at(high, i);
    const SumFloats shifted = __builtin_convertvector(values * c, SumFloats) * factor + kRounder;
    // One of them is the least, the other the largest.
    const int32_t first = rounded(static_cast<float>(kLeast * c) * factor);
    const int32_t second = rounded(static_cast<float>(kLargest * c) * factor);
    const Sums x = (Sums)shifted - (kRounderBits + ((first + second + 1) >> 1) - 128);  // same bytes
    store_entries(x, entries);
    totals += x;
  }
  int32_t total = 0;
  for (int v = 0; v < 16; ++v) total += totals[v];
  // Products are kTotal / 16 times c on average, entries Σx / 16; in quarters.
  bias = rounded(static_cast<float>(codes) * (factor * (static_cast<float>(kTotal) * 0.25f)) -
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
