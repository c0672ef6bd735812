// Distances of logit rows against figures worked out by hand, equal rows, shifted rows, and rows that are not finite.
#include "forward/compare.h"

#include <cmath>
#include <limits>
#include <vector>

#include "check.h"

namespace {

using lutra::forward::compare_rows;
using lutra::forward::RowDistance;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

bool near(double a, double b) { return std::abs(a - b) <= 1e-12; }

std::vector<float> wave(size_t n, float phase) {
  std::vector<float> row(n);
  for (size_t i = 0; i < n; ++i) row[i] = 8 * std::sin(0.37f * static_cast<float>(i) + phase);
  return row;
}

void test_by_hand() {
  // Probabilities 1/4, 3/4 against 1/2, 1/2: KL(exact ‖ approximate) = 1/2 ln 2 + 1/2 ln(2/3).
  const std::vector<float> approximate{0, std::log(3.0f)}, exact{7, 7};
  const RowDistance row = compare_rows(approximate, exact, 0);
  const double third = static_cast<double>(approximate[1]);
  const double log_z = std::log1p(std::exp(third));
  CHECK(near(row.kl, -std::log(2.0) - 0.5 * (0 - log_z) - 0.5 * (third - log_z)));
  CHECK(std::abs(row.kl - 0.5 * std::log(4.0 / 3.0)) < 1e-7);
  CHECK(near(row.log_prob, -log_z));
  CHECK(near(row.exact_log_prob, -std::log(2.0)));
  CHECK_EQ(row.agrees, 0.0);  // of equal logits the lowest id
  const RowDistance reversed = compare_rows(exact, approximate, 1);
  CHECK(!near(reversed.kl, row.kl));
  CHECK(near(reversed.log_prob, row.exact_log_prob));
}

void test_equal_and_shifted() {
  const std::vector<float> row = wave(5000, 0);
  const RowDistance same = compare_rows(row, row, 17);
  CHECK_EQ(same.kl, 0.0);
  CHECK_EQ(same.log_prob, same.exact_log_prob);
  CHECK_EQ(same.agrees, 1.0);
  std::vector<float> shifted = row;
  for (float& logit : shifted) logit += 64;
  const RowDistance moved = compare_rows(row, shifted, 17);
  CHECK(moved.kl >= 0 && moved.kl < 1e-9);
  CHECK(std::abs(moved.log_prob - moved.exact_log_prob) < 1e-5);
  CHECK(compare_rows(row, wave(5000, 0.1f), 17).kl > 1e-4);
  // Largest magnitudes of a float: all of the weight on one token, and no overflow.
  const std::vector<float> steep{-3e38f, 3e38f};
  const RowDistance far = compare_rows(steep, steep, 1);
  CHECK_EQ(far.kl, 0.0);
  CHECK_EQ(far.log_prob, 0.0);
}

void test_not_finite() {
  for (const float bad : {kNan, kInf, -kInf, -kNan}) {
    for (const size_t at : {size_t{0}, size_t{3}, size_t{4}}) {
      for (const bool in_exact : {false, true}) {
        std::vector<float> approximate{1, 2, 3, -900, 4}, exact{1, 2, 3, -900, 4};
        (in_exact ? exact : approximate)[at] = bad;
        const RowDistance row = compare_rows(approximate, exact, 1);
        CHECK(std::isnan(row.kl) && std::isnan(row.log_prob) && std::isnan(row.exact_log_prob) &&
              std::isnan(row.agrees));
      }
    }
    const std::vector<float> all(5, bad);
    CHECK(std::isnan(compare_rows(all, all, 0).kl));
  }
}

}  // namespace

int main() {
  test_by_hand();
  test_equal_and_shifted();
  test_not_finite();
  return lutra_test_summary();
}
