// Attention tiles over f16 and q8_0 pages: against a double softmax, SIMD against scalar bit for bit, independence of
// grouping, and garbage in slots no query sees.
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

using lutra::base::Isa;
using lutra::kernels::AttentionTileArgs;
using lutra::kernels::kernel_table;
using lutra::kernels::KernelTable;
using lutra::kernels::kPagePositions;
using lutra::kernels::kTilePositions;
using lutra::kernels::kTileQueries;
using lutra::kernels::kv_page_bytes;
using lutra::kernels::KvType;
using lutra_test::all_tables;
using lutra_test::Guard;
using lutra_test::GuardedArray;
using lutra_test::half_at;
using lutra_test::half_value;
using lutra_test::same_bits;

namespace {

constexpr uint32_t kPages = kTilePositions / kPagePositions;
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr uint16_t kHalfNan = 0x7e01;
constexpr uint8_t kGarbage = 0x7e;  // as a half, 0x7e7e, it is a NaN
constexpr KvType kTypes[] = {KvType::kF16, KvType::kQ8_0};

/// Element `i` of a page, dimension d of a slot.
double element(KvType type, const uint8_t* page, uint32_t head_dim, uint64_t i, uint32_t d, uint32_t slot) {
  if (type == KvType::kF16) return half_value(half_at(page, i));
  const uint16_t scale = half_at(page + uint64_t{head_dim} * kPagePositions, d / 32 * kPagePositions + slot);
  return half_value(scale) * static_cast<int8_t>(page[i]);
}

/// One tile's pages (guarded, NaN in every slot nobody sees; null where no query looks) and its queries.
struct Tile {
  KvType type;
  uint32_t head_dim;
  uint32_t begin;
  std::vector<std::vector<float>> queries;
  std::vector<uint32_t> first, last;
  std::unique_ptr<GuardedArray<uint8_t>> k[kPages], v[kPages];

  double key(uint32_t t, uint32_t d) const {
    const uint32_t slot = t % kPagePositions;
    return element(type, k[t / kPagePositions]->data(), head_dim, uint64_t{d} * kPagePositions + slot, d, slot);
  }
  double value(uint32_t t, uint32_t d) const {
    const uint32_t slot = t % kPagePositions;
    return element(type, v[t / kPagePositions]->data(), head_dim, uint64_t{slot} * head_dim + d, d, slot);
  }
  /// Puts a half in place of an element of f16, or of the scale it has in q8_0.
  void poison(GuardedArray<uint8_t>& page, uint64_t i, uint32_t d, uint32_t slot, uint16_t half) const {
    const uint64_t scale = uint64_t{d} / 32 * kPagePositions + slot;
    const uint64_t at = type == KvType::kF16 ? 2 * i : uint64_t{head_dim} * kPagePositions + 2 * scale;
    std::memcpy(page.data() + at, &half, sizeof half);
  }

  bool seen(uint32_t position) const {
    for (size_t i = 0; i < first.size(); ++i) {
      if (position >= first[i] && position < last[i]) return true;
    }
    return false;
  }

  /// `spread` 0: all keys are equal.
  void fill_pages(std::mt19937& random, const KernelTable& table, float spread = 1.0f) {
    std::normal_distribution<float> normal(0.0f, 1.0f);
    std::vector<float> row(head_dim);
    for (uint32_t p = 0; p < kPages; ++p) {
      k[p].reset();
      v[p].reset();
      bool any = false;
      for (uint32_t s = 0; s < kPagePositions; ++s) any = any || seen(begin + p * kPagePositions + s);
      if (!any) continue;
      const Guard guard = random() % 2 ? Guard::kBefore : Guard::kAfter;
      k[p] = std::make_unique<GuardedArray<uint8_t>>(kv_page_bytes(type, head_dim), guard);
      v[p] = std::make_unique<GuardedArray<uint8_t>>(kv_page_bytes(type, head_dim), guard);
      std::fill_n(k[p]->data(), k[p]->size(), kGarbage);
      std::fill_n(v[p]->data(), v[p]->size(), kGarbage);
      for (uint32_t s = 0; s < kPagePositions; ++s) {
        if (!seen(begin + p * kPagePositions + s)) continue;
        for (float& x : row) x = spread == 0.0f ? 0.75f : spread * normal(random);
        table.store_key[static_cast<size_t>(type)](row.data(), head_dim, k[p]->data(), s);
        for (float& x : row) x = normal(random);
        table.store_value[static_cast<size_t>(type)](row.data(), head_dim, v[p]->data(), s);
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
  const uint8_t* k_pages[kPages];
  const uint8_t* v_pages[kPages];
  for (uint32_t p = 0; p < kPages; ++p) {
    k_pages[p] = tile.k[p] ? tile.k[p]->data() : nullptr;
    v_pages[p] = tile.v[p] ? tile.v[p]->data() : nullptr;
  }
  table.attention_tile[static_cast<size_t>(tile.type)]({tile.head_dim, static_cast<uint32_t>(n), queries.data(),
                                                        first.data(), last.data(), tile.begin, k_pages, v_pages,
                                                        out.max.data(), out.sum.data(), out.acc.data()});
  return out;
}

std::vector<size_t> all_queries(const Tile& tile) {
  std::vector<size_t> all(tile.queries.size());
  for (size_t i = 0; i < all.size(); ++i) all[i] = i;
  return all;
}

/// Random ranges of every kind: whole, causal, window, one position, none, reaching outside the tile.
Tile random_tile(std::mt19937& random, KvType type, uint32_t head_dim, uint32_t n_queries) {
  Tile tile;
  tile.type = type;
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
      score += tile.queries[i][d] * tile.key(t, d);
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
      exact += std::exp(scores[j] - max) * tile.value(positions[j], d);
    }
    CHECK(std::abs(acc[d] - exact) <= 5e-5 * sum);
  }
}

bool same_query(const Output& a, size_t i, const Output& b, size_t j, uint32_t head_dim) {
  bool same = same_bits(a.max[i], b.max[j]) && same_bits(a.sum[i], b.sum[j]);
  for (uint32_t d = 0; d < head_dim; ++d) same = same && same_bits(a.acc[i * head_dim + d], b.acc[j * head_dim + d]);
  return same;
}

/// Every table gives the bits of `reference` for the queries together, alone and in another order.
void check_tables(const Tile& tile, const Output& reference, std::mt19937& random) {
  const size_t n = tile.queries.size();
  for (const KernelTable* table : all_tables()) {
    const Output whole = run(*table, tile, all_queries(tile));
    for (size_t i = 0; i < n; ++i) {
      CHECK(same_query(whole, i, reference, i, tile.head_dim));
      const Output alone = run(*table, tile, {i});
      CHECK(same_query(whole, i, alone, 0, tile.head_dim));
    }
    std::vector<size_t> shuffled = all_queries(tile);
    std::shuffle(shuffled.begin(), shuffled.end(), random);
    const Output other = run(*table, tile, shuffled);
    for (size_t i = 0; i < n; ++i) CHECK(same_query(whole, shuffled[i], other, i, tile.head_dim));
  }
}

void test_random_tiles(KvType type) {
  std::mt19937 random(11);
  const uint32_t dims[] = {8, 16, 24, 32, 64, 72, 80, 96, 128, 256, 512};
  for (int round = 0; round < 170; ++round) {
    const uint32_t head_dim = dims[static_cast<size_t>(round) % std::size(dims)];
    uint32_t n = round < 60 ? 1 + static_cast<uint32_t>(round) % 19 : 1 + random() % 19;
    if (round % 24 == 4) n = round % 48 == 4 ? kTileQueries : 20 + random() % 44;
    Tile tile = random_tile(random, type, head_dim, n);
    tile.fill_pages(random, *kernel_table(Isa::kScalar));
    const Output reference = run(*kernel_table(Isa::kScalar), tile, all_queries(tile));
    for (size_t i = 0; i < n; ++i) compare_with_double(tile, reference, i);
    check_tables(tile, reference, random);
  }
}

/// Scores that overflow, vanish, or are all the same; zeros of either sign.
void test_extremes(KvType type) {
  std::mt19937 random(29);
  for (const uint32_t head_dim : {32u, 64u, 80u}) {
    for (const float size : {3e38f, 1e4f, 1.0f, 1e-30f, 1e-40f, 0.0f, -0.0f}) {
      for (const float spread : {6e4f, 1.0f, 1e-6f, 0.0f}) {
        Tile tile = random_tile(random, type, head_dim, 8);
        for (std::vector<float>& query : tile.queries) {
          for (float& x : query) x *= size;
        }
        tile.fill_pages(random, *kernel_table(Isa::kScalar), spread);
        check_tables(tile, run(*kernel_table(Isa::kScalar), tile, all_queries(tile)), random);
      }
    }
  }
}

/// NaN and infinity that a query does see must show; other queries must not notice.
void test_poison(KvType type) {
  std::mt19937 random(5);
  constexpr uint32_t kSlot = 93 - 64;  // position 93: queries 4.. see it
  for (const KernelTable* table : all_tables()) {
    for (const uint16_t poison : {kHalfNan, uint16_t{0x7c00}}) {
      Tile tile = random_tile(random, type, 64, 7);
      for (uint32_t i = 0; i < 7; ++i) {
        tile.first[i] = tile.begin;
        tile.last[i] = tile.begin + 90 + i;
      }
      tile.fill_pages(random, *table);
      const Output clean = run(*table, tile, all_queries(tile));
      tile.poison(*tile.v[2], kSlot * 64 + 3, 3, kSlot, poison);
      const Output values = run(*table, tile, all_queries(tile));
      for (size_t i = 0; i < 7; ++i) {
        CHECK_EQ(std::isfinite(values.acc[i * 64 + 3]), i < 4);
        CHECK(same_bits(values.acc[i * 64 + 40], clean.acc[i * 64 + 40]));
      }
      for (uint32_t d = 0; d < 64; ++d) tile.poison(*tile.k[2], d * kPagePositions + kSlot, d, kSlot, poison);
      const Output keys = run(*table, tile, all_queries(tile));
      for (size_t i = 0; i < 4; ++i) CHECK(same_query(keys, i, clean, i, 64));
      for (size_t i = 4; i < 7; ++i) CHECK(!std::isfinite(keys.sum[i]) && std::isnan(keys.acc[i * 64 + 9]));
    }
  }
}

/// Codes and scales of every table are those of scalar, and as close as eight bits allow.
void test_byte_stores() {
  std::mt19937 random(41);
  std::normal_distribution<float> normal(0.0f, 1.0f);
  const float specials[] = {0.0f, -0.0f, 1e-42f, 3e-8f, 65504.0f, 8.4e6f, -3e38f, kInf, -kInf, std::nanf("")};
  for (int round = 0; round < 400; ++round) {
    const uint32_t head_dim = 8 * (1 + random() % 20), slot = random() % kPagePositions;
    GuardedArray<float> in(head_dim, Guard::kAfter);
    const float size = std::ldexp(1.0f, static_cast<int>(random() % 60) - 40);
    for (uint32_t d = 0; d < head_dim; ++d) in[d] = round % 9 == 8 ? 0.5f * size : size * normal(random);
    const bool special = round % 3 == 0;
    if (special) in[random() % head_dim] = specials[random() % std::size(specials)];
    const uint64_t bytes = kv_page_bytes(KvType::kQ8_0, head_dim);
    std::vector<uint8_t> expected;
    for (const KernelTable* table : all_tables()) {
      GuardedArray<uint8_t> key(bytes, Guard::kAfter), value(bytes, Guard::kAfter);
      table->store_key[1](in.data(), head_dim, key.data(), slot);
      table->store_value[1](in.data(), head_dim, value.data(), slot);
      std::vector<uint8_t> both(key.data(), key.data() + bytes);
      both.insert(both.end(), value.data(), value.data() + bytes);
      if (expected.empty()) expected = both;
      CHECK(both == expected);
      for (uint32_t d = 0; d < head_dim; ++d) {
        const uint64_t at_key = uint64_t{d} * kPagePositions + slot, at_value = uint64_t{slot} * head_dim + d;
        const double x = element(KvType::kQ8_0, key.data(), head_dim, at_key, d, slot);
        const double y = element(KvType::kQ8_0, value.data(), head_dim, at_value, d, slot);
        CHECK(x == y || (std::isnan(x) && std::isnan(y)));
        float largest = 0.0f;
        for (uint32_t j = d / 32 * 32; j < head_dim && j < d / 32 * 32 + 32; ++j) {
          largest = std::isnan(in[j]) ? kInf : std::max(largest, std::abs(in[j]));
        }
        CHECK_EQ(std::isnan(x), largest / 127.0f >= 65520.0f);
        // Half a step, and what rounding the scale to f16 moves the step by: 2^-11 of it, 2^-25 when denormal.
        const double step = largest / 127.0;
        if (!std::isnan(x)) CHECK(std::abs(x - in[d]) <= 0.5 * step + 127 * std::max(step * 0x1p-11, 0x1p-25));
      }
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
      GuardedArray<uint8_t> key(1024 * kPagePositions, Guard::kAfter), value(1024 * kPagePositions, Guard::kAfter);
      table->store_key[0](in.data(), 512, key.data(), 31);
      table->store_value[0](in.data(), 512, value.data(), 31);
      for (uint32_t d = 0; d < 512; ++d) {
        const uint16_t half = half_at(value.data(), 31 * 512 + d);
        CHECK_EQ(half_at(key.data(), uint64_t{d} * kPagePositions + 31), half);
        CHECK_EQ(half_at(key.data(), uint64_t{d} * kPagePositions + 30), 0);
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
    Tile tile = random_tile(random, KvType::kF16, head_dim, 1);
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
  for (const KvType type : kTypes) {
    test_random_tiles(type);
    test_extremes(type);
    test_poison(type);
  }
  test_half_stores();
  test_byte_stores();
  test_merge();
  return lutra_test_summary();
}
