// Packed matmul: the scalar twin against double precision, every SIMD path against the scalar twin bit for bit, columns
// against themselves alone, hostile codes and activations; every array ends or starts at an inaccessible page.
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "check.h"
#include "kernels/kernels.h"
#include "kernels/scalar/matmul_lanes.h"
#include "matmul_fixture.h"
#include "quant/quant.h"

namespace {

using namespace lutra;
using namespace matmul_fixture;
using kernels::KernelTable;
using kernels::MatmulArgs;

constexpr TensorType kTypes[] = {
    TensorType::F32,  TensorType::F16,    TensorType::BF16,   TensorType::Q4_0,  TensorType::Q4_1,  TensorType::Q5_0,
    TensorType::Q5_1, TensorType::Q8_0,   TensorType::Q2_K,   TensorType::Q3_K,  TensorType::Q4_K,  TensorType::Q5_K,
    TensorType::Q6_K, TensorType::IQ4_NL, TensorType::IQ4_XS, TensorType::TQ1_0, TensorType::TQ2_0, TensorType::MXFP4};

/// Every path of this machine, the scalar one first.
std::vector<const KernelTable*> tables;

struct Matrix {
  TensorType type;
  uint32_t rows, k;
  std::vector<uint8_t> gguf, panels;

  Matrix(TensorType t, uint32_t n_rows, uint32_t n_k, Codes codes, bool tiny, std::mt19937& random)
      : type(t),
        rows(n_rows),
        k(n_k),
        gguf(gguf_rows(t, n_rows, n_k, codes, tiny, random)),
        panels(pack(t, gguf, n_rows, n_k)) {}
};

/// out[n][rows] of columns [first, first + n), through guarded copies; -1 fills what must stay untouched.
std::vector<float> run(const KernelTable& table, const Matrix& m, const Activations& a, uint32_t first, uint32_t n,
                       Touch touch, uint32_t panel_begin, uint32_t panel_end, uint32_t padding = 0) {
  const size_t stride = m.rows + padding;
  const auto slice = [&](const auto& values, size_t per_row) {
    using T = typename std::decay_t<decltype(values)>::value_type;
    return std::vector<T>(values.begin() + static_cast<long>(first * per_row),
                          values.begin() + static_cast<long>((first + n) * per_row));
  };
  const Guarded panels(m.panels, touch);
  const Guarded planes(slice(a.planes, 2 * m.k), touch), d(slice(a.d, m.k / 32), touch), s(slice(a.s, m.k / 32), touch);
  const Guarded s16(slice(a.s16, m.k / 16), touch), x(slice(a.x, m.k), touch);
  const size_t n_out = (n - 1) * stride + m.rows;
  const Guarded out(std::vector<float>(n_out, -1.0f), touch);
  MatmulArgs args{};
  args.panels = panels.as<uint8_t>();
  args.panel_bytes = quant::panel_bytes(m.type, m.k);
  args.rows = m.rows;
  args.k = m.k;
  args.panel_begin = panel_begin;
  args.panel_end = panel_end;
  args.n = n;
  args.activations = {planes.as<int8_t>(), d.as<float>(), s.as<float>(), s16.as<float>()};
  args.x = x.as<float>();
  args.out = out.as<float>();
  args.out_stride = stride;
  table.matmul[static_cast<uint32_t>(m.type)](args);
  return {out.as<float>(), out.as<float>() + n_out};
}

std::vector<float> run_all(const KernelTable& table, const Matrix& m, const Activations& a, Touch touch) {
  return run(table, m, a, 0, a.n, touch, 0, (m.rows + 7) / 8);
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

enum class Against { kCodes, kFloats };

/// Worst |found − exact| over Σ|w·x|, the exact sum taken in double over dequantised weights and over the activations'
/// codes (the kernel's own arithmetic) or floats (what quantising them costs as well).
double worst_error(const Matrix& m, const Activations& a, const std::vector<float>& found, Against against) {
  std::vector<float> w(m.k);
  // A product of scales below float's normal range is exact to its smallest step only; a block's sum multiplies it.
  const double below_float = 0x1p-149 * 128 * 32639 * m.k;
  double worst = 0;
  for (uint32_t r = 0; r < m.rows; ++r) {
    quant::dequantize_row(m.type, m.gguf.data() + r * quant::row_bytes(m.type, m.k), m.k, w.data());
    for (uint32_t c = 0; c < a.n; ++c) {
      double sum = 0, norm = 1e-300;
      for (uint32_t i = 0; i < m.k; ++i) {
        const size_t at = size_t{c} * m.k + i;
        const double value = is_float(m.type) || against == Against::kFloats ? double{a.x[at]} : a.value(at);
        sum += double{w[i]} * value;
        norm += std::fabs(double{w[i]} * value);
      }
      const double error = std::fabs(found[size_t{c} * m.rows + r] - sum);
      worst = std::fmax(worst, error < below_float ? 0.0 : error / norm);
    }
  }
  return worst;
}

void report(const char* what, const Matrix& m, uint32_t n, bool ok) {
  if (!ok) {
    std::fprintf(stderr, "%s: type %s rows %u k %u n %u\n", what, base::tensor_type_traits(m.type).name, m.rows, m.k,
                 n);
  }
  CHECK(ok);
}

void compare(const Matrix& m, const Activations& a, Touch touch) {
  const std::vector<float> scalar = run_all(*tables[0], m, a, touch);
  const double error = worst_error(m, a, scalar, Against::kCodes);
  // Float types add k products, quantised ones two terms a block; offsets can be several times the sum they correct.
  report("scalar against double", m, a.n, error <= (is_float(m.type) ? 2e-6 : 3e-6));
  for (size_t t = 1; t < tables.size(); ++t) {
    report(base::isa_name(tables[t]->isa), m, a.n, same_bits(run_all(*tables[t], m, a, touch), scalar));
  }
}

bool takes(TensorType type, uint32_t k) { return k % base::tensor_type_traits(type).block_elements == 0; }

void all_shapes() {
  std::mt19937 random(11);
  constexpr uint32_t kRows[] = {1, 2, 3, 5, 7, 8, 9, 16, 17};
  constexpr uint32_t kColumns[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17};
  for (TensorType type : kTypes) {
    uint32_t turn = 0;
    for (uint32_t k : {32u, 256u, 576u, 768u}) {
      if (!takes(type, k)) continue;
      for (uint32_t rows : kRows) {
        const Matrix m(type, rows, k, Codes::kRandom, false, random);
        for (uint32_t n : kColumns) {
          if (k > 256 && (n + rows + turn++) % 3 != 0) continue;
          const Activations a(n, k, random_floats(size_t{n} * k, random));
          compare(m, a, turn % 2 == 0 ? Touch::kEnd : Touch::kStart);
        }
      }
    }
  }
}

void columns_are_independent() {
  std::mt19937 random(13);
  for (TensorType type : kTypes) {
    const Matrix m(type, 29, 768, Codes::kRandom, false, random);
    const Activations a(17, 768, random_floats(17 * 768, random));
    for (const KernelTable* table : tables) {
      const std::vector<float> together = run_all(*table, m, a, Touch::kEnd);
      for (uint32_t n : {1u, 2u, 5u}) {
        for (uint32_t c = 0; c + n <= 17; c += n) {
          const std::vector<float> alone = run(*table, m, a, c, n, Touch::kStart, 0, 4);
          report("columns alone", m, n, std::memcmp(alone.data(), &together[c * 29], n * 29 * sizeof(float)) == 0);
        }
      }
    }
  }
}

/// Panels outside [panel_begin, panel_end), and the padding between columns, stay untouched.
void writes_only_its_rows() {
  std::mt19937 random(17);
  for (TensorType type : kTypes) {
    const Matrix m(type, 37, 256, Codes::kRandom, false, random);
    const Activations a(9, 256, random_floats(9 * 256, random));
    for (const KernelTable* table : tables) {
      const std::vector<float> whole = run_all(*table, m, a, Touch::kEnd);
      for (uint32_t begin : {0u, 1u, 4u}) {
        for (uint32_t end = begin; end <= 5; ++end) {
          const std::vector<float> part = run(*table, m, a, 0, 9, Touch::kEnd, begin, end, 3);
          bool ok = true;
          for (size_t i = 0; i < part.size(); ++i) {
            const size_t c = i / 40, r = i % 40;
            const bool written = r < 37 && r / 8 >= begin && r / 8 < end;
            ok = ok && part[i] == (written ? whole[c * 37 + r] : -1.0f);
          }
          report("part of the panels", m, 9, ok);
        }
      }
    }
  }
}

/// Codes and activations at their extremes: the sums that would saturate int16 if anything could.
void extremes() {
  std::mt19937 random(19);
  for (TensorType type : kTypes) {
    for (Codes codes : {Codes::kAllSet, Codes::kAllClear, Codes::kRandom}) {
      for (bool tiny : {false, true}) {
        const Matrix m(type, 11, 512, codes, tiny, random);
        std::vector<float> x(size_t{9} * 512);
        for (size_t i = 0; i < x.size(); ++i) {
          const size_t column = i / 512;
          const float sign = column == 0 ? 1.0f : column == 1 ? -1.0f : (i >> (column - 2)) & 1 ? -1.0f : 1.0f;
          x[i] = column == 8 ? 0.0f : sign * 3.0f;
        }
        compare(m, Activations(9, 512, std::move(x)), Touch::kEnd);
      }
    }
  }
  // Planes the quantiser never pairs: every high and low at either end, alone, together and opposed.
  for (TensorType type : kTypes) {
    for (Codes codes : {Codes::kAllSet, Codes::kAllClear, Codes::kRandom}) {
      const Matrix m(type, 9, 512, codes, false, random);
      Activations a(10, 512, std::vector<float>(size_t{10} * 512, 3.0f));
      a.set_planes([&](size_t at, bool is_high) {
        constexpr int8_t kHigh[] = {127, 127, -127, -127, 127, -127, 0, 0};
        constexpr int8_t kLow[] = {127, -127, 127, -127, 0, 0, 127, -127};
        const size_t column = at / 512;
        if (column < 8) return is_high ? kHigh[column] : kLow[column];
        return static_cast<int8_t>(column == 8 ? (random() & 1 ? 127 : -127) : static_cast<int>(random() % 255) - 127);
      });
      if (!is_float(type)) compare(m, a, Touch::kStart);
    }
  }
  // Int8 weights of −128, which no quantiser writes but a file can hold.
  Matrix lowest(TensorType::Q8_0, 8, 64, Codes::kRandom, false, random);
  for (size_t i = 0; i < lowest.gguf.size(); ++i) {
    if (i % 34 >= 2) lowest.gguf[i] = 0x80;
  }
  lowest.panels = pack(TensorType::Q8_0, lowest.gguf, 8, 64);
  for (float value : {1.0f, -1.0f}) compare(lowest, Activations(3, 64, std::vector<float>(3 * 64, value)), Touch::kEnd);
}

/// Every E8M0 scale that loads, in a column of 1: products of powers of two, exact where float holds them.
void every_exponent() {
  std::mt19937 random(37);
  constexpr uint32_t kRows = 253;
  Matrix m(TensorType::MXFP4, kRows, 32, Codes::kAllClear, false, random);
  for (uint32_t r = 0; r < kRows; ++r) {
    m.gguf[17 * r] = static_cast<uint8_t>(r);
    m.gguf[17 * r + 1] = 0x02;  // the first weight: 2^(r − 127)
  }
  m.panels = pack(TensorType::MXFP4, m.gguf, kRows, 32);
  Activations a(5, 32, std::vector<float>(size_t{5} * 32, 1.0f));
  a.set_planes([](size_t at, bool is_high) { return static_cast<int8_t>(is_high && at % 32 == 0 ? 1 : 0); });
  for (float& d : a.d) d = 0x1p-8f;
  for (const KernelTable* table : tables) {
    const std::vector<float> found = run_all(*table, m, a, Touch::kEnd);
    bool ok = true;
    for (size_t i = 0; i < found.size(); ++i) {
      ok = ok && found[i] == std::ldexp(1.0f, static_cast<int>(i % kRows) - 127);
    }
    report("exponents", m, a.n, ok);
  }
}

/// The scalar twin's own fused multiply-add against the library's: any bits, exact midpoints, subnormals.
void fused_multiply_add_is_exact() {
  std::mt19937 random(29);
  int wrong = 0, midpoints = 0;
  for (int i = 0; i < 400000; ++i) {
    float a[8], b[8], acc[8], expected[8];
    for (int lane = 0; lane < 8; ++lane) {
      uint32_t bits[3];
      for (uint32_t& word : bits) word = static_cast<uint32_t>(random());
      if (i % 4 == 1) {
        // Few bits, exponents about 24 apart: sums that often are, or just miss, a midpoint of two floats.
        for (uint32_t& word : bits) word = (word & 0x80070000u) | ((124 + ((word >> 3) & 7)) << 23);
        bits[2] += 13u << 23 | (random() & 1u);
        bits[1] -= 12u << 23;
      }
      if (i % 4 == 2) {
        // Products around the subnormal border.
        for (uint32_t& word : bits) word = (word & 0x807FFFFFu) | ((60 + ((word >> 3) & 7)) << 23);
        bits[2] = (bits[2] & 0x807FFFFFu) | ((random() & 3u) << 23);
      }
      std::memcpy(&a[lane], &bits[0], 4);
      std::memcpy(&b[lane], &bits[1], 4);
      std::memcpy(&acc[lane], &bits[2], 4);
      expected[lane] = std::fma(a[lane], b[lane], acc[lane]);
      const double sum = double{a[lane]} * b[lane] + acc[lane];
      uint64_t sum_bits;
      std::memcpy(&sum_bits, &sum, 8);
      midpoints += (sum_bits & 0x1FFFFFFF) == 0x10000000 ? 1 : 0;
    }
    kernels::scalar::fma8(a, b, acc);
    for (int lane = 0; lane < 8; ++lane) {
      const bool both_nan = std::isnan(acc[lane]) && std::isnan(expected[lane]);
      wrong += both_nan || std::memcmp(&acc[lane], &expected[lane], 4) == 0 ? 0 : 1;
    }
  }
  CHECK_EQ(wrong, 0);
  CHECK(midpoints > 1000);
}

/// The whole product, quantising included, against the floats it stands for: a code is off by half a step of 1/32512 of
/// its block's maximum, or by one when low is kept off −128.
void quantising_costs_little() {
  std::mt19937 random(31);
  for (TensorType type : kTypes) {
    const Matrix m(type, 24, 1536, Codes::kRandom, false, random);
    const Activations a(5, 1536, random_floats(5 * 1536, random));
    const double error = worst_error(m, a, run_all(*tables[0], m, a, Touch::kEnd), Against::kFloats);
    report("products of floats", m, 5, error <= 1e-5);
  }
}

/// Enough columns for several column blocks.
void many_columns() {
  std::mt19937 random(23);
  for (TensorType type : {TensorType::Q4_1, TensorType::Q8_0, TensorType::Q6_K, TensorType::F16}) {
    const Matrix m(type, 9, 1536, Codes::kRandom, false, random);
    compare(m, Activations(301, 1536, random_floats(301 * 1536, random)), Touch::kEnd);
  }
}

}  // namespace

int main() {
  for (const base::Isa isa : {base::Isa::kScalar, base::Isa::kAvx2, base::Isa::kAvx512, base::Isa::kNeon}) {
    if (const KernelTable* table = kernels::kernel_table(isa)) tables.push_back(table);
  }
  for (const KernelTable* table : tables) std::printf("path: %s\n", base::isa_name(table->isa));
  all_shapes();
  columns_are_independent();
  writes_only_its_rows();
  extremes();
  many_columns();
  quantising_costs_little();
  every_exponent();
  fused_multiply_add_is_exact();
  return lutra_test_summary();
}
