// Products with column strips: the scalar twin against the panels of the same weights with the other channels' planes
// zeroed, every SIMD path against the scalar twin, rows of activations that share a list against themselves alone, all
// bit for bit. Every array ends or starts at an inaccessible page.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "check.h"
#include "kernels/kernels.h"
#include "matmul_fixture.h"
#include "quant/column_matrix.h"
#include "quant/quant.h"

namespace {

using namespace lutra;
using namespace matmul_fixture;
using kernels::ColumnsArgs;
using kernels::KernelTable;
using kernels::kStripRows;
using quant::ColumnMatrix;

constexpr TensorType kTypes[] = {TensorType::Q4_0, TensorType::Q4_1, TensorType::Q5_0,
                                 TensorType::Q8_0, TensorType::Q4_K, TensorType::Q6_K};

/// Every path of this machine, the scalar one first.
std::vector<const KernelTable*> tables;

uint32_t granule_of(TensorType type) { return type == TensorType::Q6_K ? 16 : 32; }
bool takes(TensorType type, uint32_t k) { return k % base::tensor_type_traits(type).block_elements == 0; }

struct Weights {
  ColumnMatrix matrix;
  std::vector<uint8_t> gguf, columns;

  Weights(TensorType type, uint32_t rows, uint32_t k, std::vector<uint8_t> bytes, uint32_t group_strips = 0)
      : matrix(type, rows, k), gguf(std::move(bytes)) {
    if (group_strips != 0) matrix.group_strips = group_strips;
    columns.resize(matrix.bytes());
    quant::pack_columns(matrix, gguf.data(), 0, rows, columns.data());
    matrix.groups = columns.data();
  }
};

Weights random_weights(TensorType type, uint32_t rows, uint32_t k, std::mt19937& random, uint32_t group_strips = 0,
                       Codes codes = Codes::kRandom) {
  return {type, rows, k, gguf_rows(type, rows, k, codes, false, random), group_strips};
}

/// Which of n · k channels each row of activations keeps.
using Kept = std::vector<uint8_t>;

Kept random_kept(uint32_t n, uint32_t k, double share, std::mt19937& random) {
  Kept kept(size_t{n} * k);
  std::bernoulli_distribution keep(share);
  for (uint8_t& channel : kept) channel = keep(random);
  return kept;
}

/// What is left of activations when the channels that are not kept are zeros; d stays.
Activations masked(Activations a, const Kept& kept) {
  const std::vector<int8_t> planes = a.planes;
  a.set_planes([&](size_t at, bool is_high) {
    return static_cast<int8_t>(kept[at] ? planes[at / 32 * 64 + at % 32 + (is_high ? 0 : 32)] : 0);
  });
  return a;
}

/// Rows [first, first + n) of masked activations as a kernel takes them, with the channels any of them keeps.
struct Lists {
  uint32_t n;
  std::vector<uint32_t> ends;
  std::vector<uint8_t> channels;
  std::vector<int8_t> planes;
  std::vector<int32_t> sums;
  std::vector<float> d, s, s16;

  Lists(const Activations& a, const Kept& kept, uint32_t first, uint32_t rows, uint32_t granule) : n(rows) {
    std::vector<uint32_t> order;  // of channels in k, by quads
    for (uint32_t begin = 0; begin < a.k; begin += granule) {
      for (uint32_t i = begin; i < begin + granule; ++i) {
        for (uint32_t t = first; t < first + n; ++t) {
          if (!kept[size_t{t} * a.k + i]) continue;
          order.push_back(i);
          break;
        }
      }
      while (order.size() % 4 != 0) order.push_back(kNone + begin + order.size() % granule);
      ends.push_back(static_cast<uint32_t>(order.size() / 4));
    }
    for (const uint32_t channel : order) channels.push_back(static_cast<uint8_t>(channel % 32));
    for (uint32_t t = first; t < first + n; ++t) add_row(a, t, order);
  }

  uint64_t stride() const { return channels.size() * 2; }

 private:
  static constexpr uint32_t kNone = 1u << 31;  // a channel that fills up a quad

  void add_row(const Activations& a, uint32_t t, const std::vector<uint32_t>& order) {
    const auto plane = [&](size_t at, size_t low) {
      if (order[at] >= kNone) return int8_t{0};
      return a.planes[2 * size_t{t} * a.k + order[at] / 32 * 64 + order[at] % 32 + 32 * low];
    };
    for (size_t quad = 0; quad < order.size() / 4; ++quad) {
      for (size_t i = 0; i < 8; ++i) planes.push_back(plane(4 * quad + i % 4, i / 4));
    }
    const size_t blocks = a.k / 32;
    for (size_t block = t * blocks; block < (t + 1) * blocks; ++block) {
      int32_t sum = 0;
      for (size_t i = 0; i < 32; ++i) sum += 256 * a.planes[64 * block + i] + a.planes[64 * block + 32 + i];
      sums.push_back(sum);
      d.push_back(a.d[block]);
      s.push_back(a.s[block]);
      s16.insert(s16.end(), {a.s16[2 * block], a.s16[2 * block + 1]});
    }
  }
};

/// Strips [begin, end) of group g, at most `limit` rows, into out[n][stride]; arrays between guard pages.
std::vector<float> run_strips(const KernelTable& table, const Weights& w, const Lists& lists, Touch touch, uint32_t g,
                              uint32_t begin, uint32_t end, uint32_t padding = 0) {
  const ColumnMatrix& m = w.matrix;
  const uint32_t first = (g * m.group_strips + begin) * kStripRows;
  const uint32_t rows = std::min(m.rows - first, (end - begin) * kStripRows);
  const uint64_t offset = m.group_offset(g), bytes = m.group_bytes(m.strips_of(g));
  const Guarded group(std::vector<uint8_t>(&w.columns[offset], &w.columns[offset] + bytes), touch);
  const Guarded ends(lists.ends, touch), channels(lists.channels, touch), planes(lists.planes, touch);
  const Guarded sums(lists.sums, touch), d(lists.d, touch), s(lists.s, touch), s16(lists.s16, touch);
  const size_t n_out = size_t{lists.n - 1} * (rows + padding) + rows;
  const Guarded out(std::vector<float>(n_out, -1.0f), touch);
  ColumnsArgs args{};
  args.group = group.as<uint8_t>();
  args.strips = m.strips_of(g);
  args.strip_begin = begin;
  args.strip_end = end;
  args.rows = rows;
  args.k = m.k;
  args.n = lists.n;
  args.channels = {granule_of(m.type), ends.as<uint32_t>(), channels.as<uint8_t>(), planes.as<int8_t>(),
                   lists.stride()};
  args.sums = sums.as<int32_t>();
  args.d = d.as<float>();
  args.s = s.as<float>();
  args.s16 = s16.as<float>();
  args.out = out.as<float>();
  args.out_stride = rows + padding;
  table.columns[static_cast<uint32_t>(m.type)](args);
  return {out.as<float>(), out.as<float>() + n_out};
}

/// [n][rows] of the whole matrix.
std::vector<float> run(const KernelTable& table, const Weights& w, const Lists& lists, Touch touch) {
  std::vector<float> all(size_t{lists.n} * w.matrix.rows);
  uint32_t row = 0;
  for (uint32_t g = 0; g < w.matrix.n_groups(); ++g) {
    const std::vector<float> part = run_strips(table, w, lists, touch, g, 0, w.matrix.strips_of(g));
    const uint32_t rows = static_cast<uint32_t>(part.size() / lists.n);
    for (uint32_t t = 0; t < lists.n; ++t) {
      std::memcpy(&all[size_t{t} * w.matrix.rows + row], &part[size_t{t} * rows], rows * sizeof(float));
    }
    row += rows;
  }
  return all;
}

std::vector<float> run_panels(const Weights& w, const Activations& a) {
  const ColumnMatrix& m = w.matrix;
  const std::vector<uint8_t> panels = pack(m.type, w.gguf, m.rows, m.k);
  std::vector<float> out(size_t{a.n} * m.rows);
  kernels::MatmulArgs args{};
  args.panels = panels.data();
  args.panel_bytes = quant::panel_bytes(m.type, m.k);
  args.rows = m.rows;
  args.k = m.k;
  args.panel_end = (m.rows + 7) / 8;
  args.n = a.n;
  args.activations = {a.planes.data(), a.d.data(), a.s.data(), a.s16.data()};
  args.out = out.data();
  args.out_stride = m.rows;
  tables.back()->matmul[static_cast<uint32_t>(m.type)](args);
  return out;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

void report(const char* what, const Weights& w, uint32_t n, bool ok) {
  if (!ok) {
    std::fprintf(stderr, "%s: type %s rows %u k %u strips %u n %u\n", what,
                 base::tensor_type_traits(w.matrix.type).name, w.matrix.rows, w.matrix.k, w.matrix.group_strips, n);
  }
  CHECK(ok);
}

/// All paths against the scalar one, and that against the panels.
void compare(const Weights& w, const Activations& whole, const Kept& kept, Touch touch) {
  const Activations a = masked(whole, kept);
  const Lists lists(a, kept, 0, a.n, granule_of(w.matrix.type));
  const std::vector<float> scalar = run(*tables[0], w, lists, touch);
  report("scalar against panels", w, a.n, same_bits(scalar, run_panels(w, a)));
  for (size_t t = 1; t < tables.size(); ++t) {
    report(base::isa_name(tables[t]->isa), w, a.n, same_bits(run(*tables[t], w, lists, touch), scalar));
  }
}

void all_shapes() {
  std::mt19937 random(11);
  constexpr double kShares[] = {1.0, 0.6, 0.2, 0.03};
  uint32_t turn = 0;
  for (TensorType type : kTypes) {
    for (uint32_t rows : {1u, 63u, 64u, 65u, 129u, 576u}) {
      for (uint32_t k : {32u, 256u, 576u, 1024u}) {
        if (!takes(type, k) || (rows == 576 && k > 576)) continue;
        const uint32_t strips = turn % 3 == 0 ? 0 : 1u << turn % 4;
        const Weights w = random_weights(type, rows, k, random, strips);
        for (uint32_t n = 1; n <= kernels::kColumnTokens; ++n, ++turn) {
          const Activations a(n, k, random_floats(size_t{n} * k, random));
          const double share = n == 1 ? 1.0 : kShares[turn % 4];
          compare(w, a, random_kept(n, k, share, random), turn % 2 == 0 ? Touch::kEnd : Touch::kStart);
        }
      }
    }
  }
}

/// Groups as wide as can be, among them those whose channels would stand a kilobyte apart.
void wide_groups() {
  std::mt19937 random(12);
  for (TensorType type : kTypes) {
    for (uint32_t strips : {16u, 32u, 64u}) {
      const Weights w = random_weights(type, kStripRows * strips - 5, 256, random, strips);
      for (uint32_t n : {1u, 4u}) {
        const Activations a(n, 256, random_floats(size_t{n} * 256, random));
        compare(w, a, random_kept(n, 256, 0.5, random), Touch::kEnd);
      }
    }
  }
}

/// No channel at all, one in all, one a unit, units without any between units with all, one row that keeps none.
void sparse_lists() {
  std::mt19937 random(13);
  for (TensorType type : kTypes) {
    const Weights w = random_weights(type, 200, 512, random, 3);
    for (uint32_t n : {1u, 2u, 3u, 4u}) {
      const Activations a(n, 512, random_floats(size_t{n} * 512, random));
      Kept none(size_t{n} * 512, 0), one = none, each = none, gaps = none, but_first(size_t{n} * 512, 1);
      one[77] = 1;
      for (size_t i = 0; i < none.size(); ++i) {
        each[i] = i % 32 == i / 32 % 32;
        gaps[i] = i / 32 % 3 == 1;
        if (i < 512) but_first[i] = 0;
      }
      for (const Kept& kept : {none, one, each, gaps, but_first}) compare(w, a, kept, Touch::kEnd);
      const std::vector<float> zeros =
          run(*tables.back(), w, Lists(masked(a, none), none, 0, n, granule_of(type)), Touch::kEnd);
      report("no channel", w, n, same_bits(zeros, std::vector<float>(zeros.size(), 0.0f)));
    }
  }
}

void rows_are_independent() {
  std::mt19937 random(17);
  for (TensorType type : kTypes) {
    const Weights w = random_weights(type, 150, 768, random);
    const Activations whole(4, 768, random_floats(4 * 768, random));
    const Kept kept = random_kept(4, 768, 0.3, random);
    const Activations a = masked(whole, kept);
    for (const KernelTable* table : tables) {
      const std::vector<float> together = run(*table, w, Lists(a, kept, 0, 4, granule_of(type)), Touch::kEnd);
      for (uint32_t n : {1u, 2u, 3u}) {
        for (uint32_t t = 0; t + n <= 4; ++t) {
          const std::vector<float> alone = run(*table, w, Lists(a, kept, t, n, granule_of(type)), Touch::kStart);
          report("rows alone", w, n, std::memcmp(alone.data(), &together[size_t{t} * 150], alone.size() * 4) == 0);
        }
      }
    }
  }
}

/// Any range of strips of a group gives those rows of the whole, and leaves the padding between rows of results alone.
void ranges_of_strips() {
  std::mt19937 random(19);
  for (TensorType type : kTypes) {
    const uint32_t rows = 64 * 11 + 5;
    const Weights w = random_weights(type, rows, 256, random, 8);
    const Activations whole(2, 256, random_floats(2 * 256, random));
    const Kept kept = random_kept(2, 256, 0.5, random);
    const Lists lists(masked(whole, kept), kept, 0, 2, granule_of(type));
    for (const KernelTable* table : tables) {
      const std::vector<float> all = run(*table, w, lists, Touch::kEnd);
      for (uint32_t g = 0; g < 2; ++g) {
        for (uint32_t begin = 0; begin < w.matrix.strips_of(g); ++begin) {
          for (uint32_t end = begin + 1; end <= w.matrix.strips_of(g); end += 2) {
            const std::vector<float> part = run_strips(*table, w, lists, Touch::kEnd, g, begin, end, 3);
            const size_t n_rows = (part.size() - 3) / 2, first = (8 * g + begin) * 64;
            bool ok = true;
            for (size_t i = 0; i < part.size(); ++i) {
              const size_t t = i / (n_rows + 3), r = i % (n_rows + 3);
              ok = ok && part[i] == (r < n_rows ? all[t * rows + first + r] : -1.0f);
            }
            report("part of the strips", w, 2, ok);
          }
        }
      }
    }
  }
}

/// Codes and planes at their extremes: the sums that would saturate if any could.
void extremes() {
  std::mt19937 random(23);
  for (TensorType type : kTypes) {
    for (Codes codes : {Codes::kAllSet, Codes::kAllClear, Codes::kRandom}) {
      Weights w = random_weights(type, 70, 512, random, 2, codes);
      if (type == TensorType::Q8_0 && codes != Codes::kRandom) {  // −128 and 127
        for (size_t i = 0; i < w.gguf.size(); ++i) {
          if (i % 34 >= 2) w.gguf[i] = codes == Codes::kAllSet ? 0x7F : 0x80;
        }
        w = Weights(type, 70, 512, w.gguf, 2);
      }
      for (uint32_t set = 0; set < 3; ++set) {
        Activations a(4, 512, std::vector<float>(4 * 512, 3.0f));
        a.set_planes([&](size_t at, bool is_high) {
          constexpr int8_t kHigh[] = {127, 127, -127, -127, 127, -127, 0, 0};
          constexpr int8_t kLow[] = {127, -127, 127, -127, 0, 0, 127, -127};
          const size_t row = 4 * set + at / 512;
          if (row < 8) return is_high ? kHigh[row] : kLow[row];
          return static_cast<int8_t>(random() & 1 ? 127 : -127);
        });
        compare(w, a, random_kept(4, 512, 1.0, random), Touch::kStart);
        compare(w, a, random_kept(4, 512, 0.5, random), Touch::kEnd);
      }
    }
  }
}

bool same_or_nan(const std::vector<float>& a, const std::vector<float>& b) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) ? !std::isnan(b[i]) : std::memcmp(&a[i], &b[i], 4) != 0) return false;
  }
  return a.size() == b.size();
}

/// A NaN in a block of activations, or in a row's scale, reaches what it should and nothing else.
void nan_scales() {
  std::mt19937 random(29);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (TensorType type : kTypes) {
    Weights w = random_weights(type, 80, 256, random);
    for (const ScaleFields& fields : kScaleFields) {
      if (fields.type != type) continue;
      const uint64_t at = 67 * quant::row_bytes(type, 256) + static_cast<uint64_t>(fields.first);
      w.gguf[at] = 0x00;
      w.gguf[at + 1] = 0x7E;
    }
    w = Weights(type, 80, 256, w.gguf);
    Activations a(3, 256, random_floats(3 * 256, random));
    a.d[8 + 3] = a.s[8 + 3] = a.s16[2 * (8 + 3)] = a.s16[2 * (8 + 3) + 1] = nan;
    const Kept kept(3 * 256, 1);
    const Lists lists(a, kept, 0, 3, granule_of(type));
    const std::vector<float> scalar = run(*tables[0], w, lists, Touch::kEnd);
    for (size_t i = 0; i < scalar.size(); ++i) CHECK_EQ(std::isnan(scalar[i]), i / 80 == 1 || i % 80 == 67);
    for (const KernelTable* table : tables) {
      report("NaN", w, 3, same_or_nan(run(*table, w, lists, Touch::kEnd), scalar));
    }
  }
}

void packing_keeps_values() {
  std::mt19937 random(31);
  for (TensorType type : kTypes) {
    for (uint32_t strips : {1u, 3u, 8u}) {
      const Weights w = random_weights(type, 200, 512, random, strips);
      std::vector<float> expected(512), found(512);
      bool ok = true;
      for (uint32_t r = 0; r < 200; ++r) {
        quant::dequantize_row(type, w.gguf.data() + r * quant::row_bytes(type, 512), 512, expected.data());
        quant::dequantize_column_row(w.matrix, r, found.data());
        ok = ok && same_bits(expected, found);
      }
      report("values", w, 0, ok);
    }
  }
}

}  // namespace

int main() {
  for (const base::Isa isa : {base::Isa::kScalar, base::Isa::kAvx2, base::Isa::kAvx512, base::Isa::kNeon}) {
    if (const KernelTable* table = kernels::kernel_table(isa)) tables.push_back(table);
  }
  for (const KernelTable* table : tables) std::printf("path: %s\n", base::isa_name(table->isa));
  packing_keeps_values();
  all_shapes();
  wide_groups();
  sparse_lists();
  rows_are_independent();
  ranges_of_strips();
  extremes();
  nan_scales();
  return lutra_test_summary();
}
