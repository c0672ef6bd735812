// How a query's tables are scaled, one formula for all paths. Internal linkage: no symbol of this header may be shared
// with code built for other CPUs.
#pragma once

#include "kernels/lookup_args.h"

namespace lutra::kernels {
namespace {

/// What a query's products come to: the largest span of a row, and the sums over rows of spans and minima.
struct TableSpans {
  float largest = 0.0f, total = 0.0f, bias = 0.0f;
  bool finite = true;  ///< all products are

  void add(float min, float max) {
    const float span = max - min;
    largest = span > largest ? span : largest;
    total += span;
    bias += min;
  }
};

inline bool is_finite(float x) { return x - x == 0.0f; }

/// Writes step and bias. Returns the scale of the entries, 0 where all tables are to be 0.
inline float table_scale(const LookupTablesArgs& args, const TableSpans& spans) {
  const float total = spans.total + args.spare;
  const bool finite = spans.finite && is_finite(total) && is_finite(spans.bias);
  const float by_entry = static_cast<float>(args.levels) / spans.largest;
  const float by_sum = static_cast<float>(65535 - args.n_subs) / total;
  const float scale = by_entry < by_sum ? by_entry : by_sum;
  const bool flat = !is_finite(scale);
  *args.bias = finite ? spans.bias : __builtin_nanf("");
  *args.step = !finite ? __builtin_nanf("") : flat ? 0.0f : 1.0f / scale;
  return finite && !flat ? scale : 0.0f;
}

}  // namespace
}  // namespace lutra::kernels
