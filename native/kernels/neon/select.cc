// NEON log-sum-exp and top-k; bit-equal to scalar/select.cc.
#include <arm_neon.h>

#include "kernels/neon/neon.h"
#include "kernels/neon/vector_math.h"
#include "kernels/scalar/select.h"

namespace lutra::kernels::neon {
namespace {

using scalar::TopHeap;

constexpr uint32_t kSumSpan = 1024;
constexpr float kLowest = -__builtin_inff();

/// Elements i..i+3 of x[0..n), missing ones -inf.
float32x4_t load_or_lowest(const float* x, uint64_t i, uint64_t n) {
  return load_some(x + i, n - i < 4 ? static_cast<uint32_t>(n - i) : 4, kLowest);
}

/// The largest value; NaN when any value is NaN: FMAX and its reduction return NaN as soon as they meet one.
float max_or_nan(const float* x, uint64_t n) {
  float32x4_t max[4];
  for (int j = 0; j < 4; ++j) max[j] = vdupq_n_f32(kLowest);
  uint64_t i = 0;
  for (; n - i >= 16; i += 16) {
    for (int j = 0; j < 4; ++j) max[j] = vmaxq_f32(max[j], vld1q_f32(x + i + 4 * j));
  }
  for (; i < n; i += n - i < 4 ? n - i : 4) max[0] = vmaxq_f32(max[0], load_or_lowest(x, i, n));
  return vmaxvq_f32(vmaxq_f32(vmaxq_f32(max[0], max[1]), vmaxq_f32(max[2], max[3])));
}

/// Σ exp(x - shift) of at most kSumSpan values, in eight lanes; exp of a missing lane's -inf is 0.
float sum_of_exp(const float* x, uint64_t n, float32x4_t shift) {
  float32x4_t lanes[2] = {vdupq_n_f32(0.0f), vdupq_n_f32(0.0f)};
  for (uint64_t i = 0; i < n; i += 8) {
    lanes[0] = vaddq_f32(lanes[0], exp_ps(vsubq_f32(load_or_lowest(x, i, n), shift)));
    if (n - i > 4) lanes[1] = vaddq_f32(lanes[1], exp_ps(vsubq_f32(load_or_lowest(x, i + 4, n), shift)));
  }
  return merge_lanes(lanes[0], lanes[1]);
}

float log_sum_exp(const float* x, uint64_t n) noexcept {
  const float max = max_or_nan(x, n);
  if (!(max - max == 0.0f)) return max;  // NaN or infinite
  const float32x4_t shift = vdupq_n_f32(max);
  double total = 0.0;
  for (uint64_t begin = 0; begin < n; begin += kSumSpan) {
    total += sum_of_exp(x + begin, n - begin < kSumSpan ? n - begin : kSumSpan, shift);
  }
  return static_cast<float>(max + __builtin_log(total));
}

/// Offers x[begin..end) one by one.
void offer(TopHeap& heap, const float* x, uint32_t begin, uint32_t end) {
  for (uint32_t i = begin; i < end; ++i) {
    if (x[i] > heap.values[0]) scalar::top_heap_replace(heap, x[i], static_cast<int32_t>(i));
  }
}

/// Few values beat the k-th best so far (about k·ln(n/k) in a random row), so 16 are dismissed with one test.
uint32_t top_k(const float* x, uint32_t n, uint32_t k, int32_t* ids, float* values) noexcept {
  const uint32_t limit = k < scalar::kTopLimit ? k : scalar::kTopLimit;
  const uint32_t count = limit < n ? limit : n;
  if (count == 0) return 0;
  TopHeap heap;
  scalar::top_heap_init(heap, x, count);
  uint32_t i = count;
  for (; n - i >= 16; i += 16) {
    const float32x4_t bar = vdupq_n_f32(heap.values[0]);
    uint32x4_t above = vcgtq_f32(vld1q_f32(x + i), bar);
    for (uint32_t j = 4; j < 16; j += 4) above = vorrq_u32(above, vcgtq_f32(vld1q_f32(x + i + j), bar));
    if (vmaxvq_u32(above) != 0) offer(heap, x, i, i + 16);
  }
  offer(heap, x, i, n);
  scalar::top_heap_drain(heap, ids, values);
  return count;
}

}  // namespace

void fill_select(KernelTable& table) noexcept {
  table.log_sum_exp = log_sum_exp;
  table.top_k = top_k;
}

}  // namespace lutra::kernels::neon
