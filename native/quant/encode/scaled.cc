// Types whose values are a scale times a level: Q4_0 Q5_0 Q8_0 IQ4_NL, and with a scale of each sub-block Q3_K Q6_K
// IQ4_XS.
#include <initializer_list>

#include "kernels/panel_layout.h"
#include "quant/encode/encoders.h"
#include "quant/encode/fit.h"
#include "quant/encode/to_half.h"

namespace lutra::quant {

namespace {

using base::TensorType;

// Where a grid ends: measured on normal, uniform, Laplace and t-distributed blocks and real weights, finer and wider
// ones gain less than 0.1 %.
constexpr WholeLevels kQ3{-4, 3, 2.0f, 4.75f, 0.25f};
constexpr WholeLevels kQ4{-8, 7, 6.0f, 9.25f, 0.25f};
constexpr WholeLevels kQ5{-16, 15, 14.0f, 17.0f, 0.25f};
constexpr WholeLevels kQ6{-32, 31, 30.0f, 32.75f, 0.25f};
struct Iq4Values {
  static constexpr const int8_t (&kSorted)[16] = kernels::kIq4Values;
  static constexpr float from = 98, to = 142, step = 4;
};
using Iq4Levels = TableLevels<Iq4Values>;
constexpr WholeLevels kQ8{-127, 127, 126.0f, 127.5f, 0.25f};

uint8_t code_of(const WholeLevels& levels, float level) { return static_cast<uint8_t>(level - levels.first); }

uint8_t code_of(const Iq4Levels&, float level) {
  uint8_t code = 0;
  while (code < 15 && static_cast<float>(kernels::kIq4Values[code]) < level) ++code;
  return code;
}

template <int kN, typename Levels>
void write_codes(const float* x, float scale, const Levels& levels, uint8_t* codes) {
  const float inverse = inverse_of(scale);
  for (int i = 0; i < kN; ++i) codes[i] = code_of(levels, levels.nearest(x[i] * inverse));
}

/// The fp16 scale next to `scale` with the least error: the nearest is not always it.
template <typename Levels>
uint16_t best_half(const float* x, float scale, const Levels& levels) {
  const uint16_t nearest = scale_to_half(scale);
  uint16_t best = nearest;
  float least = squared_error<32>(x, half_to_float(nearest), 0.0f, levels);
  for (const int step : {-1, 1}) {
    const uint16_t half = static_cast<uint16_t>(nearest + step);
    if ((nearest & 0x7FFFu) == 0 || (half & 0x7FFFu) >= 0x7C00u) continue;
    const float error = squared_error<32>(x, half_to_float(half), 0.0f, levels);
    if (!(error < least)) continue;
    least = error;
    best = half;
  }
  return best;
}

template <typename Levels>
void encode_block(const float* x, const Levels& levels, BlockCodes& out) {
  out.d = best_half(x, fit_scale<32>(x, levels), levels);
  write_codes<32>(x, half_to_float(out.d), levels, out.codes);
}

/// A super-block of 256 elements in runs of kN, whose scales are `first_scale` … `last_scale` times the block's.
template <int kN, typename Levels>
class ScaledSuperBlock {
 public:
  ScaledSuperBlock(const float* x, const Levels& levels, int first_scale, int last_scale)
      : x_(x), levels_(levels), first_scale_(first_scale), last_scale_(last_scale) {}

  void encode(BlockCodes& out) {
    float widest = 0;
    for (int s = 0; s < kRuns; ++s) {
      ideal_[s] = fit_scale<kN>(x_ + kN * s, levels_);
      if (std::fabs(ideal_[s]) > std::fabs(widest)) widest = ideal_[s];
    }
    // The far end of the scales has the finest steps; the near one may round the others better.
    const float first = static_cast<float>(first_scale_), last = static_cast<float>(last_scale_);
    for (const float top : {first, last, first * 0.97f, first * 0.94f}) try_scale(widest / top);
    for (int round = 0; round < kRounds && try_scale(least_squares_scale()); ++round) {
    }
    out.d = d_;
    for (int s = 0; s < kRuns; ++s) {
      out.scales[s] = static_cast<uint8_t>(scales_[s]);
      write_codes<kN>(x_ + kN * s, run_scale(d_, scales_[s]), levels_, out.codes + kN * s);
    }
  }

 private:
  static constexpr int kRuns = 256 / kN;
  static constexpr int kRounds = 3;

  static float run_scale(uint16_t d, int scale) { return half_to_float(d) * static_cast<float>(scale); }

  /// The best sub-block scales for a block's scale; keeps them if they are better than what there is.
  bool try_scale(float scale) {
    const uint16_t d = scale_to_half(scale);
    const float inverse = inverse_of(half_to_float(d));
    int scales[kRuns];
    float error = 0;
    for (int s = 0; s < kRuns; ++s) {
      const WholeLevels all{static_cast<float>(first_scale_), static_cast<float>(last_scale_), 0, 0, 0};
      const int near = static_cast<int>(all.nearest(ideal_[s] * inverse));
      error += best_scale(x_ + kN * s, d, near, &scales[s]);
    }
    if (!(error < error_)) return false;
    error_ = error;
    d_ = d;
    for (int s = 0; s < kRuns; ++s) scales_[s] = scales[s];
    return true;
  }

  float best_scale(const float* x, uint16_t d, int near, int* best) const {
    float least = INFINITY;
    for (int scale = near - 1; scale <= near + 1; ++scale) {
      if (scale < first_scale_ || scale > last_scale_) continue;
      const float error = squared_error<kN>(x, run_scale(d, scale), 0.0f, levels_);
      if (!(error < least)) continue;
      least = error;
      *best = scale;
    }
    return least;
  }

  /// Of the block, for the levels and sub-block scales that stand.
  float least_squares_scale() const {
    float xc = 0, cc = 0;
    for (int s = 0; s < kRuns; ++s) {
      const float scale = static_cast<float>(scales_[s]);
      const LevelSums sums = level_sums<kN>(x_ + kN * s, inverse_of(run_scale(d_, scales_[s])), 0.0f, levels_);
      xc += scale * sums.xc;
      cc += scale * scale * sums.cc;
    }
    return cc > 0 ? xc / cc : 0.0f;
  }

  const float* x_;
  const Levels levels_;
  const int first_scale_, last_scale_;
  float ideal_[kRuns];
  float error_ = INFINITY;
  uint16_t d_ = 0;
  int scales_[kRuns] = {};
};

}  // namespace

void encode_scaled_block(TensorType type, const float* x, BlockCodes& out) {
  switch (type) {
    case TensorType::Q4_0: return encode_block(x, kQ4, out);
    case TensorType::Q5_0: return encode_block(x, kQ5, out);
    case TensorType::IQ4_NL: return encode_block(x, Iq4Levels(), out);
    default: break;
  }
  encode_block(x, kQ8, out);
  for (uint8_t& code : out.codes) code = static_cast<uint8_t>(code - 127);  // Q8_0 holds the levels themselves
}

void encode_scaled_super_block(TensorType type, const float* x, BlockCodes& out) {
  switch (type) {
    case TensorType::Q3_K: return ScaledSuperBlock<16, WholeLevels>(x, kQ3, -32, 31).encode(out);
    case TensorType::Q6_K: return ScaledSuperBlock<16, WholeLevels>(x, kQ6, -128, 127).encode(out);
    default: return ScaledSuperBlock<32, Iq4Levels>(x, {}, -32, 31).encode(out);
  }
}

}  // namespace lutra::quant
