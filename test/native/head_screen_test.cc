// The two-stage head against the full product, bit for bit: random heads and heads made to break the bound, ties,
// extreme scales, biases, ragged vocabularies, several rows, every instruction set, any number of threads.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "check.h"
#include "forward/head_screen.h"
#include "quant/half.h"
#include "quant/quant.h"
#include "quant/split_matrix.h"

namespace {

using lutra::base::Isa;
using lutra::base::TensorType;
using lutra::forward::Bias;
using lutra::forward::HeadScreen;
using lutra::kernels::kernel_table;
using lutra::kernels::KernelTable;
using lutra::quant::Activations;
using lutra::quant::Matrix;

constexpr float kInf = std::numeric_limits<float>::infinity();

struct Case {
  const char* name;
  uint32_t vocab, k;
  std::function<uint16_t(uint32_t row, uint32_t block)> scale;  ///< fp16 bits
  std::function<int(uint32_t row, uint32_t i)> code;            ///< int8
  std::function<float(uint32_t i)> x;
};

struct Split {
  std::vector<uint8_t> bytes;
  Matrix matrix;

  explicit Split(const Case& test) {
    const uint32_t blocks = test.k / 32, n_panels = (test.vocab + 7) / 8;
    matrix = {.type = TensorType::Q8_0, .rows = test.vocab, .k = test.k};
    lutra::quant::plan_split(matrix);
    matrix.group_bytes = lutra::quant::kGroupPanels * matrix.panel_bytes;
    const uint64_t high_bytes = matrix.panel_bytes, low_bytes = matrix.low_panel_bytes;
    bytes.resize(n_panels * (high_bytes + low_bytes));
    uint8_t* low = bytes.data() + n_panels * high_bytes;
    std::vector<uint8_t> rows(8 * lutra::quant::row_bytes(TensorType::Q8_0, test.k));
    for (uint32_t p = 0; p < n_panels; ++p) {
      uint8_t* at = rows.data();
      for (uint32_t row = 8 * p; row < std::min(test.vocab, 8 * p + 8); ++row) {
        for (uint32_t b = 0; b < blocks; ++b, at += 34) {
          lutra::quant::store_u16(at, test.scale(row, b));
          for (uint32_t i = 0; i < 32; ++i) at[2 + i] = static_cast<uint8_t>(test.code(row, 32 * b + i));
        }
      }
      lutra::quant::pack_split_panel(rows.data(), std::min(8u, test.vocab - 8 * p), test.k,
                                     bytes.data() + p * high_bytes, low + p * low_bytes);
    }
    lutra::quant::place_split(matrix, bytes.data());
  }
};

/// Candidates of a row of logits by sorting: descending, ties by lowest id.
void sort_candidates(const std::vector<float>& logits, uint32_t k, std::vector<int32_t>& ids,
                     std::vector<float>& values) {
  std::vector<int32_t> order(logits.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  for (uint32_t i = 0; i < k; ++i) {
    ids.push_back(order[i]);
    values.push_back(logits[order[i]]);
  }
}

struct Biases {
  std::vector<int32_t> ids;
  std::vector<float> divides, adds;
  Bias view() const { return {ids, divides.data(), adds.data()}; }
};

Biases make_biases(const std::vector<float>& logits, uint32_t n, std::mt19937& random) {
  Biases biases;
  const size_t best = std::max_element(logits.begin(), logits.end()) - logits.begin();
  const float adds[] = {-kInf, -1.0f, 0.5f, 100.0f};
  for (uint32_t i = 0; i < n; ++i) {
    biases.ids.push_back(static_cast<int32_t>(i % 3 == 0 ? best : random() % logits.size()));
    biases.divides.push_back(i % 2 == 0 ? 1.0f : 1.3f);
    biases.adds.push_back(adds[random() % 4]);
  }
  return biases;
}

/// Row 0 is the case's own; even ones are multiples of it, odd ones others.
float activation(const Case& test, uint32_t row, uint32_t i) {
  if (row % 2 == 0) return test.x(i) * static_cast<float>(1 + row);
  return std::cos(0.9f * static_cast<float>((row + 1) * i)) * (i % 41 == row ? 20.0f : 1.0f);
}

/// What the screen takes and must give for one row.
struct RowCase {
  Biases biases;
  std::vector<float> scratch, expected, values;
  std::vector<int32_t> expected_ids, ids;

  RowCase(const std::vector<float>& full, uint32_t k, uint32_t n_biases, std::mt19937& random)
      : biases(make_biases(full, n_biases, random)), scratch(full.size()), values(k, 7.0f), ids(k, -7) {
    std::vector<float> logits = full;
    for (uint32_t i = 0; i < n_biases; ++i) logits[biases.ids[i]] = biases.view().apply(i, logits[biases.ids[i]]);
    sort_candidates(logits, k, expected_ids, expected);
  }
  HeadScreen::Row row() { return {biases.view(), scratch.data(), ids.data(), values.data()}; }
  bool same() const {
    return ids == expected_ids && std::memcmp(values.data(), expected.data(), sizeof(float) * expected.size()) == 0;
  }
};

struct Inputs {
  std::vector<uint8_t> arena;
  Activations x;

  Inputs(const Case& test, uint32_t n) : arena(Activations::bytes_needed(n, test.k) + 64) {
    x = Activations(reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(arena.data()) + 63) / 64 * 64), n, test.k);
    x.begin(n, test.k);
    for (uint32_t row = 0; row < n; ++row) {
      for (uint32_t i = 0; i < test.k; ++i) x.row(row)[i] = activation(test, row, i);
    }
  }
};

void check_case(const Case& test, const KernelTable& table, int threads, uint32_t n_biases, uint32_t n) {
  std::mt19937 random(test.vocab + n_biases);
  const Split head(test);
  lutra::base::ThreadTeam team(threads);
  Inputs inputs(test, n);
  std::vector<std::vector<float>> full;
  for (uint32_t row = 0; row < n; ++row) {
    Inputs one(test, 1);
    for (uint32_t i = 0; i < test.k; ++i) one.x.row(0)[i] = activation(test, row, i);
    full.emplace_back(test.vocab);
    const lutra::quant::Product products[] = {{&head.matrix, full.back().data(), test.vocab}};
    lutra::quant::multiply(team, table, one.x, products);
  }
  for (const uint32_t k : {1u, 3u, 8u}) {
    std::vector<RowCase> cases;
    std::vector<HeadScreen::Row> rows;
    for (uint32_t row = 0; row < n; ++row) cases.emplace_back(full[row], k, n_biases, random);
    for (RowCase& one : cases) rows.push_back(one.row());
    HeadScreen screen(kInf);  // whatever it costs
    CHECK(screen.run(team, table, head.matrix, inputs.x, k, rows));
    for (uint32_t row = 0; row < n; ++row) {
      CHECK(cases[row].same());
      if (!cases[row].same()) {
        std::fprintf(stderr, "  %s: row %u of %u, k %u, %u biases\n", test.name, row, n, k, n_biases);
      }
    }
  }
}

int hash(uint32_t a, uint32_t b) {
  uint32_t h = a * 2654435761u + b * 40503u + 12345u;
  h ^= h >> 15;
  h *= 2246822519u;
  h ^= h >> 13;
  return static_cast<int>(h & 0x7FFFFFFF);
}

std::vector<Case> all_cases() {
  const auto plain = [](uint32_t, uint32_t) { return uint16_t{0x2000}; };
  const auto random_scale = [](uint32_t row, uint32_t b) {
    return static_cast<uint16_t>((hash(row, b) & 1) << 15 | (0x1C00 + hash(row, b + 99) % 0x800));
  };
  const auto random_code = [](uint32_t row, uint32_t i) { return hash(row, i) % 256 - 128; };
  const auto smooth = [](uint32_t i) { return std::sin(1.7f * static_cast<float>(i)) + 0.2f; };
  const auto outliers = [](uint32_t i) { return i % 97 == 5 ? 30.0f : 0.1f * std::sin(static_cast<float>(i)); };
  const auto flat = [](uint32_t i) { return hash(i, 7) % 2 == 0 ? 1.0f : -1.0f; };
  const auto sparse = [flat](uint32_t i) { return i % 32 == 5 ? flat(i) : 0.0f; };
  // The bound is nearly met: of n activations ±1, low bits all at their ends, for (row 1000) or against the sign of x,
  // which moves a logit by ±7.5 n. High bits of rows in other panels lead by 16 · (0 .. lead_limit), and row 1000 is
  // still ahead when that is below 15 n.
  const auto extreme = [](const std::function<float(uint32_t)>& x, uint32_t every, uint32_t lead_limit) {
    return [x, every, lead_limit](uint32_t row, uint32_t i) {
      const bool gains = row == 1000;
      const bool leads = row / 8 != 1000 / 8 && i / every < row % (lead_limit + 1);
      const int high = 8 + (leads ? (x(i) > 0 ? 1 : -1) : 0);
      return 16 * high + ((x(i) > 0) == gains ? 15 : 0) - 128;
    };
  };
  // What the high planes of activations leave out: all but one of a block have none. Row 1000 gains 127 · 127 by each
  // of them; others lead by their scores, in up to three blocks of four, but by less.
  const auto low_plane = [](uint32_t i) { return i % 32 == 0 ? 32512.0f : 127.0f; };
  const auto low_gains = [](uint32_t row, uint32_t i) {
    if (i % 32 == 0) return row / 8 != 1000 / 8 && i / 32 < row % 4 ? 24 : 8;
    return row == 1000 ? 127 : 0;
  };
  return {
      {"low plane", 1500, 128, plain, low_gains, low_plane},
      {"random", 5003, 576, random_scale, random_code, smooth},
      {"few tokens", 70, 64, random_scale, random_code, smooth},
      {"outliers", 9001, 640, random_scale, random_code, outliers},
      {"extreme", 4999, 128, plain, extreme(flat, 1, 119), flat},
      {"extreme outliers", 1500, 3840, plain, extreme(sparse, 32, 112), sparse},
      {"wide", 300, 3840, random_scale, random_code, smooth},
      {"all equal", 4500, 96, plain, [](uint32_t, uint32_t i) { return hash(1, i) % 256 - 128; }, smooth},
      {"many ties", 8200, 96, plain, [](uint32_t row, uint32_t i) { return hash(row % 5, i) % 256 - 128; }, smooth},
      {"high parts equal", 4100, 96, plain,
       [](uint32_t row, uint32_t i) { return hash(1, i) % 16 * 16 + hash(row, i) % 16 - 128; }, smooth},
      {"zero x", 4100, 96, random_scale, random_code, [](uint32_t) { return 0.0f; }},
      {"zero scales", 4100, 96, [](uint32_t row, uint32_t) { return row % 3 == 0 ? uint16_t{0} : uint16_t{0x2000}; },
       random_code, smooth},
      {"largest scales", 4100, 96, [](uint32_t row, uint32_t) { return static_cast<uint16_t>(row % 2 << 15 | 0x7BFF); },
       random_code, [smooth](uint32_t i) { return 1e15f * smooth(i); }},
      {"smallest scales", 4100, 96, [](uint32_t row, uint32_t) { return static_cast<uint16_t>(row % 2 << 15 | 1); },
       random_code, [smooth](uint32_t i) { return 1e-33f * smooth(i); }},
      {"mixed scales", 4100, 576, [](uint32_t row, uint32_t b) { return static_cast<uint16_t>(hash(row, b) % 0x7C00); },
       random_code, smooth},
  };
}

/// The full product must do what the screen cannot: activations that are not finite, too many candidates or rows, a
/// whole head.
void test_refusals(const KernelTable& table) {
  Case test = all_cases()[2];
  Split head(test);
  lutra::base::ThreadTeam team(1);
  Inputs inputs(test, HeadScreen::kMaxRows + 1);
  std::vector<float> scratch(test.vocab), values(256);
  std::vector<int32_t> ids(256);
  HeadScreen screen(kInf);
  const auto runs = [&](float value, uint32_t k, uint32_t n) {
    inputs.x.begin(n, test.k);
    for (uint32_t row = 0; row < n; ++row) {
      for (uint32_t i = 0; i < test.k; ++i) inputs.x.row(row)[i] = row + 1 == n && i == 40 ? value : 1.0f;
    }
    const std::vector<HeadScreen::Row> rows(n, {{}, scratch.data(), ids.data(), values.data()});
    return screen.run(team, table, head.matrix, inputs.x, k, rows);
  };
  for (const uint32_t n : {1u, 2u, HeadScreen::kMaxRows}) {
    CHECK(runs(1.0f, 1, n));
    CHECK(!runs(kInf, 1, n));
    CHECK(!runs(std::nanf(""), 1, n));
    CHECK(!runs(1e25f, 1, n));
    CHECK(!runs(1.0f, 9, n));
  }
  CHECK(!runs(1.0f, 1, HeadScreen::kMaxRows + 1));
  head.matrix.low = nullptr;
  CHECK(!runs(1.0f, 1, 1));
}

/// A head of equal rows is tried ever more rarely, and not to its end unless whatever it costs.
void test_pauses(const KernelTable& table) {
  const std::vector<Case> cases = all_cases();
  const auto is_equal = [](const Case& test) { return std::strcmp(test.name, "all equal") == 0; };
  const Case& test = *std::find_if(cases.begin(), cases.end(), is_equal);
  const Split head(test);
  lutra::base::ThreadTeam team(1);
  std::vector<float> scratch(test.vocab), values(8);
  std::vector<int32_t> ids(8);
  HeadScreen patient(kInf), screen;
  const auto runs = [&](HeadScreen& by, uint32_t k, uint32_t n) {
    Inputs inputs(test, n);
    const std::vector<HeadScreen::Row> rows(n, {{}, scratch.data(), ids.data(), values.data()});
    return by.run(team, table, head.matrix, inputs.x, k, rows);
  };
  std::vector<uint32_t> tried;
  for (uint32_t call = 0; call < 120; ++call) {
    if (runs(patient, 2, 2)) tried.push_back(call);
  }
  CHECK(tried == (std::vector<uint32_t>{0, 3, 8, 17, 34, 67, 100}));
  CHECK(runs(patient, 1, 3));
  CHECK(!runs(patient, 4, 1));
  CHECK(!runs(screen, 1, 1));
}

}  // namespace

int main() {
  for (const Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kNeon}) {
    const KernelTable* table = kernel_table(isa);
    if (table == nullptr) continue;
    for (const Case& test : all_cases()) {
      for (const uint32_t n : {1u, 3u}) check_case(test, *table, 1, 0, n);
      if (isa == Isa::kScalar) continue;
      for (uint32_t n = 1; n <= HeadScreen::kMaxRows; ++n) check_case(test, *table, 2, 9, n);
      check_case(test, *table, 3, 60, 5);
    }
    test_refusals(*table);
    if (isa != Isa::kScalar) test_pauses(*table);
  }
  return lutra_test_summary();
}
