// Scalar log-sum-exp and top-k over a row of logits.
#include "kernels/scalar/select.h"

#include <cmath>
#include <limits>

#include "kernels/scalar/float_math.h"
#include "kernels/scalar/scalar.h"

namespace lutra::kernels::scalar {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
/// Elements summed in float before they join the double total: eight lanes of at most 128 terms.
constexpr uint64_t kSumSpan = 1024;

bool worse(const TopHeap& heap, uint32_t a, uint32_t b) {
  return heap.values[a] < heap.values[b] || (heap.values[a] == heap.values[b] && heap.ids[a] > heap.ids[b]);
}

void swap_entries(TopHeap& heap, uint32_t a, uint32_t b) {
  const float value = heap.values[a];
  const int32_t id = heap.ids[a];
  heap.values[a] = heap.values[b];
  heap.ids[a] = heap.ids[b];
  heap.values[b] = value;
  heap.ids[b] = id;
}

void sift_down(TopHeap& heap, uint32_t root) {
  for (;;) {
    uint32_t child = 2 * root + 1;
    if (child >= heap.size) return;
    if (child + 1 < heap.size && worse(heap, child + 1, child)) ++child;
    if (!worse(heap, child, root)) return;
    swap_entries(heap, child, root);
    root = child;
  }
}

float log_sum_exp(const float* x, uint64_t n) noexcept {
  float max = kMinusInfinity;
  bool nan = false;
  for (uint64_t i = 0; i < n; ++i) {
    nan = nan || std::isnan(x[i]);
    max = x[i] > max ? x[i] : max;
  }
  if (nan) return std::numeric_limits<float>::quiet_NaN();
  if (std::isinf(max)) return max;
  double total = 0.0;
  for (uint64_t begin = 0; begin < n; begin += kSumSpan) {
    const uint64_t end = n - begin < kSumSpan ? n : begin + kSumSpan;
    float lanes[8] = {};
    for (uint64_t i = begin; i < end; ++i) lanes[i % 8] += exp_f32(x[i] - max);
    total += merge_lanes(lanes);
  }
  return static_cast<float>(max + std::log(total));
}

uint32_t top_k(const float* x, uint32_t n, uint32_t k, int32_t* ids, float* values) noexcept {
  const uint32_t limit = k < kTopLimit ? k : kTopLimit;
  const uint32_t count = limit < n ? limit : n;
  if (count == 0) return 0;
  TopHeap heap;
  top_heap_init(heap, x, count);
  for (uint32_t i = count; i < n; ++i) {
    if (x[i] > heap.values[0]) top_heap_replace(heap, x[i], static_cast<int32_t>(i));
  }
  top_heap_drain(heap, ids, values);
  return count;
}

}  // namespace

void top_heap_init(TopHeap& heap, const float* x, uint32_t k) noexcept {
  heap.size = k;
  for (uint32_t i = 0; i < k; ++i) {
    heap.values[i] = std::isnan(x[i]) ? kMinusInfinity : x[i];
    heap.ids[i] = static_cast<int32_t>(i);
  }
  for (uint32_t i = k / 2; i-- > 0;) sift_down(heap, i);
}

void top_heap_replace(TopHeap& heap, float value, int32_t id) noexcept {
  heap.values[0] = value;
  heap.ids[0] = id;
  sift_down(heap, 0);
}

void top_heap_drain(TopHeap& heap, int32_t* ids, float* values) noexcept {
  while (heap.size > 0) {
    const uint32_t rank = heap.size - 1;
    ids[rank] = heap.ids[0];
    values[rank] = heap.values[0];
    swap_entries(heap, 0, rank);
    heap.size = rank;
    sift_down(heap, 0);
  }
}

void fill_select(KernelTable& table) noexcept {
  table.log_sum_exp = log_sum_exp;
  table.top_k = top_k;
}

}  // namespace lutra::kernels::scalar
