// Blocks of queries whose number is a constant, for the kernels of attention. Internal linkage: each ISA path has its
// own copy.
#pragma once

#include <cstdint>

#define LUTRA_TILE_INLINE inline __attribute__((always_inline))

namespace lutra::kernels::avx2 {
namespace {

template <int N>
struct Count {
  static constexpr int kValue = N;
};

/// Calls visit(number of queries as a constant, the first of them) for blocks of up to kMost ≤ 6 of n queries.
template <int kMost, typename Visit>
LUTRA_TILE_INLINE void for_blocks(uint32_t n, Visit visit) {
  uint32_t from = 0;
  for (; n - from >= kMost; from += kMost) visit(Count<kMost>{}, from);
  const auto last = [&](auto count) {
    if constexpr (count.kValue < kMost) visit(count, from);
  };
  switch (n - from) {
    case 5: return last(Count<5>{});
    case 4: return last(Count<4>{});
    case 3: return last(Count<3>{});
    case 2: return last(Count<2>{});
    case 1: return last(Count<1>{});
    default: return;
  }
}

}  // namespace
}  // namespace lutra::kernels::avx2
