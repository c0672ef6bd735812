// What a code stands for before it is scaled: whole numbers, or the values of a table; and the one nearest to a number.
#pragma once

#include <cstdint>

namespace lutra::quant {

/// Whole numbers first … last. Searched inverse scales map the largest element to from, from + step, … to.
struct WholeLevels {
  float first, last;
  float from, to, step;

  /// To nearest, ties to even: at 2^23 and a half of it, floats are whole numbers.
  float nearest(float y) const {
    constexpr float kWhole = 12582912.0f;
    y = y < first ? first : y;
    y = y > last ? last : y;
    return (y + kWhole) - kWhole;
  }
};

/// The nearest of some whole numbers to y, by 2 (y − the first of them) rounded down: half way between two of them is a
/// multiple of one half.
struct NearestTable {
  float value[512] = {};

  template <int kCount>
  constexpr explicit NearestTable(const int8_t (&sorted)[kCount]) {
    int at = 0;
    for (int twice = 2 * sorted[0]; twice <= 2 * sorted[kCount - 1]; ++twice) {
      while (at + 1 < kCount && sorted[at] + sorted[at + 1] <= twice) ++at;
      value[twice - 2 * sorted[0]] = sorted[at];
    }
  }
};

/// Values of a table as levels.
template <typename Values>
struct TableLevels : Values {
  static constexpr NearestTable kNearest{Values::kSorted};
  static constexpr float first = Values::kSorted[0], last = Values::kSorted[sizeof Values::kSorted - 1];

  float nearest(float y) const {
    y = y < first ? first : y;
    y = y > last ? last : y;
    return kNearest.value[static_cast<int>((y - first) * 2)];
  }
};

}  // namespace lutra::quant
