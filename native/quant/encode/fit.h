// How a run of elements is best written as levels times a scale, or as a line through them. A search starts from a grid
// of scales around the one that maps the largest element to the last level, and the best of it moves to the
// least-squares scale of its levels until that is no better. kN elements, a multiple of 8: sums run in 8 lanes, in one
// fixed order.
#pragma once

#include <cmath>
#include <cstdint>

#include "quant/encode/levels.h"

namespace lutra::quant {

template <int kN>
float largest_magnitude(const float* x) {
  float largest = 0;
  for (int i = 0; i < kN; ++i) largest = std::fabs(x[i]) > largest ? std::fabs(x[i]) : largest;
  return largest;
}

inline float sum_lanes(const float (&lanes)[8]) {
  return ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]));
}

/// 0 for a scale without an inverse.
inline float inverse_of(float scale) { return std::fabs(scale) > 1e-30f ? 1.0f / scale : 0.0f; }

/// Σ (x − (scale · level + min))² with the nearest levels.
template <int kN, typename Levels>
float squared_error(const float* x, float scale, float min, const Levels& levels) {
  const float inverse = inverse_of(scale);
  float sums[8] = {};
  for (int i = 0; i < kN; i += 8) {
    for (int lane = 0; lane < 8; ++lane) {
      const float shifted = x[i + lane] - min;
      const float error = shifted - scale * levels.nearest(shifted * inverse);
      sums[lane] += error * error;
    }
  }
  return sum_lanes(sums);
}

/// Sums over the levels c of the elements.
struct LevelSums {
  float xc, cc, c;
};

template <int kN, typename Levels>
LevelSums level_sums(const float* x, float inverse, float min, const Levels& levels) {
  float xc[8] = {}, cc[8] = {}, c[8] = {};
  for (int i = 0; i < kN; i += 8) {
    for (int lane = 0; lane < 8; ++lane) {
      const float level = levels.nearest((x[i + lane] - min) * inverse);
      xc[lane] += x[i + lane] * level;
      cc[lane] += level * level;
      c[lane] += level;
    }
  }
  return {sum_lanes(xc), sum_lanes(cc), sum_lanes(c)};
}

constexpr int kRefinements = 4;
constexpr float kNothing = 1e-6f;

/// The scale, of either sign, of the least Σ (x − scale · level)² found.
template <int kN, typename Levels>
float fit_scale(const float* x, const Levels& levels) {
  const float largest = largest_magnitude<kN>(x);
  float best_gain = 0, scale = 0;  // the gain of a scale is Σ x² less its error
  const auto consider = [&](float inverse) {
    const LevelSums sums = level_sums<kN>(x, inverse, 0.0f, levels);
    if (!(sums.xc * sums.xc > best_gain * sums.cc)) return false;
    best_gain = sums.xc * sums.xc / sums.cc;
    scale = sums.xc / sums.cc;
    return true;
  };
  const float unit = inverse_of(largest);
  for (float top = levels.from; top <= levels.to; top += levels.step) {
    consider(top * unit);
    if (levels.first != -levels.last) consider(-top * unit);
  }
  for (int i = 0; i < kRefinements && consider(inverse_of(scale)); ++i) {
  }
  return scale;
}

/// x ≈ scale · level + min
struct Line {
  float scale, min;
};

/// The line of the least squared error found for levels 0 … last; with `min` at most 0 where `below_zero`. It works on
/// the elements less their middle, or large ones that differ little would drown in rounding.
template <int kN>
class LineFit {
 public:
  LineFit(const float* x, const WholeLevels& levels, bool below_zero) : levels_(levels), below_zero_(below_zero) {
    low_ = high_ = x[0];
    for (int i = 1; i < kN; ++i) {
      low_ = x[i] < low_ ? x[i] : low_;
      high_ = x[i] > high_ ? x[i] : high_;
    }
    if (below_zero && low_ > 0) low_ = 0;
    middle_ = low_ * 0.5f + high_ * 0.5f;
    float sums[8] = {};
    for (int i = 0; i < kN; ++i) {
      x_[i] = x[i] - middle_;
      sums[i % 8] += x_[i];
    }
    sum_ = sum_lanes(sums);
  }

  Line best() {
    if (high_ == low_) return {0, low_};
    consider_range((high_ - low_) / levels_.last);
    for (float top = levels_.from; top <= levels_.to; top += levels_.step) consider_range((high_ - low_) / top);
    for (int i = 0; i < kRefinements && consider(line_); ++i) {
    }
    return {line_.scale, line_.min + middle_};
  }

 private:
  /// The middle stays, the ends move in or out.
  void consider_range(float scale) { consider({scale, at_most_zero(-scale * levels_.last * 0.5f)}); }

  /// A min, less the middle, that may stand.
  float at_most_zero(float min) const { return below_zero_ && min > -middle_ ? -middle_ : min; }

  /// Takes the least-squares line of the levels that `line` gives, if it gains more than the best.
  bool consider(Line line) {
    const LevelSums sums = level_sums<kN>(x_, inverse_of(line.scale), line.min, levels_);
    const float n = kN;
    if (!(sums.cc > 0)) return false;
    const float determinant = n * sums.cc - sums.c * sums.c;
    float min = line.min;
    // With one level for all, any min goes with some scale.
    if (determinant > 0) min = at_most_zero((sums.cc * sum_ - sums.c * sums.xc) / determinant);
    const Line fitted = {(sums.xc - min * sums.c) / sums.cc, min};
    // What the line takes off Σ x².
    const float gain = fitted.scale * (2 * sums.xc - fitted.scale * sums.cc - 2 * fitted.min * sums.c) +
                       fitted.min * (2 * sum_ - n * fitted.min);
    // Equal but for rounding: then the first one, which is the same in all sub-blocks alike.
    if (!(gain > best_gain_ + kNothing * best_gain_)) return false;
    best_gain_ = gain;
    line_ = fitted;
    return true;
  }

  float x_[kN];
  const WholeLevels levels_;
  const bool below_zero_;
  float low_, high_, middle_, sum_;
  float best_gain_ = 0;
  Line line_ = {0, 0};
};

}  // namespace lutra::quant
