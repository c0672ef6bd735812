// The first look at the high parts of split Q8_0 panels. Reference twin.
#include <cmath>
#include <cstring>

#include "kernels/panel_layout.h"
#include "kernels/scalar/float_math.h"
#include "kernels/scalar/scalar.h"
#include "kernels/screen_args.h"

namespace lutra::kernels::scalar {
namespace {

/// Σ high · (256 · plane + plane) of row r of a unit: at most 32 · 15 · 32639 < 2^24.
int dot_row(const uint8_t* unit, uint32_t r, const int8_t* planes) {
  int sum = 0;
  for (uint32_t i = 0; i < kBlock; ++i) {
    const uint32_t j = i / 4;
    const int code = (unit[32 * (j % 4) + 4 * r + i % 4] >> (4 * (j / 4))) & 15;
    sum += code * (256 * planes[i] + planes[kBlock + i]);
  }
  return sum;
}

void screen(const ScreenArgs& args) noexcept {
  const PlaneActivations& x = args.activations;
  for (uint32_t p = args.panel_begin; p < args.panel_end; ++p) {
    const uint8_t* panel = args.panels + p * args.panel_bytes;
    const uint8_t* radii = args.radii + p * args.panel_bytes;
    const uint32_t local = (p - args.panel_begin) * kPanelRows;
    float reach[kPanelRows];
    for (uint32_t r = 0; r < kPanelRows; ++r) {
      float score = 0.0f, bound = 0.0f;
      for (uint32_t b = 0; b < args.n_blocks; ++b) {
        const uint8_t* block = panel + b * kPanelQ4_0.bytes;
        uint16_t half;
        std::memcpy(&half, block + 2 * r, sizeof half);
        const float d = f32_from_f16(half);
        const int sum = dot_row(block + kPanelQ4_0.unit_offset, r, x.planes + b * 2 * kBlock);
        score = std::fma(static_cast<float>(sum), d * x.d[b], score);
        score = std::fma(d, args.centre[b], score);
        bound = std::fma(std::fabs(d), std::fma(args.ball[b], static_cast<float>(radii[b]), args.box[b]), bound);
      }
      score *= 16.0f;
      reach[r] = score + bound;
      if (p * kPanelRows + r < args.rows) args.scores[local + r] = score;
    }
    float largest = reach[0];
    for (uint32_t r = 1; r < kPanelRows; ++r) largest = reach[r] > largest ? reach[r] : largest;
    args.reach[p - args.panel_begin] = largest;
  }
}

}  // namespace

void fill_screen(KernelTable& table) noexcept { table.screen = screen; }

}  // namespace lutra::kernels::scalar
