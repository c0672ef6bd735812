// The k best (value, id) pairs seen so far, as a binary heap with the worst pair on top. Ordinary functions, not
// inline: the SIMD paths scan with their own code and call these for the few values that pass.
#pragma once

#include <cstdint>

namespace lutra::kernels::scalar {

/// Largest k of top_k.
constexpr uint32_t kTopLimit = 256;

struct TopHeap {
  float values[kTopLimit];
  int32_t ids[kTopLimit];
  uint32_t size;
};

/// Fills the heap with x[0..k), NaN as -inf, 1 ≤ k ≤ kTopLimit. Top = smallest value, highest id among equals.
void top_heap_init(TopHeap& heap, const float* x, uint32_t k) noexcept;
/// Replaces the top. `value` must be greater than the top's: ids come ascending, so equal values never get in.
void top_heap_replace(TopHeap& heap, float value, int32_t id) noexcept;
/// Empties the heap into arrays sorted by descending value, then ascending id.
void top_heap_drain(TopHeap& heap, int32_t* ids, float* values) noexcept;

}  // namespace lutra::kernels::scalar
