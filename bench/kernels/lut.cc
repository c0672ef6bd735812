// Products by table lookup against the multiply-adds, as the engine calls them: weight GB/s and share of the read
// ceiling of each form, and how far the outputs are from a product in double of the dequantised weights and the floats
// (relative error of the vector; what the activations' own quantising costs is part of it, `dot` shows how much).
//
// `dot` multiplies panels; `exact` looks up in exact tables and gives the bits of `dot`; `int8` in 8-bit tables, which
// is an approximation. Tables are built before, like the activations' planes, but `tables_us` says what that takes.
// Forms are measured in turn, `rounds` times, and the median of a form's rounds is its row: the machine's other work
// meets all of them.
//
//   bench_lut [--isa best] [--types Q2_K,…|all] [--shapes 2048x2048] [--columns 1,2,4] [--threads 1,2]
//             [--cache warm,cold] [--forms dot,exact,int8] [--rounds 5] [--seconds 0.05] [--json FILE]
#include <bit>
#include <cmath>

#include "product.h"

namespace {

using namespace lutra;
using base::TensorType;
using bench::Form;
using bench::Product;
using bench::Shape;
using bench::Weights;

Form form_named(const std::string& name) {
  if (name == "dot") return Form::kDot;
  if (name == "exact") return Form::kExactLut;
  if (name == "int8") return Form::kInt8Lut;
  std::fprintf(stderr, "expected dot, exact or int8, got %s\n", name.c_str());
  std::exit(2);
}

struct Case {
  TensorType type;
  Shape shape;
  uint32_t columns;
  int threads;
  uint64_t bytes;  ///< of weights to rotate over, at least
};

/// One form of one product, and the times of its rounds.
struct Contestant {
  std::string name;
  Weights weights;
  Product product;
  std::vector<double> seconds;

  static quant::LutRoom room(Form form, const Case& at) {
    if (form == Form::kDot) return {};
    const auto tables = form == Form::kExactLut ? kernels::LutTables::kExact : kernels::LutTables::kInt8;
    return {quant::lut_sets(at.type), quant::lut_tile_bytes(at.type, at.shape.k), at.threads, tables};
  }
  Contestant(const kernels::KernelTable& table, const std::string& form, const Case& at)
      : name(form),
        weights(at.type, at.shape, at.bytes, form_named(form)),
        product(table, at.shape, at.columns, room(form_named(form), at)) {}

  double error() const {
    const quant::Matrix matrix = weights.copy(0);
    const std::vector<float>& out = product.out();
    double off = 0, norm = 0;
    for (uint32_t r = 0; r < std::min(matrix.rows, 64u); ++r) {
      const std::vector<float> w = weights.row(r);
      double sum = 0;
      for (uint32_t i = 0; i < matrix.k; ++i) sum += double{w[i]} * product.x().floats(0)[i];
      off += (out[r] - sum) * (out[r] - sum);
      norm += sum * sum;
    }
    return std::sqrt(off / norm);
  }
};

class LutBench {
 public:
  explicit LutBench(const bench::Flags& flags)
      : flags_(flags), table_(bench::table_named(flags.text("isa"))), ceiling_(bench::cold_bytes()) {}

  void run() {
    for (const uint32_t n_threads : flags_.numbers("threads")) {
      base::ThreadTeam team(static_cast<int>(n_threads));
      for (const TensorType type : bench::parse_types(flags_)) {
        if (!quant::has_lut_tiles(type)) continue;
        for (const std::string& text : flags_.list("shapes")) {
          const Shape shape = bench::parse_shape(text);
          if (shape.k % base::tensor_type_traits(type).block_elements != 0) continue;
          for (const std::string& cache : flags_.list("cache")) {
            for (const uint32_t n : flags_.numbers("columns")) measure(team, type, shape, n, cache == "cold");
          }
        }
      }
    }
  }

  const bench::Report& report() const { return report_; }

 private:
  void measure(base::ThreadTeam& team, TensorType type, Shape shape, uint32_t n, bool cold) {
    std::vector<Contestant> contestants;
    for (const std::string& form : flags_.list("forms")) {
      contestants.emplace_back(table_, form, Case{type, shape, n, team.size(), cold ? bench::cold_bytes() : 1});
    }
    const double ceiling = ceiling_.measure(team);
    const double hz = bench::clock_hz();
    for (uint32_t round = 0; round < flags_.numbers("rounds")[0]; ++round) {
      for (Contestant& each : contestants) {
        const uint64_t bytes = each.weights.matrix_bytes();
        const uint64_t repeats = cold ? 1 : std::max<uint64_t>(1, bench::kWarmPassBytes / bytes / n);
        const double seconds = bench::median_seconds(flags_.number("seconds"), [&] {
          for (uint64_t repeat = 0; repeat < repeats; ++repeat) {
            for (uint32_t i = 0; i < each.weights.copies(); ++i) each.product.run(team, each.weights.copy(i));
          }
        });
        each.seconds.push_back(seconds / static_cast<double>(repeats * each.weights.copies()));
      }
    }
    const double dot = bench::median(contestants.front().seconds);
    for (Contestant& each : contestants) {
      const double seconds = bench::median(each.seconds);
      const double macs = double{1} * shape.rows * shape.k * n / seconds;
      const double best =
          double{1} * shape.rows * shape.k * n / *std::min_element(each.seconds.begin(), each.seconds.end());
      const double bytes = static_cast<double>(each.weights.matrix_bytes()) / seconds;
      report_.add({bench::label("isa", base::isa_name(table_.isa)),
                   bench::label("type", base::tensor_type_traits(type).name), bench::figure("rows", shape.rows, 0),
                   bench::figure("k", shape.k, 0), bench::label("cache", cold ? "cold" : "warm"),
                   bench::figure("threads", team.size(), 0), bench::figure("columns", n, 0),
                   bench::label("form", each.name), bench::figure("against_first", dot / seconds, 2),
                   bench::figure("gb_s", bytes / 1e9, 2), bench::figure("share_of_ceiling", bytes / ceiling, 3),
                   bench::figure("gmac_s", macs / 1e9, 1), bench::figure("best_gmac_s", best / 1e9, 1),
                   bench::figure("mac_per_cycle", macs / hz / team.size(), 2),
                   bench::figure("relative_error", each.error(), 7),
                   bench::figure("tables_us", tables_seconds(each.name, type, shape.k) * 1e6, 2)});
    }
  }

  /// Building the tables of one column.
  double tables_seconds(const std::string& form, TensorType type, uint32_t k) const {
    if (form == "dot") return 0;
    const auto tables = form == "exact" ? kernels::LutTables::kExact : kernels::LutTables::kInt8;
    std::vector<int8_t> planes(size_t{2} * k, 3);
    std::vector<float> d(k / 32, 1.0f), table_d(k / 16);
    std::vector<int32_t> biases(k / 16);
    const auto set = static_cast<uint32_t>(std::countr_zero(quant::lut_sets(type)));
    base::AlignedBuffer entries(kernels::lut_entries_bytes(static_cast<kernels::LutSet>(set), tables, k));
    const kernels::LutBuildFn build = table_.lut.build[set][static_cast<size_t>(tables)];
    return bench::median_seconds(
        0.001, [&] { build({k, planes.data(), d.data(), entries.data(), table_d.data(), biases.data()}); });
  }

  const bench::Flags& flags_;
  const kernels::KernelTable& table_;
  bench::ReadCeiling ceiling_;
  bench::Report report_;
};

}  // namespace

int main(int argc, char** argv) {
  const bench::Flags flags(argc, argv,
                           {{"isa", "best"},
                            {"types", "all"},
                            {"shapes", "2048x2048"},
                            {"columns", "1,2,4"},
                            {"threads", "1,2"},
                            {"cache", "warm,cold"},
                            {"forms", "dot,exact,int8"},
                            {"rounds", "5"},
                            {"seconds", "0.05"},
                            {"json", ""}});
  LutBench lut(flags);
  lut.run();
  return flags.text("json").empty() || lut.report().write_json(flags.text("json")) ? 0 : 1;
}
