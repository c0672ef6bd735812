// Speed of the packed matrix products, as the engine calls them, for every type, shape and number of columns (tokens):
// weight GB/s, multiply-adds a second and a cycle of one core, and weight bytes as a share of the read ceiling that the
// same threads reach at that moment.
//
// `warm` repeats one matrix, which stays in whatever cache holds it; `cold` rotates over copies of it, four times the
// last-level cache together. Activations are quantised before, as the norm does it in a step. Medians.
//
//   bench_matmul [--isa best] [--types Q4_1,…|all] [--shapes 2048x2048,…] [--columns 1,4] [--threads 1,2]
//                [--cache warm,cold] [--seconds 0.1] [--json FILE]
#include "product.h"

namespace {

using namespace lutra;
using base::TensorType;
using bench::Product;
using bench::Shape;
using bench::Weights;

class MatmulBench {
 public:
  explicit MatmulBench(const bench::Flags& flags)
      : flags_(flags), table_(bench::table_named(flags.text("isa"))), ceiling_(bench::cold_bytes()) {}

  void run() {
    for (const uint32_t n_threads : flags_.numbers("threads")) {
      base::ThreadTeam team(static_cast<int>(n_threads));
      for (const TensorType type : bench::parse_types(flags_)) {
        for (const std::string& text : flags_.list("shapes")) {
          const Shape shape = bench::parse_shape(text);
          if (shape.k % base::tensor_type_traits(type).block_elements != 0) continue;
          for (const std::string& cache : flags_.list("cache")) measure(team, type, shape, cache == "cold");
        }
      }
    }
  }

  const bench::Report& report() const { return report_; }

 private:
  void measure(base::ThreadTeam& team, TensorType type, Shape shape, bool cold) {
    const Weights weights(type, shape, cold ? bench::cold_bytes() : 1);
    const double ceiling = ceiling_.measure(team);
    const double hz = bench::clock_hz();
    for (const uint32_t n : flags_.numbers("columns")) {
      Product product(table_, shape, n);
      // A warm pass repeats a small matrix, so that the timer's own cost does not show.
      const uint64_t repeats = cold ? 1 : std::max<uint64_t>(1, bench::kWarmPassBytes / weights.matrix_bytes() / n);
      const double seconds = bench::median_seconds(flags_.number("seconds"), [&] {
        for (uint64_t repeat = 0; repeat < repeats; ++repeat) {
          for (uint32_t i = 0; i < weights.copies(); ++i) product.run(team, weights.copy(i));
        }
      });
      const double products = static_cast<double>(repeats * weights.copies());
      const double macs = products * shape.rows * shape.k * n / seconds;
      const double bytes = products * static_cast<double>(weights.matrix_bytes()) / seconds;
      report_.add({bench::label("isa", base::isa_name(table_.isa)),
                   bench::label("type", base::tensor_type_traits(type).name), bench::figure("rows", shape.rows, 0),
                   bench::figure("k", shape.k, 0), bench::label("cache", cold ? "cold" : "warm"),
                   bench::figure("threads", team.size(), 0), bench::figure("columns", n, 0),
                   bench::figure("gb_s", bytes / 1e9, 2), bench::figure("gmac_s", macs / 1e9, 2),
                   bench::figure("mac_per_cycle", macs / hz / team.size(), 2), bench::figure("clock_ghz", hz / 1e9, 2),
                   bench::figure("ceiling_gb_s", ceiling / 1e9, 2),
                   bench::figure("share_of_ceiling", bytes / ceiling, 3)});
    }
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
                            {"types", "Q4_0,Q4_1,Q5_0,Q8_0,Q4_K,Q6_K"},
                            {"shapes", "1536x576,576x1536,2048x2048,8192x2048"},
                            {"columns", "1,2,3,4,5,6,7,8,16,64"},
                            {"threads", "1,2"},
                            {"cache", "warm,cold"},
                            {"seconds", "0.1"},
                            {"json", ""}});
  MatmulBench matmul(flags);
  matmul.run();
  return flags.text("json").empty() || matmul.report().write_json(flags.text("json")) ? 0 : 1;
}
