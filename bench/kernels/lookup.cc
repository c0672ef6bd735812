// Cycles a key and query head of what lookup attention does with every key: scoring codes by tables (8-bit entries, and
// 7-bit ones that may be added in bytes), the histogram of scores and the selection of a kept share; and, in the rows
// `multiply`, scores of plain 4-bit codes (as many bytes as d_sub 1 has) by multiply-adds, the control.
//
// The table is built once per query and its row counts the whole, as does a page's encoding, both per position scored.
// Keys are random: a kept share of them touches nearly every page, the worst case of selection. `warm` repeats one
// layer's codes; `cold` rotates over layers, four times the last-level cache together. Medians, and the least seen.
//
//   bench_lookup [--isa scalar,avx2,avx512] [--queries 3] [--positions 16384] [--head-dim 64] [--d-sub 1,2,4]
//                [--outliers 0] [--kept 0.15] [--cache warm] [--seconds 0.1] [--json FILE]
#include <cmath>
#include <functional>
#include <random>

#include "flags.h"
#include "machine.h"
#include "report.h"

namespace {

using namespace lutra;
using kernels::KernelTable;
constexpr uint32_t kPage = kernels::kPagePositions;

struct Shape {
  uint32_t head_dim, d_sub, n_queries, n_pages, n_outliers;
  uint32_t n_subs() const { return head_dim / d_sub; }
};

/// Codes of some layers, and one head's tables and scores, in the arrays that kernels take.
class LookupData {
 public:
  LookupData(const KernelTable& table, const Shape& shape, uint64_t wanted_bytes, uint32_t levels)
      : shape_(shape), page_bytes_(kernels::lookup_page_bytes(shape.n_subs(), shape.n_outliers)) {
    n_layers_ = static_cast<uint32_t>(1 + wanted_bytes / (page_bytes_ * shape.n_pages));
    codes_ = base::AlignedBuffer(page_bytes_ * shape.n_pages * n_layers_);
    codes_.prefer_huge_pages();
    std::normal_distribution<float> normal(0.0f, 1.0f);
    centroids_.resize(size_t{shape.head_dim} * kernels::kCentroids);
    keys_.resize(size_t{shape.head_dim + shape.n_outliers} * kPage);
    queries_.resize(size_t{shape.head_dim} * shape.n_queries);
    for (auto* values : {&centroids_, &keys_, &queries_}) {
      for (float& value : *values) value = normal(random_);
    }
    const uint64_t layer_bytes = page_bytes_ * shape.n_pages;
    for (uint64_t i = 0; i < layer_bytes; ++i) codes_.data()[i] = static_cast<uint8_t>(random_());
    for (uint32_t i = 1; i < n_layers_; ++i) std::memcpy(codes_.data() + i * layer_bytes, codes_.data(), layer_bytes);
    for (uint64_t page = 0; page < uint64_t{shape.n_pages} * n_layers_; ++page) {
      pages_.push_back(codes_.data() + page * page_bytes_);
    }
    fill_tables(table, levels);
    scores_.resize(size_t{n_positions()} * shape.n_queries);
    page_max_.resize(size_t{shape.n_pages} * shape.n_queries);
    selected_.resize(n_positions());
    sums_.resize(scores_.size());
  }

  const Shape& shape() const { return shape_; }
  uint32_t n_layers() const { return n_layers_; }
  uint32_t n_positions() const { return shape_.n_pages * kPage; }

  void encode(const KernelTable& table) {
    table.lookup.encode({shape_.n_subs(), shape_.d_sub, keys_.data(), centroids_.data(), shape_.n_outliers,
                         keys_.data() + size_t{shape_.head_dim} * kPage, scales_, codes_.data()});
  }
  void build_table(const KernelTable& table, uint32_t query, uint32_t levels) {
    float step = 0.0f, bias = 0.0f;
    table.lookup.tables({shape_.n_subs(), shape_.d_sub, levels, queries_.data() + size_t{query} * shape_.head_dim,
                         centroids_.data(), 0.0f, tables_.data() + table_bytes() * query, &step, &bias});
  }
  void scan(const KernelTable& table, uint32_t layer, bool narrow) {
    table.lookup.scan({shape_.n_subs(), shape_.n_pages, shape_.n_queries, narrow,
                       pages_.data() + size_t{layer} * shape_.n_pages, table_rows_.data(), shape_.n_outliers,
                       weights_.data(), bases_.data(), scores_.data(), n_positions(), page_max_.data(),
                       shape_.n_pages});
  }
  /// Codes of d_sub 1, taken as they lie: speed does not depend on them.
  void multiply(const KernelTable& table, uint32_t layer) {
    table.lookup.nibble_dot({shape_.head_dim, shape_.n_pages, shape_.n_queries,
                             pages_.data() + size_t{layer} * shape_.n_pages, bytes_.data(), sums_.data()});
  }
  void histograms(const KernelTable& table) {
    for (uint32_t i = 0; i < shape_.n_queries; ++i) {
      table.lookup.histogram({shape_.n_pages, scores_.data() + size_t{i} * n_positions(),
                              page_max_.data() + size_t{i} * shape_.n_pages, top_, factor_, counts_});
    }
  }
  uint32_t select(const KernelTable& table) {
    uint32_t n = 0;
    table.lookup.select({shape_.n_pages, shape_.n_queries, scores_.data(), n_positions(), page_max_.data(),
                         shape_.n_pages, thresholds_.data(), selected_.data(), &n});
    return n;
  }

  /// Bins that just hold all scores, and the threshold of every query at which, scores being independent, their union
  /// keeps `share` of the positions.
  void choose_thresholds(double share) {
    const auto [low, high] = std::minmax_element(scores_.begin(), scores_.end());
    top_ = *high;
    factor_ = static_cast<uint16_t>(std::min(65535.0, 65536.0 * (kernels::kScoreBins - 1) / (*high - *low + 1)));
    const double each = 1.0 - std::pow(1.0 - share, 1.0 / shape_.n_queries);
    for (uint32_t i = 0; i < shape_.n_queries; ++i) {
      const auto begin = scores_.begin() + static_cast<int64_t>(i) * n_positions();
      std::vector<uint16_t> sorted(begin, begin + n_positions());
      std::sort(sorted.begin(), sorted.end());
      thresholds_.push_back(sorted[static_cast<size_t>((1.0 - each) * (n_positions() - 1))]);
    }
  }

 private:
  uint64_t table_bytes() const { return uint64_t{shape_.n_subs()} * kernels::kCentroids; }
  void fill_tables(const KernelTable& table, uint32_t levels) {
    tables_ = base::AlignedBuffer(table_bytes() * shape_.n_queries);
    bases_.assign(shape_.n_queries, 1 << 20);
    for (uint32_t i = 0; i < shape_.n_queries; ++i) {
      table_rows_.push_back(tables_.data() + table_bytes() * i);
      weights_.push_back(weight_row_);
      bytes_.push_back(reinterpret_cast<const int8_t*>(weight_row_));
      build_table(table, i, levels);
    }
  }

  Shape shape_;
  uint64_t page_bytes_;
  uint32_t n_layers_;
  std::mt19937 random_{1};
  base::AlignedBuffer codes_, tables_;
  std::vector<const uint8_t*> pages_, table_rows_;
  std::vector<float> keys_, centroids_, queries_;
  float scales_[kernels::kMaxOutliers] = {};
  int16_t weight_row_[256] = {};
  std::vector<const int16_t*> weights_;
  std::vector<const int8_t*> bytes_;
  std::vector<int32_t> bases_, sums_;
  std::vector<uint16_t> scores_, page_max_, thresholds_;
  uint16_t top_ = 0, factor_ = 0;
  uint32_t counts_[kernels::kScoreBins];
  std::vector<uint32_t> selected_;
};

class LookupBench {
 public:
  explicit LookupBench(const bench::Flags& flags) : flags_(flags) {}

  void run() {
    for (const std::string& isa : flags_.list("isa")) {
      const KernelTable& table = bench::table_named(isa);
      for (const std::string& cache : flags_.list("cache")) {
        const uint64_t bytes = cache == "cold" ? bench::cold_bytes() : 0;
        for (const uint32_t d_sub : flags_.numbers("d-sub")) {
          measure_scans(table, shape(d_sub), bytes);
          if (d_sub == 1) measure_multiply(table, shape(d_sub), bytes);
        }
      }
      for (const uint32_t d_sub : flags_.numbers("d-sub")) measure_preparation(table, shape(d_sub));
      measure_selection(table, shape(2));
    }
  }

  const bench::Report& report() const { return report_; }

 private:
  Shape shape(uint32_t d_sub) const {
    return {flags_.numbers("head-dim")[0], d_sub, flags_.numbers("queries")[0], flags_.numbers("positions")[0] / kPage,
            flags_.numbers("outliers")[0]};
  }

  void measure_scans(const KernelTable& table, const Shape& shape, uint64_t bytes) {
    for (const bool narrow : {false, true}) {
      const uint32_t levels = narrow ? 127 : 255;
      LookupData data(table, shape, bytes, levels);
      measure(table, narrow ? "scan 7 bits" : "scan 8 bits", data, data.n_layers(), [&] {
        for (uint32_t layer = 0; layer < data.n_layers(); ++layer) data.scan(table, layer, narrow);
      });
    }
  }
  void measure_multiply(const KernelTable& table, const Shape& shape, uint64_t bytes) {
    LookupData data(table, shape, bytes, 255);
    measure(table, "multiply", data, data.n_layers(), [&] {
      for (uint32_t layer = 0; layer < data.n_layers(); ++layer) data.multiply(table, layer);
    });
  }
  void measure_preparation(const KernelTable& table, const Shape& shape) {
    LookupData data(table, shape, 0, 255);
    measure(table, "tables", data, 1, [&] {
      for (uint32_t i = 0; i < shape.n_queries; ++i) data.build_table(table, i, 255);
    });
    measure(table, "encode a page", data, 1, [&] { data.encode(table); });
  }
  void measure_selection(const KernelTable& table, const Shape& shape) {
    LookupData data(table, shape, 0, 255);
    data.scan(table, 0, false);
    data.choose_thresholds(flags_.number("kept"));
    measure(table, "histogram", data, 1, [&] { data.histograms(table); });
    uint32_t kept = 0;
    measure(table, "select", data, 1, [&] { kept = data.select(table); });
    std::printf("kept %.3f\n", kept / static_cast<double>(data.n_positions()));
  }

  void measure(const KernelTable& table, const char* kernel, const LookupData& data, uint32_t n_layers,
               const std::function<void()>& pass) {
    const double hz = bench::clock_hz();
    std::vector<double> seconds = bench::pass_seconds(flags_.number("seconds"), pass);
    const Shape& shape = data.shape();
    const double key_heads = double{1} * n_layers * data.n_positions() * shape.n_queries;
    const double least = *std::min_element(seconds.begin(), seconds.end());
    const double middle = bench::median(std::move(seconds));
    report_.add({bench::label("isa", base::isa_name(table.isa)), bench::label("kernel", kernel),
                 bench::figure("d_sub", shape.d_sub, 0), bench::figure("positions", data.n_positions(), 0),
                 bench::figure("queries", shape.n_queries, 0), bench::label("cache", n_layers > 1 ? "cold" : "warm"),
                 bench::figure("microseconds", 1e6 * middle / n_layers, 2),
                 bench::figure("cycles_per_key_head", middle * hz / key_heads, 3),
                 bench::figure("least_cycles", least * hz / key_heads, 3)});
  }

  const bench::Flags& flags_;
  bench::Report report_;
};

}  // namespace

int main(int argc, char** argv) {
  const bench::Flags flags(argc, argv,
                           {{"isa", "scalar,avx2,avx512"},
                            {"queries", "3"},
                            {"positions", "16384"},
                            {"head-dim", "64"},
                            {"d-sub", "1,2,4"},
                            {"outliers", "0"},
                            {"kept", "0.15"},
                            {"cache", "warm"},
                            {"seconds", "0.1"},
                            {"json", ""}});
  LookupBench lookup(flags);
  lookup.run();
  return flags.text("json").empty() || lookup.report().write_json(flags.text("json")) ? 0 : 1;
}
