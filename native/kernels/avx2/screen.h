// The first look at the high parts of split Q8_0 panels, for any `Dots` that multiplies units. Bit-equal to
// scalar/screen.cc.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/avx2/matmul_codes.h"
#include "kernels/avx2/matmul_sweep.h"
#include "kernels/screen_args.h"

namespace lutra::kernels::avx2 {
namespace {

/// The largest of eight lanes.
inline float largest_lane(__m256 lanes) {
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
  four = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}

template <typename Dots>
void screen(const ScreenArgs& args) noexcept {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  for (uint32_t p = args.panel_begin; p < args.panel_end; ++p) {
    const uint8_t* block = args.panels + p * args.panel_bytes;
    const uint8_t* radii = args.radii + p * args.panel_bytes;
    Columns columns(args.activations, 0, kBlock * args.n_blocks);
    __m256 score = _mm256_setzero_ps(), bound = _mm256_setzero_ps();
    for (uint32_t b = 0; b < args.n_blocks; ++b, block += kPanelQ4_0.bytes) {
      const typename Dots::template Wide<LowBits::kNibble, HighBits::kNone, Codes::kUnsigned, 1> dots(
          block + kPanelQ4_0.unit_offset, columns);
      const __m256 d = load_halves(block);
      const float reach = __builtin_fmaf(args.ball[b], static_cast<float>(radii[b]), args.box[b]);
      const __m256 factor = _mm256_mul_ps(d, _mm256_broadcast_ss(columns.d));
      score = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots.sum(columns, 0)), factor, score);
      score = _mm256_fmadd_ps(d, _mm256_broadcast_ss(args.centre + b), score);
      bound = _mm256_fmadd_ps(_mm256_andnot_ps(sign, d), _mm256_set1_ps(reach), bound);
      columns.advance();
    }
    score = _mm256_mul_ps(_mm256_set1_ps(16.0f), score);
    const uint32_t row = p * kPanelRows;
    float* scores = args.scores + (p - args.panel_begin) * kPanelRows;
    if (args.rows - row >= kPanelRows) {
      _mm256_storeu_ps(scores, score);
    } else {
      _mm256_maskstore_ps(scores, row_mask(args.rows - row), score);
    }
    args.reach[p - args.panel_begin] = largest_lane(_mm256_add_ps(score, bound));
  }
}

}  // namespace
}  // namespace lutra::kernels::avx2
