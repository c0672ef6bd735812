// Histograms and selections of lookup scores, every path against the definition.
#include <algorithm>
#include <random>
#include <vector>

#include "check.h"
#include "kernel_fixture.h"
#include "kernels/kernels.h"

using namespace lutra::kernels;
using lutra_test::all_tables;
using lutra_test::Array;

namespace {

constexpr uint32_t kPage = kPagePositions;

/// Scores of pages, each around its own height, some pages far below the rest.
struct RandomScores {
  Array<uint16_t> scores, page_max;

  RandomScores(std::mt19937& random, uint32_t n_pages, uint32_t spread)
      : scores(random, size_t{n_pages} * kPage), page_max(random, n_pages) {
    for (uint32_t page = 0; page < n_pages; ++page) {
      const uint32_t height = random() % 3 == 0 ? 0 : random() % (65536 - spread);
      for (uint32_t t = 0; t < kPage; ++t) {
        scores[page * kPage + t] = static_cast<uint16_t>(height + random() % (spread + 1));
        page_max[page] = std::max(page_max[page], scores[page * kPage + t]);
      }
    }
  }
};

void test_histogram() {
  std::mt19937 random(10);
  for (uint32_t round = 0; round < 140; ++round) {
    // The last rounds have more pairs of positions than 16-bit counters hold.
    const uint32_t n_pages = round < 70 ? 1 + round : round < 138 ? 1 + random() % 300 : 9000;
    const uint32_t spreads[] = {0, 3, 700, 65535};
    RandomScores data(random, n_pages, spreads[round % 4]);
    const uint32_t factors[] = {0, 1, 64, 65535, static_cast<uint32_t>(random() % 65536)};
    const uint32_t top = *std::max_element(data.page_max.data(), data.page_max.data() + n_pages);
    const auto factor = static_cast<uint16_t>(round >= 138 ? round % 2 : factors[random() % 5]);
    std::vector<uint32_t> expected(kScoreBins);
    for (uint32_t page = 0; page < n_pages; ++page) {
      const bool whole = (top - data.page_max[page]) * factor >> 16 >= kScoreBins - 1;
      for (uint32_t t = page * kPage; t < (page + 1) * kPage; ++t) {
        ++expected[std::min(kScoreBins - 1, (top - data.scores[t]) * factor >> 16)];
        if (whole) data.scores[t] = 65535;  // not to be read
      }
    }
    for (const KernelTable* table : all_tables()) {
      Array<uint32_t> counts(random, kScoreBins);
      std::fill_n(counts.data(), kScoreBins, 12345u);
      table->lookup.histogram(
          {n_pages, data.scores.data(), data.page_max.data(), static_cast<uint16_t>(top), factor, counts.data()});
      CHECK(counts.values() == expected);
    }
  }
}

void test_select() {
  std::mt19937 random(12);
  for (uint32_t round = 0; round < 210; ++round) {
    const uint32_t n_pages = 1 + round % 70, n_queries = 1 + random() % kLookupQueries,
                   spread = round % 2 ? 65535 : 2000;
    // Rows one behind the other, as a scan leaves them: a query's maxima do not follow from its neighbour's.
    RandomScores data(random, n_pages * n_queries, spread);
    Array<uint16_t> thresholds(random, n_queries);
    for (uint32_t i = 0; i < n_queries; ++i) {
      const uint16_t some = data.scores[random() % data.scores.size()];
      const uint16_t choices[] = {0, 1, 65535, some, static_cast<uint16_t>(random()), 65000};
      thresholds[i] = choices[round % 7 == 6 ? 0 : 2 + random() % 4];
    }
    std::vector<uint32_t> expected;
    for (uint32_t p = 0; p < n_pages * kPage; ++p) {
      bool any = false;
      for (uint32_t i = 0; i < n_queries; ++i) any = any || data.scores[i * n_pages * kPage + p] >= thresholds[i];
      if (any) expected.push_back(p);
    }
    for (const KernelTable* table : all_tables()) {
      Array<uint32_t> selected(random, size_t{n_pages} * kPage);
      uint32_t n = 7;
      table->lookup.select({n_pages, n_queries, data.scores.data(), uint64_t{n_pages} * kPage, data.page_max.data(),
                            n_pages, thresholds.data(), selected.data(), &n});
      CHECK_EQ(n, expected.size());
      CHECK(std::equal(expected.begin(), expected.end(), selected.data()));
    }
  }
}

}  // namespace

int main() {
  test_histogram();
  test_select();
  return lutra_test_summary();
}
