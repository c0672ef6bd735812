// Split Q8_0 matrices: products and rows have the bits of whole panels on every instruction set; the first look is
// bit-equal to its scalar twin; and neither touches more than its panels and rows.
#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "check.h"
#include "guarded_array.h"
#include "kernels/panel_layout.h"
#include "kernels/screen_args.h"
#include "matmul_fixture.h"
#include "quant/split_matrix.h"

namespace {

using lutra::base::Isa;
using lutra::base::TensorType;
using lutra::kernels::kernel_table;
using lutra::kernels::KernelTable;
using lutra::kernels::kScreenRows;
using lutra_test::Guard;
using lutra_test::GuardedArray;

std::vector<const KernelTable*> all_tables() {
  std::vector<const KernelTable*> tables;
  for (const Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kNeon}) {
    if (const KernelTable* table = kernel_table(isa)) tables.push_back(table);
  }
  return tables;
}

/// Rows of Q8_0 with random codes and scales.
struct Head {
  uint32_t rows, k;
  std::vector<uint8_t> whole, bytes;
  lutra::quant::Matrix split, plain;

  Head(uint32_t n_rows, uint32_t columns, uint32_t seed) : rows(n_rows), k(columns) {
    std::mt19937 random(seed);
    const std::vector<uint8_t> gguf =
        matmul_fixture::gguf_rows(TensorType::Q8_0, rows, k, matmul_fixture::Codes::kRandom, false, random);
    const uint32_t n_panels = (rows + 7) / 8;
    const uint64_t row_bytes = lutra::quant::row_bytes(TensorType::Q8_0, k);
    split = plain = {.type = TensorType::Q8_0, .rows = rows, .k = k};
    lutra::quant::plan_split(split);
    plain.panel_bytes = lutra::quant::panel_bytes(TensorType::Q8_0, k);
    for (lutra::quant::Matrix* matrix : {&split, &plain}) {
      matrix->group_bytes = lutra::quant::kGroupPanels * matrix->panel_bytes;
    }
    whole.resize(n_panels * plain.panel_bytes);
    bytes.resize(n_panels * (split.panel_bytes + split.low_panel_bytes));
    for (uint32_t p = 0; p < n_panels; ++p) {
      const uint32_t n = std::min(8u, rows - 8 * p);
      const uint8_t* source = gguf.data() + 8 * p * row_bytes;
      lutra::quant::pack_panel(TensorType::Q8_0, source, n, k, whole.data() + p * plain.panel_bytes);
      lutra::quant::pack_split_panel(source, n, k, bytes.data() + p * split.panel_bytes,
                                     bytes.data() + n_panels * split.panel_bytes + p * split.low_panel_bytes);
    }
    plain.panels = whole.data();
    lutra::quant::place_split(split, bytes.data());
  }
  Head(const Head&) = delete;
  Head& operator=(const Head&) = delete;
};

/// One panel and its activations between inaccessible pages: the kernel reads and writes nothing else.
void test_guarded() {
  const Head head(8, 128, 1);
  std::mt19937 random(1);
  const matmul_fixture::Activations x(1, 128, matmul_fixture::random_floats(128, random));
  for (const KernelTable* table : all_tables()) {
    for (const Guard guard : {Guard::kBefore, Guard::kAfter}) {
      GuardedArray<uint8_t> high(4 * lutra::kernels::kPanelQ4_0.bytes, guard);
      GuardedArray<uint8_t> low(4 * lutra::kernels::kSplitLowUnit, guard);
      GuardedArray<int8_t> planes(2 * 128, guard);
      GuardedArray<float> d(4, guard), expected(8, guard), found(8, guard);
      high.copy_from(head.split.panels);
      low.copy_from(head.split.low);
      planes.copy_from(x.planes.data());
      d.copy_from(x.d.data());
      lutra::kernels::MatmulArgs args{};
      args.panels = head.whole.data();
      args.rows = 8;
      args.k = 128;
      args.panel_end = 1;
      args.n = 1;
      args.activations = {planes.data(), d.data(), x.s.data(), x.s16.data()};
      args.out = expected.data();
      args.out_stride = 8;
      table->matmul[static_cast<uint32_t>(TensorType::Q8_0)](args);
      args.panels = high.data();
      args.low_panels = low.data();
      args.out = found.data();
      table->matmul_split(args);
      CHECK(std::memcmp(expected.data(), found.data(), 8 * sizeof(float)) == 0);
    }
  }
}

void test_products_and_rows() {
  std::mt19937 random(2);
  for (const uint32_t k : {32u, 576u, 640u, 2048u}) {
    for (const uint32_t rows : {1u, 8u, 61u, 203u}) {
      const Head head(rows, k, rows + k);
      for (const KernelTable* table : all_tables()) {
        lutra::base::ThreadTeam team(2);
        for (const uint32_t n : {1u, 3u, 17u}) {
          std::vector<uint8_t> arena(lutra::quant::Activations::bytes_needed(n, k) + 64);
          auto* aligned = reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(arena.data()) + 63) / 64 * 64);
          lutra::quant::Activations x(aligned, n, k);
          x.begin(n, k);
          const std::vector<float> values = matmul_fixture::random_floats(static_cast<size_t>(n) * k, random);
          std::copy(values.begin(), values.end(), x.row(0));
          std::vector<float> expected(static_cast<size_t>(n) * rows), found(expected.size(), 7.0f);
          const lutra::quant::Product plain[] = {{&head.plain, expected.data(), rows}};
          const lutra::quant::Product parted[] = {{&head.split, found.data(), rows}};
          lutra::quant::multiply(team, *table, x, plain);
          lutra::quant::multiply(team, *table, x, parted);
          CHECK(std::memcmp(expected.data(), found.data(), expected.size() * sizeof(float)) == 0);
        }
        std::vector<float> expected(k), found(k);
        for (const uint32_t row : {0u, rows / 2, rows - 1}) {
          lutra::quant::dequantize_matrix_row(head.plain, row, expected.data());
          lutra::quant::dequantize_matrix_row(head.split, row, found.data());
          CHECK(std::memcmp(expected.data(), found.data(), k * sizeof(float)) == 0);
        }
      }
    }
  }
}

// Every table gives the scalar one's bits, for any number of activation rows.
void check_screen(const Head& head, uint32_t rows, uint32_t n, std::mt19937& random) {
  const uint32_t blocks = 18, k = 32 * blocks, n_panels = (rows + 7) / 8, stride = n_panels + 2;
  const matmul_fixture::Activations x(n, k, matmul_fixture::random_floats(size_t{n} * k, random));
  const size_t per_constant = size_t{blocks} * kScreenRows;
  const std::vector<float> factors = matmul_fixture::random_floats(4 * per_constant, random);
  std::vector<float> expected;
  for (const KernelTable* table : all_tables()) {
    GuardedArray<float> best(size_t{n} * stride, Guard::kAfter), reach(size_t{n} * stride, Guard::kAfter);
    GuardedArray<float> constants(factors.size(), Guard::kAfter);
    constants.copy_from(factors.data());
    std::fill_n(best.data(), n * stride, 7.0f);
    std::fill_n(reach.data(), n * stride, 7.0f);
    table->screen({
        .panels = head.split.panels,
        .radii = head.bytes.data(),
        .panel_bytes = head.split.panel_bytes,
        .n_blocks = blocks,
        .panel_begin = 0,
        .panel_end = n_panels,
        .n = n,
        .activations = {x.planes.data(), x.d.data(), x.s.data(), x.s16.data()},
        .scale = constants.data(),
        .centre = constants.data() + per_constant,
        .box = constants.data() + 2 * per_constant,
        .ball = constants.data() + 3 * per_constant,
        .best = best.data(),
        .reach = reach.data(),
        .stride = stride,
    });
    std::vector<float> found(best.data(), best.data() + size_t{n} * stride);
    found.insert(found.end(), reach.data(), reach.data() + size_t{n} * stride);
    if (table->isa == Isa::kScalar) expected = found;
    CHECK(std::memcmp(found.data(), expected.data(), found.size() * sizeof(float)) == 0);
  }
}

void test_screen() {
  std::mt19937 random(3);
  for (const uint32_t rows : {3u, 16u, 29u}) {
    const Head head(rows, 32 * 18, rows);
    for (const uint32_t n : {1u, 2u, 3u, 5u, 8u}) check_screen(head, rows, n, random);
  }
}

}  // namespace

int main() {
  test_guarded();
  test_products_and_rows();
  test_screen();
  return lutra_test_summary();
}
