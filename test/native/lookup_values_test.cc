// Rows of 8 bits, attention over listed ones, and tiles whose scores come from tables: against a double softmax, SIMD
// against scalar bit for bit, and garbage in every slot that no query may read.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "check.h"
#include "guarded_array.h"
#include "kernel_fixture.h"
#include "kernels/kernels.h"

using namespace lutra::kernels;
using lutra::base::Isa;
using lutra_test::all_tables;
using lutra_test::Guard;
using lutra_test::GuardedArray;
using lutra_test::half_at;
using lutra_test::half_value;
using lutra_test::same_bits;

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr uint8_t kGarbage = 0x7e;  // as a half, 0x7e7e, it is a NaN
constexpr KvType kTypes[] = {KvType::kF16, KvType::kQ8_0};

/// Position-major pages with guards; slots without a row hold NaN (f16) or a NaN scale (q8_0), pages without one are
/// null.
class Rows {
 public:
  Rows(KvType type, uint32_t head_dim, uint32_t n_pages) : type_(type), head_dim_(head_dim), pages_(n_pages) {}

  void store(uint32_t position, const std::vector<float>& row, Guard guard) {
    auto& page = pages_[position / kPagePositions];
    if (page == nullptr) {
      page = std::make_unique<GuardedArray<uint8_t>>(kv_page_bytes(type_, head_dim_), guard);
      std::fill_n(page->data(), page->size(), kGarbage);
    }
    const auto store_value = kernel_table(Isa::kScalar)->store_value[static_cast<size_t>(type_)];
    store_value(row.data(), head_dim_, page->data(), position % kPagePositions);
  }
  double at(uint32_t position, uint32_t d) const {
    const uint8_t* page = pages_[position / kPagePositions]->data();
    const uint64_t i = uint64_t{position % kPagePositions} * head_dim_ + d;
    if (type_ == KvType::kF16) return half_value(half_at(page, i));
    const uint8_t* scales = page + uint64_t{head_dim_} * kPagePositions;
    return half_value(half_at(scales, d / 32 * kPagePositions + position % kPagePositions)) *
           static_cast<int8_t>(page[i]);
  }
  /// Puts a half in place of a row's elements of f16, or of the scales of q8_0.
  void poison(uint32_t position, uint16_t half) {
    uint8_t* page = pages_[position / kPagePositions]->data();
    const uint32_t slot = position % kPagePositions;
    for (uint32_t d = 0; d < head_dim_; ++d) {
      const uint64_t scale = uint64_t{head_dim_} * kPagePositions + 2 * (d / 32 * kPagePositions + slot);
      std::memcpy(page + (type_ == KvType::kF16 ? 2 * (uint64_t{slot} * head_dim_ + d) : scale), &half, sizeof half);
    }
  }
  std::vector<const uint8_t*> pointers() const {
    std::vector<const uint8_t*> pointers;
    for (const auto& page : pages_) pointers.push_back(page ? page->data() : nullptr);
    return pointers;
  }

 private:
  KvType type_;
  uint32_t head_dim_;
  std::vector<std::unique_ptr<GuardedArray<uint8_t>>> pages_;
};

struct Output {
  std::vector<float> max, sum, acc;
};

bool same_query(const Output& a, size_t i, const Output& b, size_t j, uint32_t head_dim) {
  bool same = same_bits(a.max[i], b.max[j]) && same_bits(a.sum[i], b.sum[j]);
  for (uint32_t d = 0; d < head_dim; ++d) same = same && same_bits(a.acc[i * head_dim + d], b.acc[j * head_dim + d]);
  return same;
}

std::vector<float> normals(std::mt19937& random, uint32_t n, float size) {
  std::normal_distribution<float> normal(0.0f, size);
  std::vector<float> values(n);
  for (float& value : values) value = normal(random);
  return values;
}

/// Scores of one query in double: max, sum and acc must be those of a softmax over them. value(position, dimension).
template <typename Value>
void compare_softmax(const Output& out, size_t i, const std::vector<double>& scores,
                     const std::vector<uint32_t>& positions, Value value) {
  const size_t head_dim = out.acc.size() / out.max.size();
  const float* acc = out.acc.data() + i * head_dim;
  if (scores.empty()) {
    CHECK(out.max[i] == -kInf && out.sum[i] == 0.0f);
    CHECK(std::all_of(acc, acc + head_dim, [](float x) { return x == 0.0f; }));
    return;
  }
  const double max = *std::max_element(scores.begin(), scores.end());
  double sum = 0.0;
  for (const double score : scores) sum += std::exp(score - max);
  CHECK(std::abs(out.max[i] - max) <= 1e-5);
  CHECK(std::abs(out.sum[i] - sum) <= 3e-5 * sum);
  for (uint32_t d = 0; d < head_dim; ++d) {
    double exact = 0.0;
    for (size_t j = 0; j < scores.size(); ++j) exact += std::exp(scores[j] - max) * value(positions[j], d);
    CHECK(std::abs(acc[d] - exact) <= 5e-5 * sum);
  }
}

/// Pages of rows of 8 bits with guards, and the elements they were packed from.
struct Packed {
  Packed(std::mt19937& random, KvType type, uint32_t head_dim, uint32_t n_pages) : head_dim(head_dim) {
    for (uint32_t page = 0; page < n_pages; ++page) {
      keys.push_back(normals(random, head_dim * kPagePositions, 1.0f));
      values.emplace_back(type, head_dim, 1);
      const Guard guard = random() % 2 ? Guard::kBefore : Guard::kAfter;
      for (uint32_t slot = 0; slot < kPagePositions; ++slot) {
        values.back().store(slot, normals(random, head_dim, 1.0f), Guard::kAfter);
      }
      pages.push_back(std::make_unique<GuardedArray<uint8_t>>(lookup_rows_bytes(head_dim), guard));
      pack(*kernel_table(Isa::kScalar), type, page, *pages.back());
    }
  }
  void pack(const KernelTable& table, KvType type, uint32_t page, GuardedArray<uint8_t>& rows) const {
    GuardedArray<float> guarded(keys[page].size(), Guard::kAfter);
    guarded.copy_from(keys[page].data());
    std::fill_n(rows.data(), rows.size(), kGarbage);
    table.lookup.pack[static_cast<size_t>(type)]({head_dim, guarded.data(), values[page].pointers()[0], rows.data()});
  }
  /// Dimension d of a key (0) or value (1).
  uint8_t& code(uint32_t p, int which, uint32_t d) const {
    const uint64_t row = static_cast<uint64_t>(which) * kPagePositions + p % kPagePositions;
    return pages[p / kPagePositions]->data()[row * head_dim + d];
  }
  void fill(uint32_t p, int which, int code_of_all) const {
    for (uint32_t d = 0; d < head_dim; ++d) code(p, which, d) = static_cast<uint8_t>(code_of_all);
  }
  /// Of a key (0) or value (1).
  uint16_t& scale(uint32_t p, int which) const {
    uint8_t* scales = pages[p / kPagePositions]->data() + uint64_t{kPagePositions} * 2 * head_dim;
    return reinterpret_cast<uint16_t*>(scales)[p % kPagePositions * 2 + static_cast<uint32_t>(which)];
  }
  double at(uint32_t p, int which, uint32_t d) const {
    return double{std::bit_cast<float>(uint32_t{scale(p, which)} << 16)} * static_cast<int8_t>(code(p, which, d));
  }
  double original(uint32_t p, int which, uint32_t d) const {
    return which == 0 ? double{keys[p / kPagePositions][d * kPagePositions + p % kPagePositions]}
                      : values[p / kPagePositions].at(p % kPagePositions, d);
  }

  uint32_t head_dim;
  std::vector<std::vector<float>> keys;  ///< [pages] → [head_dim][32]
  std::vector<Rows> values;              ///< [pages], of one page each
  std::vector<std::unique_ptr<GuardedArray<uint8_t>>> pages;
};

/// All tables write the bytes of scalar.
void check_pack(const Packed& packed, KvType type, uint32_t page) {
  for (const KernelTable* table : all_tables()) {
    GuardedArray<uint8_t> rows(packed.pages[page]->size(), Guard::kAfter);
    packed.pack(*table, type, page, rows);
    CHECK(std::memcmp(rows.data(), packed.pages[page]->data(), rows.size()) == 0);
  }
}

/// Half a code from what was packed, and what is not finite or too small shows in the scale.
void test_pack(KvType type) {
  std::mt19937 random(5);
  const float odd[] = {0.0f, -0.0f, 0x1p-120f, 0x1p-100f, 3e38f, kInf, -kInf, std::nanf("")};
  for (const uint32_t head_dim : {8u, 64u, 72u, 80u, 96u, 128u, 256u}) {
    Packed packed(random, type, head_dim, 2);
    for (int which = 0; which < 2; ++which) {
      for (uint32_t p = 0; p < 2 * kPagePositions; ++p) {
        const double step = std::bit_cast<float>(uint32_t{packed.scale(p, which)} << 16);
        double largest = 0;
        for (uint32_t d = 0; d < head_dim; ++d) {
          largest = std::max(largest, std::abs(packed.original(p, which, d)));
          CHECK(std::abs(packed.at(p, which, d) - packed.original(p, which, d)) <= 0.5001 * step);
        }
        CHECK(step >= largest / 127 * 0.9999999 && step <= largest / 127 * 1.008);
      }
    }
    check_pack(packed, type, 0);
    for (uint32_t i = 0; i < std::size(odd); ++i) {
      const bool small = std::abs(odd[i]) < 0x1p-100f;
      for (uint32_t d = 0; d < head_dim; ++d) {
        float& key = packed.keys[1][d * kPagePositions + i];
        key = small || d == 3 ? odd[i] : key;
      }
    }
    packed.values[1].poison(5, 0x7e01);
    packed.pack(*kernel_table(Isa::kScalar), type, 1, *packed.pages[1]);
    const auto scale_at = [&](uint32_t i) { return std::bit_cast<float>(uint32_t{packed.scale(32 + i, 0)} << 16); };
    CHECK(scale_at(0) == 0 && scale_at(1) == 0 && scale_at(2) == 0 && scale_at(3) > 0 && scale_at(4) > 2e36f);
    CHECK(scale_at(5) == kInf && scale_at(6) == kInf && std::isnan(scale_at(7)));
    CHECK((packed.scale(32 + 5, 1) & 0x7fff) > 0x7f80);
    for (const uint32_t p : {32u, 34u, 37u, 39u}) CHECK(packed.code(p, 0, 0) == 0 && packed.code(p, 0, 3) == 0);
    check_pack(packed, type, 1);
  }
}

struct Listed {
  std::vector<uint32_t> selected;
  std::vector<std::vector<int16_t>> queries;
  std::vector<float> query_scales, query_biases;
  Packed rows;
};

Listed random_listed(std::mt19937& random, KvType type, uint32_t head_dim, uint32_t n_queries, uint32_t n_selected) {
  const uint32_t n_positions =
      std::max(64u, n_selected * (1 + static_cast<uint32_t>(random() % 4)) + 31) / kPagePositions * kPagePositions;
  Listed listed{{}, {}, {}, {}, Packed(random, type, head_dim, n_positions / kPagePositions)};
  std::vector<uint32_t> all(n_positions);
  for (uint32_t p = 0; p < n_positions; ++p) all[p] = p;
  std::sample(all.begin(), all.end(), std::back_inserter(listed.selected), n_selected, random);
  // Nothing of a page of which no position is listed may be read, nor rows between the listed.
  for (uint32_t p = 0; p < n_positions; ++p) {
    if (std::binary_search(listed.selected.begin(), listed.selected.end(), p)) continue;
    for (const int which : {0, 1}) listed.rows.fill(p, which, kGarbage);
    listed.rows.scale(p, 0) = listed.rows.scale(p, 1) = 0x7fc0;
  }
  for (uint32_t i = 0; i < n_queries; ++i) {
    listed.queries.emplace_back(head_dim);
    for (int16_t& code : listed.queries.back()) code = static_cast<int16_t>(static_cast<int>(random() % 65535) - 32767);
    if (i % 4 == 3) std::fill(listed.queries.back().begin(), listed.queries.back().end(), int16_t{-32767});
    listed.query_scales.push_back(1e-4f / std::sqrt(static_cast<float>(head_dim)) / static_cast<float>(1 + i % 3));
    listed.query_biases.push_back(static_cast<float>(i) - 1.5f);
  }
  return listed;
}

/// Runs queries [from, from + n); everything is guarded.
Output run(const KernelTable& table, const Listed& listed, uint32_t from, uint32_t n) {
  const uint32_t head_dim = listed.rows.head_dim, n_selected = static_cast<uint32_t>(listed.selected.size());
  std::vector<std::unique_ptr<GuardedArray<int16_t>>> queries;
  std::vector<const int16_t*> pointers;
  for (uint32_t i = from; i < from + n; ++i) {
    queries.push_back(std::make_unique<GuardedArray<int16_t>>(head_dim, Guard::kAfter));
    queries.back()->copy_from(listed.queries[i].data());
    pointers.push_back(queries.back()->data());
  }
  GuardedArray<uint32_t> selected(n_selected, Guard::kAfter);
  selected.copy_from(listed.selected.data());
  const uint64_t stride = (n_selected + 15) / 16 * 16;
  GuardedArray<float> scores(n * stride, Guard::kAfter), max(n, Guard::kAfter), sum(n, Guard::kAfter);
  GuardedArray<float> acc(uint64_t{n} * head_dim, Guard::kAfter);
  std::fill_n(scores.data(), scores.size(), std::nanf(""));
  std::fill_n(acc.data(), acc.size(), std::nanf(""));
  std::vector<const uint8_t*> rows;
  for (const auto& page : listed.rows.pages) rows.push_back(page->data());
  table.lookup.refine({head_dim, n, pointers.data(), listed.query_scales.data() + from,
                       listed.query_biases.data() + from, n_selected, selected.data(), rows.data(), scores.data(),
                       stride, max.data(), sum.data(), acc.data()});
  return {{max.data(), max.data() + n}, {sum.data(), sum.data() + n}, {acc.data(), acc.data() + acc.size()}};
}

/// Every table gives the bits of scalar, for the queries together and alone.
void check_tables(const Listed& listed, const Output& reference) {
  const uint32_t n = static_cast<uint32_t>(listed.queries.size());
  for (const KernelTable* table : all_tables()) {
    const Output whole = run(*table, listed, 0, n);
    for (uint32_t i = 0; i < n; ++i) {
      CHECK(same_query(whole, i, reference, i, listed.rows.head_dim));
      if (i % 5 == 0) CHECK(same_query(run(*table, listed, i, 1), 0, reference, i, listed.rows.head_dim));
    }
  }
}

void compare_with_double(const Listed& listed, const Output& out, size_t i) {
  std::vector<double> scores;
  for (const uint32_t p : listed.selected) {
    double score = 0.0;
    for (uint32_t d = 0; d < listed.rows.head_dim; ++d) score += listed.queries[i][d] * listed.rows.at(p, 0, d);
    scores.push_back(score * listed.query_scales[i] + listed.query_biases[i]);
  }
  compare_softmax(out, i, scores, listed.selected, [&](uint32_t p, uint32_t d) { return listed.rows.at(p, 1, d); });
}

void test_lists(KvType type) {
  std::mt19937 random(7);
  uint32_t n_queries = 0;
  for (const uint32_t head_dim : {8u, 64u, 72u, 80u, 96u, 128u, 256u}) {
    for (const uint32_t n_selected : {0u, 1u, 7u, 8u, 9u, 200u, 1000u}) {
      for (int repeat = 0; repeat < (n_selected < 1000 ? 3 : 1); ++repeat) {
        n_queries = n_queries % kLookupQueries + 1;
        const Listed listed = random_listed(random, type, head_dim, n_queries, n_selected);
        const Output reference = run(*kernel_table(Isa::kScalar), listed, 0, n_queries);
        for (uint32_t i = 0; i < n_queries; i += 3) compare_with_double(listed, reference, i);
        check_tables(listed, reference);
      }
    }
  }
}

/// The largest sums there are, exactly.
void test_extremes() {
  std::mt19937 random(8);
  Listed listed = random_listed(random, KvType::kF16, 512, 3, 17);
  for (const uint32_t p : listed.selected) {
    for (const int which : {0, 1}) listed.rows.fill(p, which, p % 2 ? 127 : -127);
    listed.rows.scale(p, 0) = 0x3f80;
  }
  for (int i = 0; i < 3; ++i) {
    std::fill(listed.queries[i].begin(), listed.queries[i].end(), static_cast<int16_t>(i == 1 ? -32767 : 32767));
    listed.query_scales[i] = 0x1p-20f;
    listed.query_biases[i] = 0;
  }
  const Output reference = run(*kernel_table(Isa::kScalar), listed, 0, 3);
  CHECK(reference.max[0] == 512.0f * 127 * 32767 * 0x1p-20f);
  check_tables(listed, reference);
}

/// NaN and infinities that are listed must show; scores of -inf alone leave nothing to add.
void test_poison() {
  std::mt19937 random(9);
  for (const uint16_t scale : {uint16_t{0x7fc0}, uint16_t{0x7f80}, uint16_t{0xff80}}) {
    Listed keys = random_listed(random, KvType::kF16, 64, 5, 37);
    keys.rows.scale(keys.selected[33], 0) = scale;
    const Output reference = run(*kernel_table(Isa::kScalar), keys, 0, 5);
    if (scale == 0x7fc0) CHECK(std::isnan(reference.max[4]) && std::isnan(reference.sum[4]) && reference.acc[9] != 0);
    check_tables(keys, reference);

    Listed values = random_listed(random, KvType::kF16, 64, 5, 37);
    values.rows.scale(values.selected[36], 1) = scale;
    const Output seen = run(*kernel_table(Isa::kScalar), values, 0, 5);
    CHECK(std::isfinite(seen.sum[2]) && !std::isfinite(seen.acc[2 * 64 + 5]));
    check_tables(values, seen);
  }
  Listed query = random_listed(random, KvType::kF16, 64, 2, 11);
  query.query_scales[0] = std::nanf("");
  const Output unknown = run(*kernel_table(Isa::kScalar), query, 0, 2);
  CHECK(std::isnan(unknown.max[0]) && std::isfinite(unknown.max[1]));
  check_tables(query, unknown);

  Listed lowest = random_listed(random, KvType::kF16, 64, 2, 11);
  std::fill(lowest.queries[1].begin(), lowest.queries[1].end(), int16_t{-32767});
  for (const uint32_t p : lowest.selected) {
    lowest.rows.fill(p, 0, 100);
    lowest.rows.scale(p, 0) = 0x7f80;
  }
  const Output nothing = run(*kernel_table(Isa::kScalar), lowest, 0, 2);
  CHECK(nothing.max[1] == -kInf && nothing.sum[1] == 0.0f && nothing.acc[64 + 3] == 0.0f);
  check_tables(lowest, nothing);
}

struct LookupTile {
  uint32_t begin;
  std::vector<uint32_t> first, last;
  std::vector<float> steps, biases;
  std::vector<std::vector<uint16_t>> scores;
};

/// Ranges of every kind; a query's scores end with the last page it sees.
LookupTile random_tile(std::mt19937& random, uint32_t n_queries) {
  LookupTile tile;
  tile.begin = kTilePositions * (random() % 3);
  for (uint32_t i = 0; i < n_queries; ++i) {
    const uint32_t kind = random() % 4;
    uint32_t first = 0, last = tile.begin + 1 + random() % kTilePositions;
    if (kind == 1) first = tile.begin + random() % kTilePositions, last = first + random() % 90;
    if (kind == 2) last = 0xffffffffu;
    if (kind == 3 && random() % 3 == 0) last = 0;
    tile.first.push_back(first);
    tile.last.push_back(last);
    const uint32_t end = std::min(last, tile.begin + kTilePositions);
    const uint32_t pages = end > tile.begin ? (end - tile.begin + kPagePositions - 1) / kPagePositions : 0;
    tile.scores.emplace_back(pages * kPagePositions);
    for (uint16_t& score : tile.scores.back()) score = static_cast<uint16_t>(random());
    tile.steps.push_back(0.0002f * static_cast<float>(random() % 1000) / 1000.0f);
    tile.biases.push_back(static_cast<float>(random() % 100) - 50.0f);
  }
  return tile;
}

Output run(const KernelTable& table, KvType type, uint32_t head_dim, const LookupTile& tile, const Rows& values) {
  const uint32_t n = static_cast<uint32_t>(tile.first.size());
  std::vector<std::unique_ptr<GuardedArray<uint16_t>>> scores;
  std::vector<const uint16_t*> pointers;
  for (const std::vector<uint16_t>& own : tile.scores) {
    scores.push_back(std::make_unique<GuardedArray<uint16_t>>(own.size(), Guard::kAfter));
    scores.back()->copy_from(own.data());
    pointers.push_back(scores.back()->data());
  }
  GuardedArray<float> acc(uint64_t{n} * head_dim, Guard::kAfter), max(n, Guard::kAfter), sum(n, Guard::kAfter);
  std::fill_n(acc.data(), acc.size(), std::nanf(""));
  table.lookup.tile[static_cast<size_t>(type)]({head_dim, n, pointers.data(), tile.steps.data(), tile.biases.data(),
                                                tile.first.data(), tile.last.data(), tile.begin,
                                                values.pointers().data(), max.data(), sum.data(), acc.data()});
  return {{max.data(), max.data() + n}, {sum.data(), sum.data() + n}, {acc.data(), acc.data() + acc.size()}};
}

void test_tiles(KvType type) {
  std::mt19937 random(13);
  const uint32_t dims[] = {64, 80, 96, 128, 256};
  for (int round = 0; round < 80; ++round) {
    const uint32_t head_dim = dims[round % 5], n = 1 + static_cast<uint32_t>(round) % kLookupQueries;
    LookupTile tile = random_tile(random, n);
    if (round % 10 == 9) tile.steps[0] = std::nanf("");
    Rows values(type, head_dim, kTilePages);
    for (uint32_t t = 0; t < kTilePositions; ++t) {
      bool seen = false;
      for (uint32_t i = 0; i < n; ++i) seen |= tile.begin + t >= tile.first[i] && tile.begin + t < tile.last[i];
      if (seen) values.store(t, normals(random, head_dim, 1.0f), Guard::kAfter);
    }
    const Output reference = run(*kernel_table(Isa::kScalar), type, head_dim, tile, values);
    for (uint32_t i = 0; i < n; ++i) {
      std::vector<double> scores;
      std::vector<uint32_t> positions;
      for (uint32_t t = 0; t < kTilePositions; ++t) {
        if (tile.begin + t < tile.first[i] || tile.begin + t >= tile.last[i]) continue;
        scores.push_back(double{tile.steps[i]} * tile.scores[i][t] + tile.biases[i]);
        positions.push_back(t);
      }
      if (std::isnan(tile.steps[i]) && !scores.empty()) {
        CHECK(std::isnan(reference.max[i]) && std::isnan(reference.sum[i]));
      } else {
        compare_softmax(reference, i, scores, positions, [&](uint32_t t, uint32_t d) { return values.at(t, d); });
      }
    }
    for (const KernelTable* table : all_tables()) {
      const Output out = run(*table, type, head_dim, tile, values);
      for (uint32_t i = 0; i < n; ++i) CHECK(same_query(out, i, reference, i, head_dim));
    }
  }
}

}  // namespace

int main() {
  for (const KvType type : kTypes) {
    test_pack(type);
    test_lists(type);
    test_tiles(type);
  }
  test_extremes();
  test_poison();
  return lutra_test_summary();
}
