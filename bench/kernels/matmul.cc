// Speed of the packed matrix products, as the engine calls them, for every type, shape and number of columns (tokens):
// weight GB/s, multiply-adds a second and a cycle of one core, and weight bytes as a share of the read ceiling that the
// same threads reach at that moment.
//
// `warm` repeats one matrix, which stays in whatever cache holds it; `cold` rotates over copies of it, four times the
// last-level cache together. Activations are quantised before, as the norm does it in a step. Medians.
//
//   bench_matmul [--isa best] [--types Q4_1,…|all] [--shapes 2048x2048,…] [--columns 1,4] [--threads 1,2]
//                [--cache warm,cold] [--seconds 0.1] [--json FILE]
#include <cstring>
#include <random>

#include "flags.h"
#include "machine.h"
#include "quant/matrix.h"
#include "quant/quant.h"
#include "report.h"

namespace {

using namespace lutra;
using base::TensorType;

struct Shape {
  uint32_t rows;
  uint32_t k;
};

constexpr uint64_t kWarmPassBytes = 4 << 20;

Shape parse_shape(const std::string& text) {
  const auto parts = bench::split(text, 'x');
  const Shape shape = {static_cast<uint32_t>(std::atol(parts.front().c_str())),
                       static_cast<uint32_t>(std::atol(parts.back().c_str()))};
  if (parts.size() != 2 || shape.rows == 0 || shape.k == 0) {
    std::fprintf(stderr, "expected ROWSxK, got %s\n", text.c_str());
    std::exit(2);
  }
  return shape;
}

std::vector<TensorType> parse_types(const bench::Flags& flags) {
  std::vector<TensorType> types;
  for (const std::string& name : flags.list("types")) {
    const size_t before = types.size();
    for (uint32_t id = 0; id < base::kTensorTypeLimit; ++id) {
      const base::TensorTypeTraits& traits = base::tensor_type_traits(id);
      if (traits.supported && (name == "all" || name == traits.name)) types.push_back(static_cast<TensorType>(id));
    }
    if (types.size() == before) {
      std::fprintf(stderr, "unknown type %s\n", name.c_str());
      std::exit(2);
    }
  }
  return types;
}

/// Copies of one matrix of repeated random panels: speed does not depend on the codes, packing many would take longer
/// than the bench.
class Weights {
 public:
  Weights(TensorType type, Shape shape, uint64_t wanted_bytes) {
    matrix_.type = type;
    matrix_.rows = shape.rows;
    matrix_.k = shape.k;
    matrix_.panel_bytes = quant::panel_bytes(type, shape.k);
    matrix_.group_bytes = quant::kGroupPanels * matrix_.panel_bytes;
    matrix_bytes_ = matrix_.n_panels() * matrix_.panel_bytes;
    copies_ = static_cast<uint32_t>((wanted_bytes + matrix_bytes_ - 1) / matrix_bytes_);
    bytes_ = base::AlignedBuffer(copies_ * matrix_bytes_);
    bytes_.prefer_huge_pages();  // as a model's arena
    std::mt19937 random(1);
    std::vector<uint8_t> rows(kernels::kPanelRows * quant::row_bytes(type, shape.k));
    for (uint8_t& byte : rows) byte = static_cast<uint8_t>(random() & 0x3B);  // keeps every float of a type finite
    if (type == TensorType::MXFP4) {  // nor have its powers of two subnormal products
      for (size_t at = 0; at < rows.size(); at += 17) rows[at] |= 0x40;
    }
    quant::pack_panel(type, rows.data(), kernels::kPanelRows, shape.k, bytes_.data());
    for (uint64_t at = matrix_.panel_bytes; at < bytes_.size_bytes(); at += matrix_.panel_bytes) {
      std::memcpy(bytes_.data() + at, bytes_.data(), matrix_.panel_bytes);
    }
  }

  quant::Matrix copy(uint32_t index) const {
    quant::Matrix matrix = matrix_;
    matrix.panels = bytes_.data() + index * matrix_bytes_;
    return matrix;
  }
  uint32_t copies() const { return copies_; }
  uint64_t matrix_bytes() const { return matrix_bytes_; }

 private:
  quant::Matrix matrix_;
  uint64_t matrix_bytes_;
  uint32_t copies_;
  base::AlignedBuffer bytes_;
};

/// One column count on one set of weights.
class Product {
 public:
  Product(const kernels::KernelTable& table, Shape shape, uint32_t n)
      : table_(table),
        arena_(quant::Activations::bytes_needed(n, shape.k)),
        x_(arena_.data(), n, shape.k),
        out_(size_t{n} * shape.rows),
        stride_(shape.rows) {
    std::mt19937 random(2);
    std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
    x_.begin(n, shape.k);
    for (uint32_t t = 0; t < n; ++t) {
      for (uint32_t k = 0; k < shape.k; ++k) x_.row(t)[k] = uniform(random);
      if (x_.can_quantize()) x_.quantize(table, t, 0, shape.k, x_.row(t));
    }
    x_.mark_quantized();
  }

  void run(base::ThreadTeam& team, const quant::Matrix& weights) {
    const quant::Product product = {&weights, out_.data(), stride_};
    quant::multiply(team, table_, x_, {&product, 1});
  }

 private:
  const kernels::KernelTable& table_;
  base::AlignedBuffer arena_;
  quant::Activations x_;
  std::vector<float> out_;
  uint64_t stride_;
};

class MatmulBench {
 public:
  explicit MatmulBench(const bench::Flags& flags)
      : flags_(flags), table_(bench::table_named(flags.text("isa"))), ceiling_(bench::cold_bytes()) {}

  void run() {
    for (const uint32_t n_threads : flags_.numbers("threads")) {
      base::ThreadTeam team(static_cast<int>(n_threads));
      for (const TensorType type : parse_types(flags_)) {
        for (const std::string& text : flags_.list("shapes")) {
          const Shape shape = parse_shape(text);
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
      const uint64_t repeats = cold ? 1 : std::max<uint64_t>(1, kWarmPassBytes / weights.matrix_bytes() / n);
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
