// Speed of products with column strips that leave out input channels, against the packed panels of the same matrix,
// which read all of it: time of each and their ratio, and bytes of kept channels and scales a second.
//
// Both run in turns, a pass each, so that what else the machine does meets both; medians. `warm` repeats one matrix,
// `cold` rotates over copies, four times the last-level cache together. Kept channels are spread at random.
//
//   bench_columns [--isa best] [--types Q4_1,…|all] [--shapes 576x1536,…] [--shares 1,0.5] [--columns 1,4]
//                 [--strips 0,8] [--threads 1] [--cache warm,cold] [--seconds 0.2] [--json FILE]
//
// `strips`: strips of a group, 0 as the engine chooses them.
#include "product.h"
#include "quant/column_matrix.h"

namespace {

using namespace lutra;
using base::TensorType;
using bench::Shape;
using quant::ColumnMatrix;

/// Copies of one matrix in column strips, of 64 repeated rows.
class ColumnWeights {
 public:
  ColumnWeights(TensorType type, Shape shape, uint32_t strips, uint64_t wanted_bytes)
      : matrix_(type, shape.rows, shape.k) {
    if (strips != 0) matrix_.group_strips = strips;
    copies_ = static_cast<uint32_t>((wanted_bytes + matrix_.bytes() - 1) / matrix_.bytes());
    bytes_ = base::AlignedBuffer(copies_ * matrix_.bytes());
    bytes_.prefer_huge_pages();  // as a model's arena
    std::memset(bytes_.data(), 0, bytes_.size_bytes());
    std::mt19937 random(1);
    std::vector<uint8_t> rows(kernels::kStripRows * quant::row_bytes(type, shape.k));
    for (uint8_t& byte : rows) byte = static_cast<uint8_t>(random() & 0x3B);  // keeps every float of a type finite
    for (uint32_t row = 0; row < shape.rows; row += kernels::kStripRows) {
      quant::pack_columns(matrix_, rows.data(), row, std::min(kernels::kStripRows, shape.rows - row), bytes_.data());
    }
    for (uint32_t i = 1; i < copies_; ++i)
      std::memcpy(bytes_.data() + i * matrix_.bytes(), bytes_.data(), matrix_.bytes());
  }

  const ColumnMatrix& matrix() const { return matrix_; }
  const uint8_t* copy(uint32_t index) const { return bytes_.data() + index * matrix_.bytes(); }
  uint32_t copies() const { return copies_; }

 private:
  ColumnMatrix matrix_;
  uint32_t copies_;
  base::AlignedBuffer bytes_;
};

/// Rows of random activations that share a list of a share of k channels.
class ColumnProduct {
 public:
  ColumnProduct(const kernels::KernelTable& table, TensorType type, Shape shape, uint32_t n, double share)
      : function_(table.columns[static_cast<uint32_t>(type)]), shape_(shape), n_(n), out_(size_t{n} * shape.rows) {
    granule_ = type == TensorType::Q6_K ? 16 : 32;
    std::mt19937 random(3);
    list_channels(share, random);
    planes_.resize(size_t{n} * channels_.size() * 2);
    for (int8_t& plane : planes_) plane = static_cast<int8_t>(static_cast<int>(random() % 255) - 127);
    sums_.resize(size_t{n} * shape.k / 32, 100);
    scales_.resize(size_t{n} * shape.k / 16, 1.0f);
  }

  uint32_t kept() const { return kept_; }

  void run(base::ThreadTeam& team, const ColumnMatrix& matrix, const uint8_t* bytes) {
    team.parallel_for(matrix.n_groups(), [&](uint32_t g, int) {
      const uint32_t first = g * matrix.group_strips * kernels::kStripRows;
      kernels::ColumnsArgs args{};
      args.group = bytes + matrix.group_offset(g);
      args.strips = args.strip_end = matrix.strips_of(g);
      args.rows = std::min(args.strips * kernels::kStripRows, shape_.rows - first);
      args.k = shape_.k;
      args.n = n_;
      args.channels = {granule_, ends_.data(), channels_.data(), planes_.data(), channels_.size() * 2};
      args.sums = sums_.data();
      args.d = args.s = args.s16 = scales_.data();
      args.out = out_.data() + first;
      args.out_stride = shape_.rows;
      function_(args);
    });
  }

 private:
  void list_channels(double share, std::mt19937& random) {
    std::bernoulli_distribution keep(share);
    for (uint32_t begin = 0; begin < shape_.k; begin += granule_) {
      for (uint32_t i = begin; i < begin + granule_; ++i) {
        if (keep(random)) channels_.push_back(static_cast<uint8_t>(i % 32));
      }
      kept_ = kept_ + static_cast<uint32_t>(channels_.size()) - listed_;
      while (channels_.size() % kernels::kChannelQuad != 0) channels_.push_back(static_cast<uint8_t>(begin % 32));
      listed_ = static_cast<uint32_t>(channels_.size());
      ends_.push_back(listed_ / kernels::kChannelQuad);
    }
  }

  kernels::ColumnsFn function_;
  Shape shape_;
  uint32_t n_, granule_, kept_ = 0, listed_ = 0;
  std::vector<uint32_t> ends_;
  std::vector<uint8_t> channels_;
  std::vector<int8_t> planes_;
  std::vector<int32_t> sums_;
  std::vector<float> scales_, out_;
};

/// Medians of two kinds of passes in turns, as many of each, at least five.
template <typename First, typename Second>
std::pair<double, double> paired_seconds(double budget_seconds, First&& first, Second&& second) {
  std::vector<double> samples[2];
  const auto timed = [](auto& pass) {
    const auto start = bench::Clock::now();
    pass();
    return bench::seconds_since(start);
  };
  first();
  second();
  const auto begin = bench::Clock::now();
  while (samples[0].size() < 5 || bench::seconds_since(begin) < budget_seconds) {
    samples[0].push_back(timed(first));
    samples[1].push_back(timed(second));
  }
  return {bench::median(samples[0]), bench::median(samples[1])};
}

class ColumnsBench {
 public:
  explicit ColumnsBench(const bench::Flags& flags) : flags_(flags), table_(bench::table_named(flags.text("isa"))) {}

  void run() {
    for (const uint32_t n_threads : flags_.numbers("threads")) {
      base::ThreadTeam team(static_cast<int>(n_threads));
      for (const TensorType type : bench::parse_types(flags_)) {
        if (!quant::has_columns(type)) continue;
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
    const uint64_t wanted = cold ? bench::cold_bytes() : 1;
    const bench::Weights panels(type, shape, wanted);
    const uint64_t repeats = cold ? 1 : std::max<uint64_t>(1, bench::kWarmPassBytes / panels.matrix_bytes());
    for (const uint32_t strips : flags_.numbers("strips")) {
      const ColumnWeights columns(type, shape, strips, wanted);
      for (const uint32_t n : flags_.numbers("columns")) {
        bench::Product dense(table_, shape, n);
        for (const std::string& share : flags_.list("shares")) {
          ColumnProduct sparse(table_, type, shape, n, std::atof(share.c_str()));
          const auto [sparse_seconds, dense_seconds] = paired_seconds(
              flags_.number("seconds"),
              [&] {
                for (uint64_t i = 0; i < repeats * columns.copies(); ++i) {
                  sparse.run(team, columns.matrix(), columns.copy(static_cast<uint32_t>(i % columns.copies())));
                }
              },
              [&] {
                for (uint64_t i = 0; i < repeats * panels.copies(); ++i) {
                  dense.run(team, panels.copy(static_cast<uint32_t>(i % panels.copies())));
                }
              });
          const ColumnMatrix& matrix = columns.matrix();
          const double once = sparse_seconds / static_cast<double>(repeats * columns.copies());
          const double panels_once = dense_seconds / static_cast<double>(repeats * panels.copies());
          const double bytes = static_cast<double>(matrix.scale_bytes() + sparse.kept() * matrix.channel_bytes());
          report_.add(
              {bench::label("isa", base::isa_name(table_.isa)),
               bench::label("type", base::tensor_type_traits(type).name), bench::figure("rows", shape.rows, 0),
               bench::figure("k", shape.k, 0), bench::label("cache", cold ? "cold" : "warm"),
               bench::figure("threads", team.size(), 0), bench::figure("columns", n, 0),
               bench::figure("strips", matrix.group_strips, 0), bench::figure("share", std::atof(share.c_str()), 2),
               bench::figure("panels_us", panels_once * 1e6, 2), bench::figure("columns_us", once * 1e6, 2),
               bench::figure("ratio", once / panels_once, 3), bench::figure("useful_gb_s", bytes / once / 1e9, 2)});
        }
      }
    }
  }

  const bench::Flags& flags_;
  const kernels::KernelTable& table_;
  bench::Report report_;
};

}  // namespace

int main(int argc, char** argv) {
  const bench::Flags flags(argc, argv,
                           {{"isa", "best"},
                            {"types", "Q4_0,Q4_1,Q5_0,Q8_0,Q4_K,Q6_K"},
                            {"shapes", "576x1536,1536x576,2048x8192,8192x2048,4096x14336"},
                            {"shares", "1,0.75,0.6,0.5,0.35,0.2"},
                            {"columns", "1"},
                            {"strips", "0"},
                            {"threads", "1"},
                            {"cache", "warm,cold"},
                            {"seconds", "0.2"},
                            {"json", ""}});
  ColumnsBench columns(flags);
  columns.run();
  return flags.text("json").empty() || columns.report().write_json(flags.text("json")) ? 0 : 1;
}
