// Types whose values are a scale times a level plus an offset: Q4_1 Q5_1, and with a scale and a min of each sub-block
// Q2_K Q4_K Q5_K, where the offset is taken off and never negative.
#include <initializer_list>

#include "quant/encode/encoders.h"
#include "quant/encode/fit.h"
#include "quant/encode/to_half.h"

namespace lutra::quant {

namespace {

using base::TensorType;

constexpr WholeLevels kQ2{0, 3, 2.25f, 4.0f, 0.25f};
constexpr WholeLevels kQ4{0, 15, 12.5f, 16.25f, 0.25f};
constexpr WholeLevels kQ5{0, 31, 29.0f, 32.5f, 0.25f};

template <int kN>
void write_codes(const float* x, Line line, const WholeLevels& levels, uint8_t* codes) {
  const float inverse = inverse_of(line.scale);
  for (int i = 0; i < kN; ++i) codes[i] = static_cast<uint8_t>(levels.nearest((x[i] - line.min) * inverse));
}

/// The fp16 pair around `line` with the least error.
void encode_block(const float* x, const WholeLevels& levels, BlockCodes& out) {
  const Line line = LineFit<32>(x, levels, false).best();
  const uint16_t d = scale_to_half(line.scale);
  const uint16_t m = offset_to_half(line.min);
  float least = INFINITY;
  for (int step_d = -1; step_d <= 1; ++step_d) {
    for (int step_m = -1; step_m <= 1; ++step_m) {
      const uint16_t near_d = static_cast<uint16_t>((d & 0x7FFFu) == 0 ? d : d + step_d);
      const uint16_t near_m = static_cast<uint16_t>((m & 0x7FFFu) == 0 ? m : m + step_m);
      if ((near_d & 0x7FFFu) >= 0x7C00u || (near_m & 0x7FFFu) >= 0x7C00u) continue;
      const float error = squared_error<32>(x, half_to_float(near_d), half_to_float(near_m), levels);
      if (!(error < least)) continue;
      least = error;
      out.d = near_d;
      out.m = near_m;
    }
  }
  write_codes<32>(x, {half_to_float(out.d), half_to_float(out.m)}, levels, out.codes);
}

/// A super-block of 256 elements in runs of kN, whose scales and mins are 0 … `last` times the block's d and m.
template <int kN>
class LineSuperBlock {
 public:
  static constexpr int kRuns = 256 / kN;

  LineSuperBlock(const float* x, const WholeLevels& levels, int last) : x_(x), levels_(levels), last_(last) {}

  /// Codes, d and m go to `out`; the sub-blocks' scales and mins can be read afterwards.
  void encode(BlockCodes& out) {
    float widest = 0, deepest = 0;
    for (int s = 0; s < kRuns; ++s) {
      ideal_[s] = LineFit<kN>(x_ + kN * s, levels_, true).best();
      widest = ideal_[s].scale > widest ? ideal_[s].scale : widest;
      deepest = -ideal_[s].min > deepest ? -ideal_[s].min : deepest;
    }
    const float last = static_cast<float>(last_);
    for (const float share : {1.0f, 0.95f, 0.9f}) try_pair(widest * share / last, deepest / last);
    for (int round = 0; round < kRounds && try_least_squares(); ++round) {
    }
    out.d = best_.d;
    out.m = best_.m;
    for (int s = 0; s < kRuns; ++s) write_codes<kN>(x_ + kN * s, line_of(best_, s), levels_, out.codes + kN * s);
  }

  uint8_t scale(int s) const { return static_cast<uint8_t>(best_.scales[s]); }
  uint8_t min(int s) const { return static_cast<uint8_t>(best_.mins[s]); }

 private:
  static constexpr int kRounds = 4;

  struct Choice {
    uint16_t d = 0, m = 0;
    int scales[kRuns] = {}, mins[kRuns] = {};
    float error = INFINITY;
  };

  static Line line_of(const Choice& choice, int s) {
    return {half_to_float(choice.d) * static_cast<float>(choice.scales[s]),
            -(half_to_float(choice.m) * static_cast<float>(choice.mins[s]))};
  }

  int nearest(float y) const { return static_cast<int>(WholeLevels{0, static_cast<float>(last_), 0, 0, 0}.nearest(y)); }

  bool try_pair(float d, float m) {
    Choice choice;
    choice.d = scale_to_half(d);
    choice.m = scale_to_half(m);
    choice.error = 0;
    for (int s = 0; s < kRuns; ++s) choice.error += choose_line(choice, s);
    if (!(choice.error < best_.error)) return false;
    best_ = choice;
    return true;
  }

  /// Scale and min of a sub-block: those next to its own best line.
  float choose_line(Choice& choice, int s) const {
    const float inverse_d = inverse_of(half_to_float(choice.d)), inverse_m = inverse_of(half_to_float(choice.m));
    const int near_scale = nearest(ideal_[s].scale * inverse_d);
    int best_scale = 0, best_min = 0;
    float least = INFINITY;
    for (choice.scales[s] = near_scale - 1; choice.scales[s] <= near_scale + 1; ++choice.scales[s]) {
      if (choice.scales[s] < 0 || choice.scales[s] > last_) continue;
      const int near_min = nearest(-ideal_[s].min * inverse_m);
      for (choice.mins[s] = near_min - 1; choice.mins[s] <= near_min + 1; ++choice.mins[s]) {
        if (choice.mins[s] < 0 || choice.mins[s] > last_) continue;
        const Line line = line_of(choice, s);
        const float error = squared_error<kN>(x_ + kN * s, line.scale, line.min, levels_);
        if (!(error < least)) continue;
        least = error;
        best_scale = choice.scales[s];
        best_min = choice.mins[s];
      }
    }
    choice.scales[s] = best_scale;
    choice.mins[s] = best_min;
    return least;
  }

  /// The block's d and m for the levels, scales and mins that stand: x ≈ d · a − m · b with a = scale · level, b = min.
  bool try_least_squares() {
    float aa = 0, ab = 0, bb = 0, xa = 0, xb = 0;
    for (int s = 0; s < kRuns; ++s) {
      const float* x = x_ + kN * s;
      const Line line = line_of(best_, s);
      const LevelSums sums = level_sums<kN>(x, inverse_of(line.scale), line.min, levels_);
      const float scale = static_cast<float>(best_.scales[s]), min = static_cast<float>(best_.mins[s]);
      float sum = 0;
      for (int i = 0; i < kN; ++i) sum += x[i];
      aa += scale * scale * sums.cc;
      ab += scale * min * sums.c;
      bb += min * min * static_cast<float>(kN);
      xa += scale * sums.xc;
      xb += min * sum;
    }
    const float determinant = aa * bb - ab * ab;
    if (!(determinant > 0)) return aa > 0 && try_pair(xa / aa, half_to_float(best_.m));
    const float d = (xa * bb - xb * ab) / determinant;
    const float m = (xa * ab - xb * aa) / determinant;
    return d > 0 && m >= 0 && try_pair(d, m);
  }

  const float* x_;
  const WholeLevels levels_;
  const int last_;
  Line ideal_[kRuns];
  Choice best_;
};

}  // namespace

void encode_line_block(TensorType type, const float* x, BlockCodes& out) {
  encode_block(x, type == TensorType::Q4_1 ? kQ4 : kQ5, out);
}

void encode_line_super_block(TensorType type, const float* x, BlockCodes& out) {
  if (type == TensorType::Q2_K) {
    LineSuperBlock<16> block(x, kQ2, 15);
    block.encode(out);
    for (int s = 0; s < 16; ++s) out.scales[s] = static_cast<uint8_t>(block.scale(s) | block.min(s) << 4);
    return;
  }
  LineSuperBlock<32> block(x, type == TensorType::Q4_K ? kQ4 : kQ5, 63);
  block.encode(out);
  for (int s = 0; s < 8; ++s) {
    out.scales[s] = block.scale(s);
    out.mins[s] = block.min(s);
  }
}

}  // namespace lutra::quant
