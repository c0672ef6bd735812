// Codes, tables and scores of lookup attention, and the control: against definitions in double, SIMD against scalar bit
// for bit, sums at their limits, poison, and arrays with unreadable neighbours.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "check.h"
#include "kernel_fixture.h"
#include "kernels/kernels.h"

using namespace lutra::kernels;
using lutra::base::Isa;
using lutra_test::all_tables;
using lutra_test::Array;
using lutra_test::same_bits;

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr uint32_t kPage = kPagePositions;

using Floats = Array<float>;

/// One head: its centroids, and what random shapes have in common.
struct Head {
  uint32_t d_sub, n_subs, n_outliers;
  Floats centroids, outlier_scales;

  Head(std::mt19937& random, uint32_t head_dim, uint32_t sub, uint32_t outliers)
      : d_sub(sub),
        n_subs(head_dim / sub),
        n_outliers(outliers),
        centroids(random, size_t{head_dim} * kCentroids),
        outlier_scales(random, outliers) {
    std::normal_distribution<float> normal(0.0f, 1.0f);
    for (size_t i = 0; i < centroids.size(); ++i) centroids[i] = normal(random);
    for (size_t o = 0; o < outliers; ++o) outlier_scales[o] = 0.05f;
  }

  float centroid(uint32_t s, uint32_t j, uint32_t code) {
    return centroids[(size_t{s} * d_sub + j) * kCentroids + code];
  }
  uint64_t page_bytes() const { return lookup_page_bytes(n_subs, n_outliers); }
  LookupEncodeArgs encode_args(Floats& keys, Floats& outliers, uint8_t* codes) {
    return {n_subs, d_sub, keys.data(), centroids.data(), n_outliers, outliers.data(), outlier_scales.data(), codes};
  }
};

uint32_t code_of(const uint8_t* codes, uint32_t s, uint32_t position) {
  const uint8_t byte = codes[s * 16 + position % 16];
  return position < 16 ? byte & 15 : byte >> 4;
}

/// The shapes the kernels are meant for: (head_dim, d_sub) with an even number of sub-vectors, up to the most.
template <typename Visit>
void for_shapes(Visit visit) {
  for (const uint32_t head_dim : {64u, 80u, 96u, 128u, 256u, 8u, 24u}) {
    for (const uint32_t d_sub : {1u, 2u, 4u}) {
      if (head_dim / d_sub % 2 == 0) visit(head_dim, d_sub);
    }
  }
}

/// Fills `values` with noise, at times with one of the numbers that do harm.
void fill(std::mt19937& random, Floats& values, bool poison) {
  const float specials[] = {std::nanf(""), kInf, -kInf, 0.0f, -0.0f, 3e38f, -3e38f, 1e-42f, 1e20f};
  std::normal_distribution<float> normal(0.0f, 1.0f);
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = poison && random() % 16 == 0 ? specials[random() % std::size(specials)] : normal(random);
  }
}

/// Every code is the nearest centroid's, up to what float distances cannot tell apart.
void check_nearest(Head& head, Floats& keys, const std::vector<uint8_t>& codes) {
  for (uint32_t s = 0; s < head.n_subs; ++s) {
    for (uint32_t t = 0; t < kPage; ++t) {
      double distances[kCentroids] = {};
      for (uint32_t c = 0; c < kCentroids; ++c) {
        for (uint32_t j = 0; j < head.d_sub; ++j) {
          distances[c] += std::pow(double{keys[(size_t{s} * head.d_sub + j) * kPage + t]} - head.centroid(s, j, c), 2);
        }
      }
      CHECK(distances[code_of(codes.data(), s, t)] <=
            *std::min_element(distances, distances + kCentroids) * (1 + 1e-6));
    }
  }
}

void test_encode() {
  std::mt19937 random(3);
  for_shapes([&](uint32_t head_dim, uint32_t d_sub) {
    for (int round = 0; round < 6; ++round) {
      const bool poison = round % 2 == 1;
      Head head(random, head_dim, d_sub, round / 2 * 4);
      Floats keys(random, size_t{head_dim} * kPage), outliers(random, size_t{head.n_outliers} * kPage);
      fill(random, keys, poison);
      fill(random, outliers, poison);
      if (poison) fill(random, head.centroids, random() % 2);
      if (poison) fill(random, head.outlier_scales, true);
      // Two equal centroids: the first must win.
      for (uint32_t j = 0; j < d_sub; ++j) head.centroids[j * kCentroids + 9] = head.centroids[j * kCentroids + 4];
      std::vector<uint8_t> reference;
      for (const KernelTable* table : all_tables()) {
        Array<uint8_t> codes(random, head.page_bytes());
        table->lookup.encode(head.encode_args(keys, outliers, codes.data()));
        if (reference.empty()) reference = codes.values();
        CHECK(codes.values() == reference);
      }
      for (uint32_t t = 0; t < kPage; ++t) CHECK(code_of(reference.data(), 0, t) != 9);
      if (!poison) check_nearest(head, keys, reference);
      for (uint32_t i = 0; i < (poison ? 0 : head.n_outliers * kPage); ++i) {
        const auto code = static_cast<int8_t>(reference[head.n_subs * 16 + i]);
        CHECK_EQ(int{code}, static_cast<int>(std::clamp(std::nearbyint(outliers[i] / 0.05f), -127.0f, 127.0f)));
      }
    }
  });
}

/// What does not compare: codes of keys, and outliers, that are no numbers.
void test_encode_poison() {
  std::mt19937 random(4);
  for (const KernelTable* table : all_tables()) {
    Head head(random, 8, 2, 2);
    Floats keys(random, 8 * kPage), outliers(random, 2 * kPage);
    fill(random, keys, false);
    for (uint32_t t = 0; t < kPage; ++t) keys[t] = t % 2 ? std::nanf("") : kInf;
    for (uint32_t t = 0; t < kPage; ++t) outliers[t] = t % 2 ? std::nanf("") : -kInf;
    head.outlier_scales[1] = 0.0f;
    Array<uint8_t> codes(random, head.page_bytes());
    table->lookup.encode(head.encode_args(keys, outliers, codes.data()));
    for (uint32_t t = 0; t < kPage; ++t) {
      CHECK_EQ(code_of(codes.data(), 0, t), 0u);
      CHECK_EQ(static_cast<int>(static_cast<int8_t>(codes[4 * 16 + t])), t % 2 ? 0 : -127);
      CHECK_EQ(static_cast<int>(codes[4 * 16 + kPage + t]), 0);
    }
  }
}

/// One query's tables. Aligned as the contract wants, so the guard is of use only where the size allows.
struct QueryTables {
  std::unique_ptr<Array<uint8_t>> bytes;
  float step = 7.0f, bias = 7.0f;

  QueryTables(std::mt19937& random, const KernelTable& table, Head& head, Floats& query, uint32_t levels,
              float spare = 0.0f)
      : bytes(std::make_unique<Array<uint8_t>>(random, (size_t{head.n_subs} * kCentroids + 63) / 64 * 64)) {
    table.lookup.tables(
        {head.n_subs, head.d_sub, levels, query.data(), head.centroids.data(), spare, bytes->data(), &step, &bias});
  }
  bool operator==(const QueryTables& other) const {
    return same_bits(step, other.step) && same_bits(bias, other.bias) && bytes->values() == other.bytes->values();
  }
};

void test_tables() {
  std::mt19937 random(5);
  for_shapes([&](uint32_t head_dim, uint32_t d_sub) {
    for (int round = 0; round < 10; ++round) {
      Head head(random, head_dim, d_sub, 0);
      Floats query(random, head_dim);
      fill(random, query, round >= 6);
      if (round == 4) std::fill_n(query.data(), head_dim, -0.0f);
      const float size = round == 5 ? 1e-38f : 1.0f;
      for (uint32_t i = 0; i < head_dim; ++i) query[i] *= size;
      const uint32_t levels = round % 2 ? 127 : 255;
      const float spare = round % 3 == 0 ? 0.0f : 100.0f * size;
      const QueryTables reference(random, *kernel_table(Isa::kScalar), head, query, levels, spare);
      for (const KernelTable* table : all_tables()) {
        CHECK(QueryTables(random, *table, head, query, levels, spare) == reference);
      }
      const bool all_zero = std::all_of(reference.bytes->data(), reference.bytes->data() + head.n_subs * 16,
                                        [](uint8_t x) { return x == 0; });
      if (std::isnan(reference.step) || reference.step == 0.0f) CHECK(all_zero);
      if (round == 4 && spare == 0.0f) CHECK(reference.step == 0.0f && reference.bias == 0.0f);
      if (round < 4) CHECK(reference.step > 0.0f && !all_zero);
      uint64_t sum = 0;
      for (uint32_t s = 0; s < head.n_subs; ++s) {
        const uint8_t* row = reference.bytes->data() + s * kCentroids;
        const uint8_t largest = *std::max_element(row, row + kCentroids);
        CHECK(largest <= levels);
        sum += largest;
      }
      if (reference.step > 0.0f) CHECK(sum + spare / reference.step <= 65535.0);
    }
  });
}

/// An entry that is not finite shows in step and bias, whatever it is and wherever.
void test_tables_poison() {
  std::mt19937 random(6);
  for (const KernelTable* table : all_tables()) {
    for (const float poison : {std::nanf(""), kInf, -kInf, 3e38f}) {
      for (const uint32_t at : {0u, 17u, 63u}) {
        Head head(random, 64, 2, 0);
        Floats query(random, 64);
        fill(random, query, false);
        query[at] = poison;
        for (uint32_t c = 0; c < kCentroids; ++c) head.centroids[at * kCentroids + c] = c % 2 ? 2.0f : -2.0f;
        const QueryTables tables(random, *table, head, query, 255);
        CHECK(std::isnan(tables.step) && std::isnan(tables.bias));
        CHECK(std::all_of(tables.bytes->data(), tables.bytes->data() + 512, [](uint8_t x) { return x == 0; }));
      }
    }
  }
}

/// Pages of codes and what a scan of them takes and gives, for any path.
struct Scan {
  uint32_t n_subs, n_outliers, n_pages, n_queries;
  bool narrow;
  std::vector<std::unique_ptr<Array<uint8_t>>> pages, tables;
  std::vector<std::unique_ptr<Array<int16_t>>> weights;
  std::vector<const uint8_t*> page_rows, table_rows;
  std::vector<const int16_t*> weight_rows;
  std::vector<int32_t> bases;

  Scan(std::mt19937& random, uint32_t subs, uint32_t outliers, uint32_t n, uint32_t queries, uint32_t levels)
      : n_subs(subs), n_outliers(outliers), n_pages(n), n_queries(queries), narrow(levels <= 127) {
    for (uint32_t page = 0; page < n_pages; ++page) {
      pages.push_back(std::make_unique<Array<uint8_t>>(random, lookup_page_bytes(n_subs, n_outliers)));
      for (size_t i = 0; i < pages.back()->size(); ++i) (*pages.back())[i] = static_cast<uint8_t>(random());
      page_rows.push_back(pages.back()->data());
    }
    // What the outliers add stays between 0 and what the tables leave of 16 bits.
    const uint32_t left = 65535 - std::min(65535u, n_subs * levels);
    const int32_t weight = n_outliers == 0 ? 0 : static_cast<int32_t>(std::min(32767u, left * 32 / (128 * n_outliers)));
    for (uint32_t i = 0; i < n_queries; ++i) {
      tables.push_back(std::make_unique<Array<uint8_t>>(random, (size_t{n_subs} * 16 + 63) / 64 * 64));
      for (size_t j = 0; j < tables.back()->size(); ++j) {
        (*tables.back())[j] = static_cast<uint8_t>(i % 4 == 3 ? levels : random() % (levels + 1));
      }
      weights.push_back(std::make_unique<Array<int16_t>>(random, n_outliers));
      for (uint32_t o = 0; o < n_outliers; ++o) {
        (*weights.back())[o] = static_cast<int16_t>(static_cast<int32_t>(random() % (2 * weight + 1)) - weight);
      }
      bases.push_back(weight * 128 * static_cast<int32_t>(n_outliers));
      table_rows.push_back(tables.back()->data());
      weight_rows.push_back(weights.back()->data());
    }
  }
};

struct Scores {
  Array<uint16_t> scores, page_max;
  uint64_t stride, max_stride;

  Scores(std::mt19937& random, const Scan& scan, uint64_t gap)
      : scores(random, scan.n_queries * (scan.n_pages * kPage + gap) - gap),
        page_max(random, scan.n_queries * (scan.n_pages + gap) - gap),
        stride(scan.n_pages * kPage + gap),
        max_stride(scan.n_pages + gap) {}

  void run(const KernelTable& table, const Scan& scan) {
    table.lookup.scan(
        {scan.n_subs, scan.n_pages, scan.n_queries, scan.narrow, scan.page_rows.data(), scan.table_rows.data(),
         scan.n_outliers, scan.n_outliers == 0 ? nullptr : scan.weight_rows.data(),
         scan.n_outliers == 0 ? nullptr : scan.bases.data(), scores.data(), stride, page_max.data(), max_stride});
  }
};

/// Every score from its definition, the largest of each page, and nothing written between the rows.
void check_scores(const Scan& scan, Scores& out) {
  std::vector<uint16_t> scores(out.scores.size()), page_max(out.page_max.size());
  for (uint32_t i = 0; i < scan.n_queries; ++i) {
    for (uint32_t p = 0; p < scan.n_pages * kPage; ++p) {
      const uint8_t* codes = scan.page_rows[p / kPage];
      int64_t sum = 0, outliers = scan.bases[i];
      for (uint32_t s = 0; s < scan.n_subs; ++s) sum += scan.table_rows[i][s * 16 + code_of(codes, s, p % kPage)];
      for (uint32_t o = 0; o < scan.n_outliers; ++o) {
        const auto code = static_cast<int8_t>(codes[scan.n_subs * 16 + o * kPage + p % kPage]);
        outliers += int64_t{code} * scan.weight_rows[i][o];
      }
      sum += scan.n_outliers == 0 ? 0 : outliers >> kOutlierShift;
      CHECK(sum >= 0 && sum <= 65535);
      scores[i * out.stride + p] = static_cast<uint16_t>(sum);
      uint16_t& max = page_max[i * out.max_stride + p / kPage];
      max = std::max(max, static_cast<uint16_t>(sum));
    }
  }
  CHECK(out.scores.values() == scores);
  CHECK(out.page_max.values() == page_max);
}

void test_scan() {
  std::mt19937 random(7);
  const uint32_t subs[] = {2, 4, 6, 10, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 250, 256};
  for (uint32_t round = 0; round < 192; ++round) {
    const uint32_t outliers[] = {0, 2, 8, 16}, levels = random() % 2 ? 255 : 127;
    const uint32_t n_pages = round < 70 ? 1 + round : 1 + random() % 5, n_queries = 1 + random() % kLookupQueries;
    const Scan scan(random, subs[round % std::size(subs)], outliers[random() % 4], n_pages, n_queries, levels);
    for (const KernelTable* table : all_tables()) {
      Scores scores(random, scan, round % 3 * 5);
      scores.run(*table, scan);
      check_scores(scan, scores);
    }
  }
}

/// 256 tables full of 255: the largest sum there is, 65280, in every lane.
void test_scan_limit() {
  std::mt19937 random(8);
  for (const uint32_t levels : {255u, 127u}) {
    const Scan scan(random, kMaxSubVectors, 0, 2, 4, levels);
    for (const KernelTable* table : all_tables()) {
      Scores scores(random, scan, 0);
      scores.run(*table, scan);
      const uint16_t* last = scores.scores.data() + 3 * scores.stride;
      CHECK(std::all_of(last, last + 2 * kPage, [&](uint16_t x) { return x == 256 * levels; }));
    }
  }
}

/// bias + step · U is the product of the query with the key its codes stand for.
void test_whole() {
  std::mt19937 random(9);
  for_shapes([&](uint32_t head_dim, uint32_t d_sub) {
    for (const uint32_t levels : {255u, 127u}) {
      Head head(random, head_dim, d_sub, 0);
      Floats keys(random, size_t{head_dim} * kPage), outliers(random, 0), query(random, head_dim);
      fill(random, keys, false);
      fill(random, query, false);
      for (const KernelTable* table : all_tables()) {
        Array<uint8_t> codes(random, head.page_bytes());
        table->lookup.encode(head.encode_args(keys, outliers, codes.data()));
        const QueryTables tables(random, *table, head, query, levels);
        uint16_t scores[kPage], page_max = 0;
        const uint8_t *page = codes.data(), *rows = tables.bytes->data();
        table->lookup.scan(
            {head.n_subs, 1, 1, levels == 127, &page, &rows, 0, nullptr, nullptr, scores, kPage, &page_max, 1});
        for (uint32_t t = 0; t < kPage; ++t) {
          double exact = 0.0;
          for (uint32_t s = 0; s < head.n_subs; ++s) {
            for (uint32_t j = 0; j < d_sub; ++j) {
              exact += double{query[s * d_sub + j]} * head.centroid(s, j, code_of(page, s, t));
            }
          }
          // Half a step a row, and float roundings of at most a few hundred terms of size 10.
          const double bound = head.n_subs * (tables.step * 0.5) + 1e-3;
          CHECK(std::abs(tables.bias + double{tables.step} * scores[t] - exact) <= bound);
        }
      }
    }
  });
}

void test_nibble_dot() {
  std::mt19937 random(13);
  for (uint32_t round = 0; round < 90; ++round) {
    const uint32_t dims[] = {64, 80, 96, 128, 256, 2, 14, 30, 512};
    const uint32_t head_dim = dims[round % 9], n_pages = 1 + random() % 4, n_queries = 1 + random() % kLookupQueries;
    const Scan scan(random, head_dim, 0, n_pages, n_queries, 255);
    std::vector<std::unique_ptr<Array<int8_t>>> queries;
    std::vector<const int8_t*> rows;
    const bool extreme = round % 5 == 4;
    for (uint32_t i = 0; i < n_queries; ++i) {
      queries.push_back(std::make_unique<Array<int8_t>>(random, head_dim));
      for (uint32_t d = 0; d < head_dim; ++d) {
        (*queries.back())[d] =
            static_cast<int8_t>(extreme ? (i % 2 ? 127 : -127) : static_cast<int>(random() % 255) - 127);
      }
      rows.push_back(queries.back()->data());
    }
    if (extreme) {
      for (const auto& page : scan.pages) std::fill_n(page->data(), page->size(), uint8_t{0xff});
    }
    std::vector<int32_t> expected(size_t{n_queries} * n_pages * kPage);
    for (size_t k = 0; k < expected.size(); ++k) {
      const uint32_t i = static_cast<uint32_t>(k / (n_pages * kPage)), p = static_cast<uint32_t>(k % (n_pages * kPage));
      for (uint32_t d = 0; d < head_dim; ++d) {
        const uint8_t byte = scan.page_rows[p / kPage][d / 2 * kPage + 2 * (p % 16) + d % 2];
        expected[k] += (p % kPage < 16 ? byte & 15 : byte >> 4) * rows[i][d];
      }
    }
    for (const KernelTable* table : all_tables()) {
      Array<int32_t> sums(random, expected.size());
      table->lookup.nibble_dot({head_dim, n_pages, n_queries, scan.page_rows.data(), rows.data(), sums.data()});
      CHECK(sums.values() == expected);
    }
  }
}

}  // namespace

int main() {
  test_encode(), test_encode_poison();
  test_tables();
  test_tables_poison();
  test_scan();
  test_scan_limit();
  test_whole();
  test_nibble_dot();
  return lutra_test_summary();
}
