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

/// How units are multiplied for so many columns.
template <typename Dots, int kColumns, bool kOnePlane = (kColumns >= static_cast<int>(kScreenOnePlane))>
struct ScreenProducts {
  using Unit = typename Dots::template Wide<LowBits::kNibble, HighBits::kNone, Codes::kUnsigned, kColumns>;
};
template <typename Dots, int kColumns>
struct ScreenProducts<Dots, kColumns, true> {
  using Unit = typename Dots::template Nibbles<kColumns>;
};

template <typename Dots, int kColumns>
void screen_panel(const ScreenArgs& args, uint32_t panel) noexcept {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  const uint8_t* block = args.panels + panel * args.panel_bytes;
  const uint8_t* radii = args.radii + panel * args.panel_bytes;
  Columns columns(args.activations, 0, kBlock * args.n_blocks);
  __m256 score[kColumns], bound[kColumns];
#pragma GCC unroll 8
  for (int c = 0; c < kColumns; ++c) score[c] = bound[c] = _mm256_setzero_ps();
  for (uint32_t b = 0; b < args.n_blocks; ++b, block += kPanelQ4_0.bytes) {
    prefetch_ahead<kColumns>(block, kPanelQ4_0.bytes);
    const typename ScreenProducts<Dots, kColumns>::Unit dots(block + kPanelQ4_0.unit_offset, columns);
    const __m256 d = load_halves(block), magnitude = _mm256_andnot_ps(sign, d);
    const uint64_t at = static_cast<uint64_t>(b) * kScreenRows;
    alignas(32) float reach[kScreenRows];  // one lane a column
    const __m256 radius = _mm256_set1_ps(static_cast<float>(radii[b]));
    _mm256_store_ps(reach, _mm256_fmadd_ps(_mm256_loadu_ps(args.ball + at), radius, _mm256_loadu_ps(args.box + at)));
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) {
      const __m256 term =
          _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots.sum(columns, c)), _mm256_broadcast_ss(args.scale + at + c),
                          _mm256_broadcast_ss(args.centre + at + c));
      score[c] = _mm256_fmadd_ps(d, term, score[c]);
      bound[c] = _mm256_fmadd_ps(magnitude, _mm256_broadcast_ss(reach + c), bound[c]);
    }
    columns.advance();
  }
#pragma GCC unroll 8
  for (int c = 0; c < kColumns; ++c) {
    const __m256 scores = _mm256_mul_ps(_mm256_set1_ps(16.0f), score[c]);
    args.best[c * args.stride + panel] = largest_lane(scores);
    args.reach[c * args.stride + panel] = largest_lane(_mm256_add_ps(scores, bound[c]));
  }
}

template <typename Dots, int kColumns>
void screen_panels(const ScreenArgs& args) noexcept {
  for (uint32_t panel = args.panel_begin; panel < args.panel_end; ++panel) screen_panel<Dots, kColumns>(args, panel);
}

template <typename Dots, int kColumns = 1>
void screen(const ScreenArgs& args) noexcept {
  if constexpr (kColumns < static_cast<int>(kScreenRows)) {
    if (args.n != kColumns) return screen<Dots, kColumns + 1>(args);
  }
  screen_panels<Dots, kColumns>(args);
}

}  // namespace
}  // namespace lutra::kernels::avx2
