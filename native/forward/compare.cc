#include "forward/compare.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

namespace lutra::forward {

using base::Status;

// With x and y the rows less their largest logits, and Z their sums of exponentials:
// KL = Σ e^y/Zy · (y − x) − log Zy + log Zx. What is not finite in a row makes this no number or infinite: a NaN or +∞
// through its sum, −∞ through the difference, since 0 · ∞ is NaN.
RowDistance compare_rows(std::span<const float> approximate, std::span<const float> exact, uint32_t id) {
  const auto top_a = std::max_element(approximate.begin(), approximate.end());
  const auto top_b = std::max_element(exact.begin(), exact.end());
  double sum_a = 0, sum_b = 0, difference = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    const double x = static_cast<double>(approximate[i]) - *top_a;
    const double y = static_cast<double>(exact[i]) - *top_b;
    const double weight = std::exp(y);
    sum_a += std::exp(x);
    sum_b += weight;
    difference += weight * (y - x);
  }
  const double log_a = std::log(sum_a), log_b = std::log(sum_b);
  const double kl = difference / sum_b - log_b + log_a;
  if (!std::isfinite(kl)) {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    return {nan, nan, nan, nan};
  }
  const bool agrees = top_a - approximate.begin() == top_b - exact.begin();
  // Rounding may leave a row that is all but equal a little below 0.
  return {std::max(kl, 0.0), static_cast<double>(approximate[id]) - *top_a - log_a,
          static_cast<double>(exact[id]) - *top_b - log_b, agrees ? 1.0 : 0.0};
}

Status compare_logits(Engine& approximate, const Engine& exact, std::span<const int32_t> ids,
                      std::span<RowDistance> out) {
  const uint32_t vocab = approximate.model().hyper.vocab_size;
  if (exact.model().hyper.vocab_size != vocab) {
    return {"INVALID_OPTION", "engine: expected two engines of one vocabulary, got " + std::to_string(vocab) + " and " +
                                  std::to_string(exact.model().hyper.vocab_size) + " tokens"};
  }
  const auto rows = static_cast<uint32_t>(out.size());
  const uint32_t kept = std::min(approximate.kept_rows(), exact.kept_rows());
  if (rows > kept || rows > ids.size()) {
    return {"INVALID_OPTION", "rows: expected at most the " + std::to_string(std::min<size_t>(kept, ids.size())) +
                                  " wanted rows of both last steps that have an id, got " + std::to_string(rows)};
  }
  for (uint32_t r = 0; r < rows; ++r) {
    if (ids[r] < 0 || static_cast<uint32_t>(ids[r]) >= vocab) {
      return {"INVALID_OPTION", "ids[" + std::to_string(r) + "]: expected a token id below " + std::to_string(vocab) +
                                    ", got " + std::to_string(ids[r])};
    }
  }
  approximate.team().parallel_for(rows, [&](uint32_t r, int) {
    out[r] = compare_rows(approximate.kept_logits(r), exact.kept_logits(r), static_cast<uint32_t>(ids[r]));
  });
  return {};
}

}  // namespace lutra::forward
