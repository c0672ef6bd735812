// What the tests of lookup attention share: the paths there are, and arrays with an unreadable neighbour.
#pragma once

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

/// An array that begins or ends at an unreadable page.
template <typename T>
struct Array : GuardedArray<T> {
  Array(std::mt19937& random, size_t n) : GuardedArray<T>(n, random() % 2 ? Guard::kBefore : Guard::kAfter) {}
  std::vector<T> values() { return {this->data(), this->data() + this->size()}; }
};

}  // namespace lutra_test
