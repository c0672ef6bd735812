// What the tests of kernels share: the paths there are, bits, halves, and arrays with an unreadable neighbour.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "guarded_array.h"
#include "kernels/kernels.h"

namespace lutra_test {

/// The kernels of every path this CPU has.
inline std::vector<const lutra::kernels::KernelTable*> all_tables() {
  using lutra::base::Isa;
  std::vector<const lutra::kernels::KernelTable*> tables;
  for (const Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kNeon}) {
    if (const auto* table = lutra::kernels::kernel_table(isa)) tables.push_back(table);
  }
  return tables;
}

/// The same float, or NaN both.
inline bool same_bits(float a, float b) {
  return (std::isnan(a) && std::isnan(b)) || std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
}

inline bool same_bits(const float* a, const float* b, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    if (!same_bits(a[i], b[i])) return false;
  }
  return true;
}

inline double half_value(uint16_t half) {
  const int exponent = (half >> 10) & 31, mantissa = half & 1023;
  const double magnitude = exponent == 0    ? std::ldexp(mantissa, -24)
                           : exponent == 31 ? (mantissa == 0 ? HUGE_VAL : std::nan(""))
                                            : std::ldexp(mantissa + 1024, exponent - 25);
  return half & 0x8000 ? -magnitude : magnitude;
}

/// Half `i` of a page, wherever it lies.
inline uint16_t half_at(const uint8_t* page, uint64_t i) {
  uint16_t half;
  std::memcpy(&half, page + 2 * i, sizeof half);
  return half;
}

/// An array that begins or ends at an unreadable page.
template <typename T>
struct Array : GuardedArray<T> {
  Array(std::mt19937& random, size_t n) : GuardedArray<T>(n, random() % 2 ? Guard::kBefore : Guard::kAfter) {}
  std::vector<T> values() { return {this->data(), this->data() + this->size()}; }
};

}  // namespace lutra_test
