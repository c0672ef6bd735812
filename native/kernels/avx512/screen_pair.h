// The first look at the high parts of split Q8_0 panels with the high planes of several rows: two neighbouring panels
// at a time. Bit-equal to scalar/screen.cc.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/avx2/screen.h"
#include "kernels/avx512/matmul_pair_sweep.h"
#include "kernels/avx512/matmul_units.h"

namespace lutra::kernels::avx512 {
namespace {

/// Reach of a block per column, for the first panel of a pair and the second.
struct PairReach {
  alignas(32) float first[kScreenRows];
  alignas(32) float second[kScreenRows];

  LUTRA_INLINE PairReach(const ScreenArgs& args, PanelPair radii, uint64_t at) {
    const __m256 ball = _mm256_loadu_ps(args.ball + at), box = _mm256_loadu_ps(args.box + at);
    _mm256_store_ps(first, _mm256_fmadd_ps(ball, _mm256_set1_ps(static_cast<float>(*radii.first)), box));
    _mm256_store_ps(second, _mm256_fmadd_ps(ball, _mm256_set1_ps(static_cast<float>(*radii.second)), box));
  }
  LUTRA_INLINE __m512 column(int c) const {
    return _mm512_mask_blend_ps(0xff00, _mm512_set1_ps(first[c]), _mm512_set1_ps(second[c]));
  }
};

/// Asks for a block's share of the next pair in the order of memory, radii and padding with it: hardware prefetching
/// joins in (three rows 13.3 → 7.5 ns a block, four 13.0 → 9.8, against asking in each panel by itself; one thread).
LUTRA_INLINE const uint8_t* prefetch_run(const uint8_t* at) {
  constexpr uint32_t kShare = 2 * kPanelQ4_0.bytes + 32;
  for (uint32_t i = 0; i < kShare; i += 64) _mm_prefetch(reinterpret_cast<const char*>(at + i), _MM_HINT_T0);
  return at + kShare;
}

/// The second of an odd last pair is the first again, and is not stored.
template <int kColumns>
void screen_pair(const ScreenArgs& args, uint32_t panel) noexcept {
  const bool has_second = panel + 1 < args.panel_end;
  const uint64_t first = panel * args.panel_bytes, second = first + (has_second ? args.panel_bytes : 0);
  PanelPair block = {args.panels + first, args.panels + second};
  PanelPair radii = {args.radii + first, args.radii + second};
  Columns columns(args.activations, 0, kBlock * args.n_blocks);
  const uint8_t* ahead = args.radii + first + 2 * args.panel_bytes;  // the next pair is one run of memory
  __m512 score[kColumns], bound[kColumns];
#pragma GCC unroll 8
  for (int c = 0; c < kColumns; ++c) score[c] = bound[c] = _mm512_setzero_ps();
  for (uint64_t at = 0; at < args.n_blocks * kScreenRows; at += kScreenRows) {
    ahead = prefetch_run(ahead);
    __m512i codes[8];
    load_unit<LowBits::kNibble, HighBits::kNone>(block + kPanelQ4_0.unit_offset, codes);
    const __m512 d = block.halves(), magnitude = _mm512_abs_ps(d);
    const PairReach reach(args, radii, at);
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) {
      __m512i sum = _mm512_setzero_si512();
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j) sum = _mm512_dpbusd_epi32(sum, codes[j], broadcast4(columns.high(c) + 4 * j));
      const __m512 term = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(args.scale[at + c]),
                                          _mm512_set1_ps(args.centre[at + c]));
      score[c] = _mm512_fmadd_ps(d, term, score[c]);
      bound[c] = _mm512_fmadd_ps(magnitude, reach.column(c), bound[c]);
    }
    columns.advance();
    block = block + kPanelQ4_0.bytes;
    radii = radii + 1;
  }
#pragma GCC unroll 8
  for (int c = 0; c < kColumns; ++c) {
    const __m512 scores = _mm512_mul_ps(_mm512_set1_ps(16.0f), score[c]), reach = _mm512_add_ps(scores, bound[c]);
    float* best_out = args.best + c * args.stride + panel;
    float* reach_out = args.reach + c * args.stride + panel;
    best_out[0] = avx2::largest_lane(_mm512_extractf32x8_ps(scores, 0));
    reach_out[0] = avx2::largest_lane(_mm512_extractf32x8_ps(reach, 0));
    if (!has_second) continue;
    best_out[1] = avx2::largest_lane(_mm512_extractf32x8_ps(scores, 1));
    reach_out[1] = avx2::largest_lane(_mm512_extractf32x8_ps(reach, 1));
  }
}

template <int kColumns = kScreenOnePlane>
void screen_pairs(const ScreenArgs& args) noexcept {
  if constexpr (kColumns < static_cast<int>(kScreenRows)) {
    if (args.n != kColumns) return screen_pairs<kColumns + 1>(args);
  }
  for (uint32_t panel = args.panel_begin; panel < args.panel_end; panel += 2) screen_pair<kColumns>(args, panel);
}

/// One or two rows take panels one by one, as one stream from memory.
void screen(const ScreenArgs& args) noexcept {
  if (args.n >= kScreenOnePlane) return screen_pairs(args);
  return args.n == 1 ? avx2::screen_panels<VnniDots, 1>(args) : avx2::screen_panels<VnniDots, 2>(args);
}

}  // namespace
}  // namespace lutra::kernels::avx512
