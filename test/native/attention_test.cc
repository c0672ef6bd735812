// Attention tiles: against a double softmax, SIMD against scalar bit for bit, independence of grouping, and garbage in
// slots no query sees.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "check.h"
#include "guarded_array.h"
#include "kernels/kernels.h"

using lutra::base::Isa;
using lutra::kernels::AttentionTileArgs;
using lutra::kernels::kernel_table;
using lutra::kernels::KernelTable;
using lutra::kernels::kPagePositions;
using lutra::kernels::kTilePositions;
using lutra_test::Guard;
using lutra_test::GuardedArray;

namespace {

constexpr uint32_t kPages = kTilePositions / kPagePositions;
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr uint16_t kHalfNan = 0x7e01;

std::vector<const KernelTable*> all_tables() {
  std::vector<const KernelTable*> tables;
  for (const Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kNeon}) {
    if (const KernelTable* table = kernel_table(isa)) tables.push_back(table);
  }
  return tables;
}

bool same_bits(float a, float b) {
  return (std::isnan(a) && std::isnan(b)) || std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
}

double half_value(uint16_t half) {
  const int exponent = (half >> 10) & 31, mantissa = half & 1023;
  const double magnitude = exponent == 0    ? std::ldexp(mantissa, -24)
                           : exponent == 31 ? (mantissa == 0 ? HUGE_VAL : std::nan(""))
                                            : std::ldexp(mantissa + 1024, exponent - 25);
  return half & 0x8000 ? -magnitude : magnitude;
}

/// One tile's pages (guarded, NaN in every slot nobody sees; null where no query looks) and its queries.
struct Tile {
  uint32_t head_dim;
  uint32_t begin;
  std::vector<std::vector<float>> queries;
  std::vector<uint32_t> first, last;
  std::unique_ptr<GuardedArray<uint16_t>> k[kPages], v[kPages];

  bool seen(uint32_t position) const {
    for (size_t i = 0; i < first.size(); ++i) {
      if (position >= first[i] && position < last[i]) return true;
    }
    return false;
  }

  void fill_pages(std::mt19937& random, const KernelTable& table) {
    std::normal_distribution<float> normal(0.0f, 1.0f);
    std::vector<float> row(head_dim);
    for (uint32_t p = 0; p < kPages; ++p) {
      k[p].reset();
      v[p].reset();
      bool any = false;
      for (uint32_t s = 0; s < kPagePositions; ++s) any = any || seen(begin + p * kPagePositions + s);
      if (!any) continue;
      const Guard guard = random() % 2 ? Guard::kBefore : Guard::kAfter;
      k[p] = std::make_unique<GuardedArray<uint16_t>>(head_dim * kPagePositions, guard);
      v[p] = std::make_unique<GuardedArray<uint16_t>>(head_dim * kPagePositions, guard);
      std::fill_n(k[p]->data(), k[p]->size(), kHalfNan);
      std::fill_n(v[p]->data(), v[p]->size(), kHalfNan);
      for (uint32_t s = 0; s < kPagePositions; ++s) {
        if (!seen(begin + p * kPagePositions + s)) continue;
        for (float& x : row) x = normal(random);
        table.store_key_f16(row.data(), head_dim, k[p]->data(), s);
        for (float& x : row) x = normal(random);
        table.store_value_f16(row.data(), head_dim, v[p]->data(), s);
      }
    }
  }
};

struct Output {
  std::vector<float> max, sum, acc;
};

/// Runs queries `chosen` of the tile in one call.
Output run(const KernelTable& table, const Tile& tile, const std::vector<size_t>& chosen) {
  const size_t n = chosen.size();
  Output out{std::vector<float>(n, 7.0f), std::vector<float>(n, 7.0f), std::vector<float>(n * tile.head_dim, 7.0f)};
  std::vector<const float*> queries;
  std::vector<uint32_t> first, last;
  for (const size_t i : chosen) {
    queries.push_back(tile.queries[i].data());
    first.push_back(tile.first[i]);
    last.push_back(tile.last[i]);
  }
  const uint16_t* k_pages[kPages];
  const uint16_t* v_pages[kPages];
  for (uint32_t p = 0; p < kPages; ++p) {
    k_pages[p] = tile.k[p] ? tile.k[p]->data() : nullptr;
    v_pages[p] = tile.v[p] ? tile.v[p]->data() : nullptr;
  }
  table.attention_tile_f16({tile.head_dim, static_cast<uint32_t>(n), queries.data(), first.data(), last.data(),
                            tile.begin, k_pages, v_pages, out.max.data(), out.sum.data(), out.acc.data()});
  return out;
}

std::vector<size_t> all_queries(const Tile& tile) {
  std::vector<size_t> all(tile.queries.size());
  for (size_t i = 0; i < all.size(); ++i) all[i] = i;
  return all;
}

/// Random ranges of every kind: whole, causal, window, one position, none, reaching outside the tile.
Tile random_tile(std::mt19937& random, uint32_t head_dim, uint32_t n_queries) {
  Tile tile;
  tile.head_dim = head_dim;
  tile.begin = kTilePositions * (random() % 3);
  std::normal_distribution<float> normal(0.0f, 1.5f / std::sqrt(static_cast<float>(head_dim)));
  const uint32_t kind = random() % 5;
  const uint32_t start = tile.begin + random() % kTilePositions;
  for (uint32_t i = 0; i < n_queries; ++i) {
    tile.queries.emplace_back(head_dim);
    for (float& x : tile.queries.back()) x = normal(random);
    uint32_t first = 0, last = start + i + 1;
    if (kind == 1) first = last > 40 ? last - 40 : 0;
    if (kind == 2) first = start, last = start + 1;
    if (kind == 3) first = tile.begin + random() % kTilePositions, last = first + random() % 300;
    if (kind == 4) last = 0xffffffffu;
    tile.first.push_back(first);
    tile.last.push_back(last);
  }
  return tile;
}

void compare_with_double(const Tile& tile, const Output& out, size_t i) {
  std::vector<double> scores;
  std::vector<uint32_t> positions;
  for (uint32_t t = 0; t < kTilePositions; ++t) {
    if (tile.begin + t < tile.first[i] || tile.begin + t >= tile.last[i]) continue;
    double score = 0.0;
    for (uint32_t d = 0; d < tile.head_dim; ++d) {
      score += tile.queries[i][d] * half_value((*tile.k[t / kPagePositions])[d * kPagePositions + t % kPagePositions]);
    }
    scores.push_back(score);
    positions.push_back(t);
  }
  const float* acc = out.acc.data() + i * tile.head_dim;
  if (scores.empty()) {
    CHECK(out.max[i] == -kInf);
    CHECK(out.sum[i] == 0.0f);
    CHECK(std::all_of(acc, acc + tile.head_dim, [](float x) { return x == 0.0f; }));
    return;
  }
  const double max = *std::max_element(scores.begin(), scores.end());
  double sum = 0.0;
  for (const double score : scores) sum += std::exp(score - max);
  // A score carries ≤ head_dim roundings of partial sums below ~8: typical error 1e-6, bound 512·8·6e-8 never reached.
  CHECK(std::abs(out.max[i] - max) <= 1e-5);
  CHECK(std::abs(out.sum[i] - sum) <= 3e-5 * sum);
  for (uint32_t d = 0; d < tile.head_dim; ++d) {
    double exact = 0.0;
    for (size_t j = 0; j < scores.size(); ++j) {
      const uint32_t t = positions[j];
      const uint16_t v = (*tile.v[t / kPagePositions])[(t % kPagePositions) * tile.head_dim + d];
      exact += std::exp(scores[j] - max) * half_value(v);
    }
    CHECK(std::abs(acc[d] - exact) <= 5e-5 * sum);
  }
}

bool same_query(const Output& a, size_t i, const Output& b, size_t j, uint32_t head_dim) {
  bool same = same_bits(a.max[i], b.max[j]) && same_bits(a.sum[i], b.sum[j]);
  for (uint32_t d = 0; d < head_dim; ++d) same = same && same_bits(a.acc[i * head_dim + d], b.acc[j * head_dim + d]);
  return same;
}

void test_random_tiles() {
  std::mt19937 random(11);
  const uint32_t dims[] = {8, 16, 24, 64, 72, 80, 128, 256, 512};
  for (int round = 0; round < 250; ++round) {
    const uint32_t head_dim = dims[static_cast<size_t>(round) % std::size(dims)];
    const uint32_t n = round < 60 ? 1 + static_cast<uint32_t>(round) % 19 : 1 + random() % 19;
    Tile tile = random_tile(random, head_dim, n);
    tile.fill_pages(random, *kernel_table(Isa::kScalar));
    const Output reference = run(*kernel_table(Isa::kScalar), tile, all_queries(tile));
    for (size_t i = 0; i < n; ++i) compare_with_double(tile, reference, i);
    for (const KernelTable* table : all_tables()) {
      const Output whole = run(*table, tile, all_queries(tile));
      for (size_t i = 0; i < n; ++i) {
        CHECK(same_query(whole, i, reference, i, head_dim));
        const Output alone = run(*table, tile, {i});
        CHECK(same_query(whole, i, alone, 0, head_dim));
      }
      std::vector<size_t> shuffled = all_queries(tile);
      std::shuffle(shuffled.begin(), shuffled.end(), random);
      const Output other = run(*table, tile, shuffled);
      for (size_t i = 0; i < n; ++i) CHECK(same_query(whole, shuffled[i], other, i, head_dim));
    }
  }
}

/// NaN and infinity that a query does see must show; other queries must not notice.
void test_poison() {
  std::mt19937 random(5);
  for (const KernelTable* table : all_tables()) {
    for (const uint16_t poison : {kHalfNan, uint16_t{0x7c00}}) {
      Tile tile = random_tile(random, 64, 7);
      for (uint32_t i = 0; i < 7; ++i) {
        tile.first[i] = tile.begin;
        tile.last[i] = tile.begin + 90 + i;
      }
      tile.fill_pages(random, *table);
      const Output clean = run(*table, tile, all_queries(tile));
      (*tile.v[2])[(93 - 64) * 64 + 3] = poison;  // position 93: queries 4.. see it
      const Output values = run(*table, tile, all_queries(tile));
      for (size_t i = 0; i < 7; ++i) {
        CHECK_EQ(std::isfinite(values.acc[i * 64 + 3]), i < 4);
        CHECK(same_bits(values.acc[i * 64 + 4], clean.acc[i * 64 + 4]));
      }
      for (uint32_t d = 0; d < 64; ++d) (*tile.k[2])[d * kPagePositions + (93 - 64)] = poison;
      const Output keys = run(*table, tile, all_queries(tile));
      for (size_t i = 0; i < 4; ++i) CHECK(same_query(keys, i, clean, i, 64));
      for (size_t i = 4; i < 7; ++i) CHECK(!std::isfinite(keys.sum[i]) && std::isnan(keys.acc[i * 64 + 9]));
    }
  }
}

void test_half_stores() {
  std::vector<float> values = {0.0f,          -0.0f,        1.0f,          65504.0f,      65519.9f,      65520.0f,
                               -1e6f,         kInf,         5.9604645e-8f, 2.9802322e-8f, 2.9802326e-8f, 8.940697e-8f,
                               6.1035156e-5f, 6.097555e-5f, 1e-10f,        std::nanf("")};
  std::mt19937 random(3);
  while (values.size() < 4096) values.push_back(std::bit_cast<float>(static_cast<uint32_t>(random())));
  for (uint32_t bits = 0x38000000u; values.size() < 8192; bits += 0x1000u) values.push_back(std::bit_cast<float>(bits));
  std::vector<uint16_t> expected(8192 * kPagePositions);
  for (uint32_t begin = 0; begin < 8192; begin += 512) {
    for (const KernelTable* table : all_tables()) {
      GuardedArray<float> in(512, Guard::kAfter);
      in.copy_from(values.data() + begin);
      GuardedArray<uint16_t> key(512 * kPagePositions, Guard::kAfter), value(512 * kPagePositions, Guard::kAfter);
      table->store_key_f16(in.data(), 512, key.data(), 31);
      table->store_value_f16(in.data(), 512, value.data(), 31);
      for (uint32_t d = 0; d < 512; ++d) {
        const uint16_t half = value[31 * 512 + d];
        CHECK_EQ(key[d * kPagePositions + 31], half);
        CHECK_EQ(key[d * kPagePositions + 30], 0);
        const double x = in[d], y = half_value(half);
        if (std::isnan(x)) {
          CHECK(std::isnan(y));
        } else if (std::abs(x) >= 65520.0) {
          CHECK(std::isinf(y) && std::signbit(x) == std::signbit(y));
        } else {
          int exponent = 0;
          std::frexp(x, &exponent);
          const double unit = std::ldexp(1.0, std::max(exponent - 11, -24));
          CHECK(std::abs(x - y) <= unit / 2 && std::signbit(x) == std::signbit(y));
          CHECK(std::abs(x - y) < unit / 2 || (half & 1) == 0);
        }
      }
    }
  }
}

void test_merge() {
  std::mt19937 random(17);
  for (const uint32_t head_dim : {8u, 64u, 136u}) {
    Tile tile = random_tile(random, head_dim, 1);
    tile.begin = 0;
    Output reference;
    for (const KernelTable* table : all_tables()) {
      random.seed(head_dim);
      float max = -kInf, sum = 0.0f;
      std::vector<float> acc(head_dim, std::nanf(""));  // an empty state's contents must not matter
      double exact_sum = 0.0, exact = 0.0;
      std::normal_distribution<float> normal(0.0f, 3.0f);
      GuardedArray<float> tile_acc(head_dim, Guard::kAfter);
      for (int part = 0; part < 6; ++part) {
        const float tile_max = part % 3 == 1 ? -kInf : normal(random);
        for (uint32_t d = 0; d < head_dim; ++d) tile_acc[d] = normal(random);
        table->attention_merge(&max, &sum, acc.data(), tile_max, 2.0f, tile_acc.data(), head_dim);
        if (part % 3 == 1) continue;
        exact_sum += 2.0 * std::exp(double{tile_max});
        exact += tile_acc[3] * std::exp(double{tile_max});
      }
      CHECK(std::abs(sum - exact_sum / std::exp(double{max})) <= 1e-5);
      CHECK(std::abs(acc[3] - exact / std::exp(double{max})) <= 1e-5);
      if (reference.acc.empty()) reference = {{max}, {sum}, acc};
      CHECK(same_query({{max}, {sum}, acc}, 0, reference, 0, head_dim));
      table->attention_merge(&max, &sum, acc.data(), std::nanf(""), 1.0f, tile_acc.data(), head_dim);
      CHECK(std::isnan(max) && std::isnan(sum) && std::isnan(acc[0]));
    }
  }
}

}  // namespace

int main() {
  test_random_tiles();
  test_poison();
  test_half_stores();
  test_merge();
  return lutra_test_summary();
}
