// AVX2 log-sum-exp and top-k; bit-equal to scalar/select.cc.
#include <immintrin.h>

#include "kernels/avx2/avx2.h"
#include "kernels/avx2/vector_math.h"
#include "kernels/scalar/select.h"

namespace lutra::kernels::avx2 {
namespace {

using scalar::TopHeap;

constexpr uint64_t kSumSpan = 1024;

/// Elements i..i+7 of x[0..n), missing ones -inf.
__m256 load_or_lowest(const float* x, uint64_t i, uint64_t n) {
  if (n - i >= 8) return _mm256_loadu_ps(x + i);
  const __m256i mask = lane_mask(static_cast<uint32_t>(n - i));
  return _mm256_blendv_ps(_mm256_set1_ps(-__builtin_inff()), _mm256_maskload_ps(x + i, mask),
                          _mm256_castsi256_ps(mask));
}

/// The largest value; NaN when any value is NaN.
float max_or_nan(const float* x, uint64_t n) {
  __m256 max[4], nan = _mm256_setzero_ps();
  for (int j = 0; j < 4; ++j) max[j] = _mm256_set1_ps(-__builtin_inff());
  uint64_t i = 0;
  for (; n - i >= 32; i += 32) {
    for (int j = 0; j < 4; ++j) {
      const __m256 v = _mm256_loadu_ps(x + i + 8 * j);
      nan = _mm256_or_ps(nan, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
      max[j] = _mm256_max_ps(v, max[j]);
    }
  }
  for (; i < n; i += 8) {
    const __m256 v = load_or_lowest(x, i, n);
    nan = _mm256_or_ps(nan, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    max[0] = _mm256_max_ps(v, max[0]);
  }
  if (_mm256_movemask_ps(nan) != 0) return __builtin_nanf("");
  return max_lane(_mm256_max_ps(_mm256_max_ps(max[0], max[1]), _mm256_max_ps(max[2], max[3])));
}

float log_sum_exp(const float* x, uint64_t n) noexcept {
  const float max = max_or_nan(x, n);
  if (!(max - max == 0.0f)) return max;  // NaN or infinite
  const __m256 shift = _mm256_set1_ps(max);
  double total = 0.0;
  for (uint64_t begin = 0; begin < n; begin += kSumSpan) {
    const uint64_t end = n - begin < kSumSpan ? n : begin + kSumSpan;
    __m256 lanes = _mm256_setzero_ps();
    for (uint64_t i = begin; i < end; i += 8) {
      lanes = _mm256_add_ps(lanes, exp_ps(_mm256_sub_ps(load_or_lowest(x, i, n), shift)));
    }
    total += merge_lanes(lanes);
  }
  return static_cast<float>(max + __builtin_log(total));
}

/// Offers x[begin..end) one by one.
void offer(TopHeap& heap, const float* x, uint32_t begin, uint32_t end) {
  for (uint32_t i = begin; i < end; ++i) {
    if (x[i] > heap.values[0]) scalar::top_heap_replace(heap, x[i], static_cast<int32_t>(i));
  }
}

/// Few values beat the k-th best so far (about k·ln(n/k) in a random row), so 32 are dismissed with one test.
uint32_t top_k(const float* x, uint32_t n, uint32_t k, int32_t* ids, float* values) noexcept {
  const uint32_t limit = k < scalar::kTopLimit ? k : scalar::kTopLimit;
  const uint32_t count = limit < n ? limit : n;
  if (count == 0) return 0;
  TopHeap heap;
  scalar::top_heap_init(heap, x, count);
  uint32_t i = count;
  for (; n - i >= 32; i += 32) {
    const __m256 bar = _mm256_set1_ps(heap.values[0]);
    __m256 above = _mm256_cmp_ps(_mm256_loadu_ps(x + i), bar, _CMP_GT_OQ);
    above = _mm256_or_ps(above, _mm256_cmp_ps(_mm256_loadu_ps(x + i + 8), bar, _CMP_GT_OQ));
    above = _mm256_or_ps(above, _mm256_cmp_ps(_mm256_loadu_ps(x + i + 16), bar, _CMP_GT_OQ));
    above = _mm256_or_ps(above, _mm256_cmp_ps(_mm256_loadu_ps(x + i + 24), bar, _CMP_GT_OQ));
    if (_mm256_movemask_ps(above) != 0) offer(heap, x, i, i + 32);
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

}  // namespace lutra::kernels::avx2
