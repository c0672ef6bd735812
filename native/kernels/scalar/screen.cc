// The first look at the high parts of split Q8_0 panels. Reference twin.
#include <cmath>
#include <cstring>

#include "kernels/panel_layout.h"
#include "kernels/scalar/float_math.h"
#include "kernels/scalar/scalar.h"
#include "kernels/screen_args.h"

namespace lutra::kernels::scalar {
namespace {

/// Σ high · (256 · plane + plane) of row r of a unit, at most 32 · 15 · 32639 < 2^24, or Σ high · plane.
int dot_row(const uint8_t* unit, uint32_t r, const int8_t* planes, bool one_plane) {
  int sum = 0;
  for (uint32_t i = 0; i < kBlock; ++i) {
    const uint32_t j = i / 4;
    const int code = (unit[32 * (j % 4) + 4 * r + i % 4] >> (4 * (j / 4))) & 15;
    sum += code * (one_plane ? planes[i] : 256 * planes[i] + planes[kBlock + i]);
  }
  return sum;
}

struct Look {
  float best, reach;
};

Look look_at(const ScreenArgs& args, uint32_t panel, uint32_t column) {
  const int8_t* x = args.activations.planes + static_cast<uint64_t>(column) * args.n_blocks * 2 * kBlock;
  const uint8_t* radii = args.radii + panel * args.panel_bytes;
  Look look{};
  for (uint32_t r = 0; r < kPanelRows; ++r) {
    const uint8_t* block = args.panels + panel * args.panel_bytes;
    float score = 0.0f, bound = 0.0f;
    for (uint32_t b = 0; b < args.n_blocks; ++b, block += kPanelQ4_0.bytes) {
      uint16_t half;
      std::memcpy(&half, block + 2 * r, sizeof half);
      const float d = f32_from_f16(half);
      const int sum = dot_row(block + kPanelQ4_0.unit_offset, r, x + b * 2 * kBlock, args.n >= kScreenOnePlane);
      const uint32_t at = b * kScreenRows + column;
      score = std::fma(d, std::fma(static_cast<float>(sum), args.scale[at], args.centre[at]), score);
      const float reach = std::fma(args.ball[at], static_cast<float>(radii[b]), args.box[at]);
      bound = std::fma(std::fabs(d), reach, bound);
    }
    score *= 16.0f;
    const float reach = score + bound;
    look = {r == 0 || score > look.best ? score : look.best, r == 0 || reach > look.reach ? reach : look.reach};
  }
  return look;
}

void screen(const ScreenArgs& args) noexcept {
  for (uint32_t p = args.panel_begin; p < args.panel_end; ++p) {
    for (uint32_t column = 0; column < args.n; ++column) {
      const Look look = look_at(args, p, column);
      args.best[column * args.stride + p] = look.best;
      args.reach[column * args.stride + p] = look.reach;
    }
  }
}

}  // namespace

void fill_screen(KernelTable& table) noexcept { table.screen = screen; }

}  // namespace lutra::kernels::scalar
