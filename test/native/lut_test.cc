// Products by table lookup: tiles against panels, exact tables against the multiply-adds bit for bit on every path,
// 8-bit tables against their own definition and every path against the scalar twin, hostile codes and activations,
// ragged rows; every array ends or starts at an inaccessible page.
#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "check.h"
#include "kernels/kernels.h"
#include "kernels/panel_layout.h"
#include "matmul_fixture.h"
#include "quant/lut_tile.h"
#include "quant/quant.h"

namespace {

using namespace lutra;
using namespace matmul_fixture;
using kernels::KernelTable;
using kernels::LutTables;

constexpr LutTables kKinds[] = {LutTables::kExact, LutTables::kInt8};

kernels::LutSet set_of(TensorType type) {
  return static_cast<kernels::LutSet>(std::countr_zero(quant::lut_sets(type)));
}

/// Every path of this machine, the scalar one first.
std::vector<const KernelTable*> tables;

std::vector<TensorType> lut_types() {
  std::vector<TensorType> types;
  for (uint32_t id = 0; id < base::kTensorTypeLimit; ++id) {
    if (quant::has_lut_tiles(static_cast<TensorType>(id))) types.push_back(static_cast<TensorType>(id));
  }
  return types;
}

struct Matrix {
  TensorType type;
  uint32_t rows, k;
  std::vector<uint8_t> gguf, panels, tiles;

  Matrix(TensorType t, uint32_t n_rows, uint32_t n_k, Codes codes, bool tiny, std::mt19937& random)
      : type(t), rows(n_rows), k(n_k), gguf(gguf_rows(t, n_rows, n_k, codes, tiny, random)) {
    panels = pack(t, gguf, n_rows, n_k);
    const uint64_t row = quant::row_bytes(t, k), tile = tile_bytes();
    tiles.resize((rows + 31) / 32 * tile);
    for (uint32_t r = 0; r < rows; r += 32) {
      quant::pack_lut_tile(t, gguf.data() + r * row, std::min(32u, rows - r), k, tiles.data() + r / 32 * tile);
    }
  }
  uint64_t tile_bytes() const { return quant::lut_tile_bytes(type, k); }
};

/// Tables of all columns, built between guard pages.
struct Built {
  std::vector<uint8_t> entries;
  std::vector<float> d;
  std::vector<int32_t> biases;

  Built(const KernelTable& table, kernels::LutSet set, const Activations& a, LutTables kind, Touch touch) {
    const bool exact = kind == LutTables::kExact;
    const size_t row_entries = kernels::lut_entries_bytes(set, kind, a.k);
    for (uint32_t column = 0; column < a.n; ++column) {
      const auto slice = [&](const auto& values, size_t per_row) {
        using T = typename std::decay_t<decltype(values)>::value_type;
        const auto begin = values.begin() + static_cast<long>(column * per_row);
        return std::vector<T>(begin, begin + static_cast<long>(per_row));
      };
      const Guarded planes(slice(a.planes, 2 * a.k), touch), old_d(slice(a.d, a.k / 32), touch);
      const Guarded out(row_entries, touch), new_d(exact ? 1 : a.k / 4, touch), new_biases(exact ? 1 : a.k / 4, touch);
      table.lut.build[static_cast<size_t>(set)][static_cast<size_t>(kind)](
          {a.k, planes.as<int8_t>(), old_d.as<float>(), out.as<uint8_t>(), exact ? nullptr : new_d.as<float>(),
           exact ? nullptr : new_biases.as<int32_t>()});
      entries.insert(entries.end(), out.as<uint8_t>(), out.as<uint8_t>() + row_entries);
      if (exact) continue;
      d.insert(d.end(), new_d.as<float>(), new_d.as<float>() + a.k / 16);
      biases.insert(biases.end(), new_biases.as<int32_t>(), new_biases.as<int32_t>() + a.k / 16);
    }
    if (exact) d = a.d;
    if (exact) biases.resize(a.k / 16 * a.n);
  }
};

std::vector<float> run(const KernelTable& table, const Matrix& m, const Activations& a, LutTables kind, Touch touch,
                       uint32_t padding = 0) {
  const size_t stride = m.rows + padding;
  const Built built(table, set_of(m.type), a, kind, touch);
  const Guarded tiles(m.tiles, touch), entries(built.entries, touch), d(built.d, touch), s(a.s, touch);
  const Guarded s16(a.s16, touch), biases(built.biases, touch);
  const size_t n_out = (a.n - 1) * stride + m.rows;
  const Guarded out(std::vector<float>(n_out, -1.0f), touch);
  const kernels::LutMatmulFn matmul = table.lut.matmul[static_cast<size_t>(kind)][static_cast<uint32_t>(m.type)];
  CHECK(matmul != nullptr);
  matmul({.tiles = tiles.as<uint8_t>(),
          .tile_bytes = m.tile_bytes(),
          .rows = m.rows,
          .k = m.k,
          .n = a.n,
          .entries = entries.as<uint8_t>(),
          .d = d.as<float>(),
          .biases = biases.as<int32_t>(),
          .s = s.as<float>(),
          .s16 = s16.as<float>(),
          .out = out.as<float>(),
          .out_stride = stride});
  return {out.as<float>(), out.as<float>() + n_out};
}

/// The same by the scalar twin's multiply-adds, on panels.
std::vector<float> multiply_adds(const Matrix& m, const Activations& a) {
  std::vector<float> out(size_t{a.n} * m.rows);
  kernels::MatmulArgs args{};
  args.panels = m.panels.data();
  args.panel_bytes = quant::panel_bytes(m.type, m.k);
  args.rows = m.rows;
  args.k = m.k;
  args.panel_end = (m.rows + 7) / 8;
  args.n = a.n;
  args.activations = {a.planes.data(), a.d.data(), a.s.data(), a.s16.data()};
  args.out = out.data();
  args.out_stride = m.rows;
  tables[0]->matmul[static_cast<uint32_t>(m.type)](args);
  return out;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

void report(const char* what, const KernelTable& table, const Matrix& m, uint32_t n, bool ok) {
  if (!ok) {
    std::fprintf(stderr, "%s: %s type %s rows %u k %u n %u\n", what, base::isa_name(table.isa),
                 base::tensor_type_traits(m.type).name, m.rows, m.k, n);
  }
  CHECK(ok);
}

void compare(const Matrix& m, const Activations& a, Touch touch) {
  const std::vector<float> expected = multiply_adds(m, a);
  const std::vector<float> rounded = run(*tables[0], m, a, LutTables::kInt8, touch);
  for (const KernelTable* table : tables) {
    report("exact", *table, m, a.n, same_bits(run(*table, m, a, LutTables::kExact, touch), expected));
    report("int8", *table, m, a.n, same_bits(run(*table, m, a, LutTables::kInt8, touch), rounded));
  }
}

bool takes(TensorType type, uint32_t k) { return k % base::tensor_type_traits(type).block_elements == 0; }

void all_shapes() {
  std::mt19937 random(11);
  for (TensorType type : lut_types()) {
    uint32_t turn = 0;
    for (uint32_t k : {32u, 256u, 288u, 768u}) {
      if (!takes(type, k)) continue;
      for (uint32_t rows : {1u, 7u, 8u, 9u, 16u, 31u, 32u, 33u, 63u, 64u, 65u}) {
        const Matrix m(type, rows, k, Codes::kRandom, false, random);
        for (uint32_t n : {1u, 2u, 3u, 4u, 5u, 6u, 7u, 9u}) {
          if (k > 256 && (n + rows + turn++) % 3 != 0) continue;
          compare(m, Activations(n, k, random_floats(size_t{n} * k, random)),
                  turn % 2 == 0 ? Touch::kEnd : Touch::kStart);
        }
      }
    }
  }
}

void columns_are_independent() {
  std::mt19937 random(13);
  for (TensorType type : lut_types()) {
    const Matrix m(type, 45, 512, Codes::kRandom, false, random);
    const std::vector<float> x = random_floats(7 * 512, random);
    for (const KernelTable* table : tables) {
      for (LutTables kind : kKinds) {
        const std::vector<float> together = run(*table, m, Activations(7, 512, x), kind, Touch::kEnd);
        for (uint32_t c = 0; c < 7; ++c) {
          const auto begin = x.begin() + c * 512;
          const std::vector<float> alone = run(*table, m, Activations(1, 512, {begin, begin + 512}), kind, Touch::kEnd);
          report("alone", *table, m, 1, std::memcmp(alone.data(), &together[c * 45], 45 * sizeof(float)) == 0);
        }
      }
    }
  }
}

void writes_only_its_rows() {
  std::mt19937 random(17);
  for (TensorType type : lut_types()) {
    const Matrix m(type, 37, 256, Codes::kRandom, false, random);
    const Activations a(6, 256, random_floats(6 * 256, random));
    for (const KernelTable* table : tables) {
      const std::vector<float> padded = run(*table, m, a, LutTables::kExact, Touch::kStart, 3);
      bool ok = true;
      for (size_t i = 0; i < padded.size(); ++i) ok = ok && (padded[i] == -1.0f) == (i % 40 >= 37);
      report("padding", *table, m, 6, ok);
    }
  }
}

/// Codes and planes at their extremes: the sums that would leave a byte or 16 bits if anything could.
void extremes() {
  std::mt19937 random(19);
  for (TensorType type : lut_types()) {
    for (Codes codes : {Codes::kRandom, Codes::kAllSet, Codes::kAllClear}) {
      for (bool tiny : {false, true}) {
        const Matrix m(type, 35, 512, codes, tiny, random);
        Activations a(12, 512, std::vector<float>(size_t{12} * 512, 3.0f));
        a.set_planes([&](size_t at, bool is_high) {
          constexpr int8_t kHigh[] = {127, 127, -127, -127, 127, -127, 0, 0};
          constexpr int8_t kLow[] = {127, -127, 127, -127, 0, 0, 127, -127};
          const size_t column = at / 512;
          if (column < 8) return is_high ? kHigh[column] : kLow[column];
          if (column == 10) return static_cast<int8_t>(at % 512 < 200 ? 0 : is_high ? 1 : -1);
          if (column == 11) return static_cast<int8_t>(at % 4 == 1 ? 127 : at % 4 == 2 ? -127 : 0);
          return static_cast<int8_t>(column == 8 ? (random() & 1 ? 127 : -127)
                                                 : static_cast<int>(random() % 255) - 127);
        });
        compare(m, a, Touch::kStart);
      }
    }
  }
}

/// A block that is not finite spoils its own column and no other.
void non_finite_blocks() {
  std::mt19937 random(23);
  for (TensorType type : lut_types()) {
    const Matrix m(type, 32, 256, Codes::kRandom, false, random);
    Activations a(3, 256, random_floats(3 * 256, random));
    const std::vector<float> before = run(*tables[0], m, a, LutTables::kExact, Touch::kEnd);
    a.d[8 + 3] = a.s[8 + 3] = a.s16[16 + 6] = a.s16[16 + 7] = std::nanf("");
    for (const KernelTable* table : tables) {
      for (LutTables kind : kKinds) {
        const std::vector<float> after = run(*table, m, a, kind, Touch::kEnd);
        bool ok = true;
        for (size_t i = 0; i < after.size(); ++i) {
          const bool spoilt = i / 32 == 1;
          ok = ok && std::isnan(after[i]) == spoilt;
          ok = ok && (spoilt || kind != LutTables::kExact || after[i] == before[i]);
        }
        report("NaN", *table, m, 3, ok);
      }
    }
  }
}

/// Zeros, extremes and any planes.
Activations varied_planes(std::mt19937& random) {
  Activations a(1, 2048, random_floats(2048, random));
  a.set_planes([&](size_t at, bool) {
    return static_cast<int8_t>(at < 64    ? 0
                               : at < 128 ? (random() & 1 ? 127 : -127)
                                          : static_cast<int>(random() % 255) - 127);
  });
  return a;
}

void tables_are_what_they_say() {
  std::mt19937 random(29);
  const Activations a = varied_planes(random);
  for (const KernelTable* table : tables) {
    const auto built = [&](LutTables kind) {
      return Built(*table, kernels::LutSet::kSubsetSums, a, kind, Touch::kEnd);
    };
    const Built exact = built(LutTables::kExact), int8 = built(LutTables::kInt8);
    int wrong = 0;
    double worst = 0;
    for (uint32_t half = 0; half < 128; ++half) {
      int32_t sums[4][16] = {}, reach = 1;
      for (uint32_t g = 0; g < 4; ++g) {
        int32_t all = 0;
        for (uint32_t t = 0; t < 4; ++t) {
          const uint32_t at = half / 2 * 64 + half % 2 * 16 + g * 4 + t;
          const int32_t c = 256 * a.planes[at] + a.planes[at + 32];
          all += std::abs(c);
          for (uint32_t p = 0; p < 16; ++p) sums[g][p] += p >> t & 1 ? c : 0;
        }
        reach = std::max(reach, all);
      }
      // In units of an entry, what entries are off by; of each group up to its centre, which is not kept by itself.
      double total = 4 * 4.0 * int8.biases[half];
      for (uint32_t g = 0; g < 4; ++g) {
        double least = 1e9, most = -1e9;
        for (uint32_t p = 0; p < 16; ++p) {
          const uint8_t* digits = &exact.entries[(half * 4 + g) * 48];
          wrong += digits[p] + 64 * digits[16 + p] + 4096 * static_cast<int8_t>(digits[32 + p]) != sums[g][p];
          const double off = static_cast<int8_t>(int8.entries[(half * 4 + g) * 16 + p]) - sums[g][p] * 254.0 / reach;
          least = std::fmin(least, off);
          most = std::fmax(most, off);
          total += 4 * off;
        }
        worst = std::fmax(worst, most - least);
      }
      // 16 entries of four groups: an eighth of a quarter's rounding each.
      wrong += std::fabs(total) > 8.001;
      wrong += std::fabs(int8.d[half] / (double{a.d[half / 2]} * reach / 1016.0) - 1) > 1e-6;
    }
    CHECK_EQ(wrong, 0);
    CHECK(worst <= 1.0001);
  }
}

/// Tables of products: of element `at` of `a` with the 16 values of a codebook.
struct ProductTables {
  const Activations& a;
  const int8_t* values;
  Built exact, int8;

  ProductTables(const KernelTable& table, kernels::LutSet set, const Activations& activations)
      : a(activations),
        values(
            kernels::code_values(set == kernels::LutSet::kE2M1Products ? kernels::Codes::kE2M1 : kernels::Codes::kIq4)),
        exact(table, set, a, LutTables::kExact, Touch::kEnd),
        int8(table, set, a, LutTables::kInt8, Touch::kStart) {}

  int32_t code(uint32_t at) const {
    const uint32_t high = at / 32 * 64 + at % 32;
    return 256 * a.planes[high] + a.planes[high + 32];
  }
  int32_t exact_entry(uint32_t at, uint32_t v) const {
    const uint8_t* digits = &exact.entries[at / 16 * 768 + at % 16 * 16 + v];
    return digits[0] + 256 * digits[256] + 65536 * digits[512] - kernels::kLutProductOffset;
  }
  /// The largest |c| of a half block times the spread of values, at least 1.
  double reach(uint32_t half) const {
    int32_t largest = 0;
    for (uint32_t i = 0; i < 16; ++i) largest = std::max(largest, std::abs(code(16 * half + i)));
    const auto [least, most] = std::minmax_element(values, values + 16);
    return std::max(1, (*most - *least) * largest);
  }

  void check_half(uint32_t half, int& wrong, double& worst) const {
    const double scale = 254.0 / reach(half);
    // In units of an entry, what all 256 products are off by; of each element up to its centre.
    double total = 16 * int8.biases[half] / 4.0;
    for (uint32_t at = 16 * half; at < 16 * half + 16; ++at) {
      double least = 1e9, most = -1e9;
      for (uint32_t v = 0; v < 16; ++v) {
        wrong += exact_entry(at, v) != values[v] * code(at);
        const double off = int8.entries[16 * at + v] - values[v] * code(at) * scale;
        least = std::fmin(least, off);
        most = std::fmax(most, off);
        total += off;
      }
      worst = std::fmax(worst, most - least);
    }
    // 16 sums of 16 entries: half a quarter's rounding each, and what floats of sums of 30000 entries round.
    wrong += std::fabs(total) > 2.1;
    wrong += std::fabs(int8.d[half] / (double{a.d[half / 2]} * reach(half) / 1016.0) - 1) > 1e-6;
  }
};

void products_are_what_they_say() {
  std::mt19937 random(41);
  const Activations a = varied_planes(random);
  for (const KernelTable* table : tables) {
    for (const auto set : {kernels::LutSet::kIq4Products, kernels::LutSet::kE2M1Products}) {
      const ProductTables products(*table, set, a);
      int wrong = 0;
      double worst = 0;
      for (uint32_t half = 0; half < 128; ++half) products.check_half(half, wrong, worst);
      CHECK_EQ(wrong, 0);
      CHECK(worst <= 1.01);
    }
  }
}

void tiles_hold_the_rows() {
  std::mt19937 random(31);
  for (TensorType type : lut_types()) {
    for (uint32_t rows : {1u, 8u, 19u, 32u}) {
      const uint32_t k = 512;
      const Matrix m(type, rows, k, Codes::kRandom, false, random);
      const uint64_t panel = quant::panel_bytes(type, k);
      std::vector<uint8_t> unpacked(4 * panel, 0);
      const uint32_t n_panels = (rows + 7) / 8;
      quant::unpack_lut_panels(type, m.tiles.data(), 0, n_panels, k, unpacked.data());
      report("unpacked", *tables[0], m, 0, std::memcmp(unpacked.data(), m.panels.data(), n_panels * panel) == 0);
      quant::unpack_lut_panels(type, m.tiles.data(), n_panels - 1, n_panels, k, unpacked.data());
      report("last panel", *tables[0], m, 0,
             std::memcmp(unpacked.data(), m.panels.data() + (n_panels - 1) * panel, panel) == 0);
      std::vector<float> found(k), expected(k);
      for (uint32_t r = 0; r < rows; ++r) {
        quant::dequantize_lut_row(type, m.tiles.data(), r, k, found.data());
        quant::dequantize_row(type, m.gguf.data() + r * quant::row_bytes(type, k), k, expected.data());
        report("row", *tables[0], m, 0, same_bits(found, expected));
      }
    }
  }
}

/// Relative error of whole products by 8-bit tables: about that of activations in 8 bits.
void int8_is_close() {
  std::mt19937 random(37);
  for (TensorType type : lut_types()) {
    const Matrix m(type, 64, 2048, Codes::kRandom, false, random);
    std::vector<float> x(2048);
    for (float& value : x) value = std::normal_distribution<float>(0, 1)(random);
    const Activations a(1, 2048, x);
    const std::vector<float> exact = multiply_adds(m, a), found = run(*tables[0], m, a, LutTables::kInt8, Touch::kEnd);
    double error = 0, norm = 0;
    for (size_t i = 0; i < found.size(); ++i) {
      error += std::pow(double{found[i]} - exact[i], 2);
      norm += std::pow(double{exact[i]}, 2);
    }
    std::printf("int8 %s: relative error %.5f\n", base::tensor_type_traits(type).name, std::sqrt(error / norm));
    report("int8 error", *tables[0], m, 1, std::sqrt(error / norm) < 0.02);
  }
}

}  // namespace

int main() {
  for (const base::Isa isa : {base::Isa::kScalar, base::Isa::kAvx2, base::Isa::kAvx512, base::Isa::kNeon}) {
    if (const KernelTable* table = kernels::kernel_table(isa)) tables.push_back(table);
  }
  for (const KernelTable* table : tables) std::printf("path: %s\n", base::isa_name(table->isa));
  tiles_hold_the_rows();
  tables_are_what_they_say();
  products_are_what_they_say();
  all_shapes();
  columns_are_independent();
  writes_only_its_rows();
  extremes();
  non_finite_blocks();
  int8_is_close();
  return lutra_test_summary();
}
