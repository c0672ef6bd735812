// Gathered rows of pairs whose groups alternate: the weights, the bytes of freshly packed panels and, on every
// instruction set, the bits of the products of the picked rows; nothing outside the memory that was asked for.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "base/aligned_buffer.h"
#include "check.h"
#include "ffn/ffn.h"
#include "guarded_array.h"
#include "matmul_fixture.h"
#include "quant/gathered_rows.h"
#include "quant/lut_tile.h"
#include "quant/quant.h"

using namespace lutra;
using base::TensorType;
using kernels::KernelTable;
using lutra_test::Guard;
using lutra_test::GuardedArray;
using quant::Matrix;

namespace {

constexpr TensorType kTypes[] = {
    TensorType::Q4_0,  TensorType::Q4_1,   TensorType::Q4_K, TensorType::Q5_0, TensorType::Q6_K,  TensorType::Q8_0,
    TensorType::Q5_1,  TensorType::Q2_K,   TensorType::Q3_K, TensorType::Q5_K, TensorType::MXFP4, TensorType::IQ4_NL,
    TensorType::TQ2_0, TensorType::IQ4_XS, TensorType::F32,  TensorType::F16,  TensorType::BF16};
constexpr uint32_t kDim = 256;

std::vector<const KernelTable*> all_tables() {
  std::vector<const KernelTable*> tables;
  for (const base::Isa isa : {base::Isa::kScalar, base::Isa::kAvx2, base::Isa::kAvx512, base::Isa::kNeon}) {
    if (const KernelTable* table = kernels::kernel_table(isa)) tables.push_back(table);
  }
  return tables;
}

/// Two matrices of random weights, of types `first` and `second`, groups alternating as the model's arena has them.
struct Pair {
  base::AlignedBuffer bytes;
  std::vector<float> biases;
  std::vector<uint8_t> first_gguf, second_gguf;
  Matrix first, second;

  Pair(TensorType first_type, TensorType second_type, uint32_t rows, uint32_t k, uint32_t seed) {
    std::mt19937 random(seed);
    biases = matmul_fixture::random_floats(2 * rows, random);
    Matrix* const matrices[] = {&first, &second};
    first.type = first_type;
    second.type = second_type;
    uint64_t group_bytes = 0;
    for (Matrix* matrix : matrices) {
      matrix->rows = rows;
      matrix->k = k;
      matrix->panel_bytes = quant::panel_bytes(matrix->type, k);
      group_bytes += quant::kGroupPanels * matrix->panel_bytes;
    }
    bytes = base::AlignedBuffer(group_bytes * first.n_groups());
    first.panels = bytes.data();
    second.panels = bytes.data() + quant::kGroupPanels * first.panel_bytes;
    for (Matrix* matrix : matrices) {
      matrix->group_bytes = group_bytes;
      std::vector<uint8_t>& gguf = matrix == &first ? first_gguf : second_gguf;
      gguf = matmul_fixture::gguf_rows(matrix->type, rows, k, matmul_fixture::Codes::kRandom, false, random);
      const auto panels = matmul_fixture::pack(matrix->type, gguf, rows, k);
      for (uint32_t p = 0; p < matrix->n_panels(); ++p) {
        auto* const at = const_cast<uint8_t*>(matrix->panels) + matrix->panel_offset(p);
        std::memcpy(at, panels.data() + p * matrix->panel_bytes, matrix->panel_bytes);
      }
    }
  }
  void add_biases() {
    first.bias = biases.data();
    second.bias = biases.data() + first.rows;
  }
};

std::vector<uint32_t> pick(uint32_t count, uint32_t rows, std::mt19937& random) {
  std::vector<uint32_t> ids(rows);
  std::iota(ids.begin(), ids.end(), 0u);
  std::shuffle(ids.begin(), ids.end(), random);
  ids.resize(count);
  std::sort(ids.begin(), ids.end());
  return ids;
}

const uint8_t* panel_of(const Matrix& matrix, uint32_t row) {
  return matrix.panels + matrix.panel_offset(row / kernels::kPanelRows);
}

/// The weights and biases, and every byte of panels packed from the picked rows.
void check_rows(const Matrix& gathered, const Matrix& source, const std::vector<uint8_t>& gguf,
                const std::vector<uint32_t>& ids) {
  CHECK_EQ(gathered.rows, ids.size());
  const uint64_t row_bytes = quant::row_bytes(source.type, source.k);
  std::vector<uint8_t> picked;
  std::vector<float> expected(source.k), found(source.k);
  for (uint32_t i = 0; i < ids.size(); ++i) {
    quant::dequantize_panel_row(source.type, panel_of(source, ids[i]), ids[i] % 8, source.k, expected.data());
    quant::dequantize_panel_row(source.type, panel_of(gathered, i), i % 8, source.k, found.data());
    CHECK(std::memcmp(expected.data(), found.data(), source.k * sizeof(float)) == 0);
    CHECK(source.bias == nullptr ? gathered.bias == nullptr : gathered.bias[i] == source.bias[ids[i]]);
    const auto* const row = gguf.data() + ids[i] * row_bytes;
    picked.insert(picked.end(), row, row + row_bytes);
  }
  const auto packed = matmul_fixture::pack(source.type, picked, gathered.rows, source.k);
  for (uint32_t p = 0; p < gathered.n_panels(); ++p) {
    const auto* const panel = packed.data() + p * source.panel_bytes;
    CHECK(std::memcmp(panel_of(gathered, 8 * p), panel, source.panel_bytes) == 0);
  }
}

/// Activations with room of their own.
struct Inputs {
  base::AlignedBuffer bytes;
  quant::Activations rows;

  Inputs(uint32_t n, uint32_t k, uint32_t max_k, std::mt19937& random)
      : bytes(quant::Activations::bytes_needed(n, max_k)), rows(bytes.data(), n, max_k) {
    rows.begin(n, k);
    const std::vector<float> values = matmul_fixture::random_floats(size_t{n} * k, random);
    std::copy(values.begin(), values.end(), rows.row(0));
  }
};

/// gate_dense on gathered gate and up: the hidden values of the picked rows.
void test_pairs() {
  std::mt19937 random(3);
  base::ThreadTeam team(2);
  constexpr uint32_t kRows = 203;
  for (const TensorType type : kTypes) {
    for (const bool mixed : {false, true}) {
      Pair pair(type, mixed ? TensorType::Q6_K : type, kRows, kDim, 4);
      if (mixed) pair.add_biases();
      for (const uint32_t count : {1u, 32u, 33u, 70u, 101u, 203u}) {
        const std::vector<uint32_t> ids = pick(count, kRows, random);
        GuardedArray<uint8_t> place(quant::gathered_pair_bytes(pair.first, pair.second, count), Guard::kAfter);
        std::fill_n(place.data(), place.size(), uint8_t{0x5A});
        const quant::GatheredPair gathered = quant::gather_row_pair(pair.first, pair.second, ids, place.data());
        CHECK_EQ(gathered.first.group_bytes, pair.first.group_bytes);
        CHECK_EQ(gathered.second.group_bytes, pair.first.group_bytes);
        CHECK(gathered.second.panels == gathered.first.panels + quant::kGroupPanels * gathered.first.panel_bytes);
        check_rows(gathered.first, pair.first, pair.first_gguf, ids);
        check_rows(gathered.second, pair.second, pair.second_gguf, ids);
        for (const KernelTable* table : all_tables()) {
          Inputs x(2, kDim, kDim, random), all(2, kRows, 256, random), some(2, count, 256, random);
          ffn::gate_dense(team, *table, x.rows,
                          {&pair.first, &pair.second, ffn::Activation::kSilu, ffn::Hidden::kFloats, 0}, all.rows);
          ffn::gate_dense(team, *table, x.rows,
                          {&gathered.first, &gathered.second, ffn::Activation::kSilu, ffn::Hidden::kFloats, 0},
                          some.rows);
          bool same = true;
          for (uint32_t t = 0; t < 2; ++t) {
            for (uint32_t i = 0; i < count; ++i) {
              same = same && std::memcmp(some.rows.row(t) + i, all.rows.row(t) + ids[i], sizeof(float)) == 0;
            }
          }
          CHECK(same);
        }
      }
    }
  }
}

void test_refusals() {
  Pair pair(TensorType::Q8_0, TensorType::Q4_0, 16, 64, 5);
  CHECK(quant::can_gather(pair.first) && quant::can_gather(pair.second));
  pair.first.low = pair.bytes.data();
  pair.second.tiled = true;
  CHECK(!quant::can_gather(pair.first) && !quant::can_gather(pair.second));
}

}  // namespace

int main() {
  test_pairs();
  test_refusals();
  return lutra_test_summary();
}
