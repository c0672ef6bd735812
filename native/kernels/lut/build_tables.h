// Subset sums of activation codes as table entries (lut_kernels.h). One source for every ISA path, in the compiler's
// vector types, so that entries are equal bit for bit. Internal linkage: each path has its own copy.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/lut_kernels.h"

namespace lutra::kernels::lut {
namespace {

typedef int32_t Sums __attribute__((vector_size(64)));
typedef float SumFloats __attribute__((vector_size(64)));
typedef uint8_t Entries __attribute__((vector_size(16)));

/// Lane p: the sum of c[t] over the bits t of p; and the codes' reach, Σ|c|, and least sum.
struct GroupSums {
  Sums sums;
  int32_t reach, least;
};

inline void subset_sums(const int8_t* high, const int8_t* low, GroupSums& group) {
  group.sums = Sums{};
  group.reach = group.least = 0;
  const Sums lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#pragma GCC unroll 4
  for (int t = 0; t < 4; ++t) {
    const int32_t c = 256 * high[t] + low[t];
    const Sums in_subset = -((lane >> t) & 1);
    group.sums += in_subset & c;
    group.reach += c < 0 ? -c : c;
    group.least += c < 0 ? c : 0;
  }
}

inline void store_entries(const Sums& values, uint8_t* out) {
  const Entries bytes = __builtin_convertvector(values & 255, Entries);
  std::memcpy(out, &bytes, sizeof bytes);
}

inline void build_exact(const LutBuildArgs& args) noexcept {
  uint8_t* out = args.entries;
  for (uint32_t k = 0; k < args.k; k += kLutGroup, out += lut_group_bytes(LutTables::kExact)) {
    const int8_t* high = args.planes + k / 32 * 64 + k % 32;
    GroupSums group;
    subset_sums(high, high + 32, group);
    store_entries(group.sums & 63, out);
    store_entries((group.sums >> 6) & 63, out + kLutEntries);
    store_entries(group.sums >> 12, out + 2 * kLutEntries);
  }
}

constexpr float kRounder = 12582912.0f;  // 1.5 · 2^23
constexpr int32_t kRounderBits = 0x4B400000;

/// To the nearest integer, halves to even: float addition does it, for |x| ≪ 2^22.
inline int32_t rounded(float x) {
  const float shifted = x + kRounder;
  int32_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  return bits - kRounderBits;
}

/// Four groups, half a block.
inline void build_int8_half(const int8_t* planes, float d, uint8_t* entries, float& table_d, int32_t& bias) {
  GroupSums groups[4];
  int32_t reach = 1, codes = 0;
  for (int g = 0; g < 4; ++g) {
    subset_sums(planes + 4 * g, planes + 32 + 4 * g, groups[g]);
    reach = groups[g].reach > reach ? groups[g].reach : reach;
    codes += groups[g].sums[15];
  }
  const float factor = 254.0f / static_cast<float>(reach);
  Sums totals = {};
  for (int g = 0; g < 4; ++g, entries += kLutEntries) {
    const SumFloats shifted = __builtin_convertvector(groups[g].sums, SumFloats) * factor + kRounder;
    const int32_t least = rounded(static_cast<float>(groups[g].least) * factor);
    const int32_t largest = rounded(static_cast<float>(groups[g].least + groups[g].reach) * factor);
    const Sums x = (Sums)shifted - (kRounderBits + ((least + largest + 1) >> 1));  // same bytes
    store_entries(x, entries);
    totals += x;
  }
  int32_t total = 0;
  for (int p = 0; p < static_cast<int>(kLutEntries); ++p) total += totals[p];
  // A group's sums are Σc / 2 on average, its entries Σx / 16.
  bias = rounded(static_cast<float>(codes) * (2.0f * factor) - static_cast<float>(total) * 0.25f);
  table_d = d * (static_cast<float>(reach) / 1016.0f);
}

inline void build_int8(const LutBuildArgs& args) noexcept {
  for (uint64_t half = 0; half < args.k / 16; ++half) {
    build_int8_half(args.planes + half / 2 * 64 + half % 2 * 16, args.d[half / 2],
                    args.entries + half * 4 * kLutEntries, args.table_d[half], args.biases[half]);
  }
}

}  // namespace
}  // namespace lutra::kernels::lut
