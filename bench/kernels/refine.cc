// Cost of attention over listed positions (lookup.refine) against exact attention tiles over all of them, on one thread
// and one K/V head a call: cycles a listed position, cycles a position of the tiles, and the ratio of the two calls.
//
// `kept` percent of the positions are listed, at random: the worst that memory sees. `warm` repeats one head, `cold`
// rotates over heads, four times the last-level cache together. Lower
// quartiles of the times of calls, in turns: other work on the machine delays some.
//
//   bench_refine [--isa best] [--types f16,q8_0] [--queries 3] [--positions 16384] [--kept 15,20,25] [--head-dim 64]
//                [--cache warm,cold] [--seconds 0.3] [--json FILE]
#include <algorithm>
#include <random>

#include "flags.h"
#include "machine.h"
#include "report.h"

namespace {

using namespace lutra;
using kernels::kPagePositions;
using kernels::kTilePositions;
using kernels::KvType;

/// Keys and values of some heads, and the same in rows of 8 bits: random, pages in order.
class Heads {
 public:
  Heads(KvType type, uint32_t head_dim, uint32_t n_positions, uint64_t wanted_bytes)
      : page_bytes_(kernels::kv_page_bytes(type, head_dim)),
        n_pages_(n_positions / kPagePositions),
        n_heads_(std::max<uint64_t>(1, wanted_bytes / (2 * page_bytes_ * n_pages_))),
        memory_((2 * page_bytes_ + kernels::lookup_rows_bytes(head_dim)) * n_pages_ * n_heads_) {
    if (memory_.data() == nullptr) {
      std::fprintf(stderr, "no memory for %u positions\n", n_positions);
      std::exit(1);
    }
    memory_.prefer_huge_pages();
    // Bytes that make finite halves below 1: speed does not depend on them.
    std::mt19937 random(1);
    for (uint64_t i = 0; i < memory_.size_bytes(); ++i) memory_.data()[i] = static_cast<uint8_t>(random() & 0x3B);
    const uint8_t* next = memory_.data();
    for (uint64_t head = 0; head < n_heads_; ++head) {
      for (const uint64_t bytes : {page_bytes_, page_bytes_, kernels::lookup_rows_bytes(head_dim)}) {
        for (uint64_t page = 0; page < n_pages_; ++page, next += bytes) pages_.push_back(next);
      }
    }
  }

  uint64_t count() const { return n_heads_; }
  const uint8_t* const* keys(uint64_t head) const { return pages_.data() + 3 * head * n_pages_; }
  const uint8_t* const* values(uint64_t head) const { return keys(head) + n_pages_; }
  const uint8_t* const* rows(uint64_t head) const { return keys(head) + 2 * n_pages_; }

 private:
  uint64_t page_bytes_, n_pages_, n_heads_;
  base::AlignedBuffer memory_;
  std::vector<const uint8_t*> pages_;
};

class RefineBench {
 public:
  RefineBench(const bench::Flags& flags, KvType type)
      : flags_(flags),
        table_(bench::table_named(flags.text("isa"))),
        type_(type),
        head_dim_(flags.numbers("head-dim")[0]),
        n_positions_(flags.numbers("positions")[0] / kTilePositions * kTilePositions) {}

  void run(bench::Report& report) {
    for (const std::string& cache : flags_.list("cache")) {
      const Heads heads(type_, head_dim_, n_positions_, cache == "cold" ? bench::cold_bytes() : 1);
      for (const uint32_t n_queries : flags_.numbers("queries")) {
        for (const uint32_t kept : flags_.numbers("kept")) measure(heads, n_queries, kept, report);
      }
    }
  }

 private:
  void measure(const Heads& heads, uint32_t n_queries, uint32_t kept, bench::Report& report) {
    std::mt19937 random(2);
    std::uniform_real_distribution<float> uniform(-0.5f, 0.5f);
    values_.resize(size_t{n_queries} * head_dim_);
    for (float& value : values_) value = uniform(random);
    codes_.assign(values_.size(), 12345);
    query_scales_.assign(n_queries, 1e-6f);
    queries_.clear();
    query_codes_.clear();
    for (uint32_t i = 0; i < n_queries; ++i) {
      queries_.push_back(values_.data() + size_t{i} * head_dim_);
      query_codes_.push_back(codes_.data() + size_t{i} * head_dim_);
    }
    listed_.resize(n_positions_);
    for (uint32_t p = 0; p < n_positions_; ++p) listed_[p] = p;
    std::shuffle(listed_.begin(), listed_.end(), random);
    listed_.resize(n_positions_ * kept / 100);
    std::sort(listed_.begin(), listed_.end());
    first_.assign(n_queries, 0);
    last_.assign(n_queries, n_positions_);
    out_.resize(size_t{n_queries} * (2 * head_dim_ + 4));
    scores_.resize(size_t{n_queries} * (n_positions_ + 16));

    std::vector<double> listed, whole;
    const auto begin = bench::Clock::now();
    while (bench::seconds_since(begin) < flags_.number("seconds")) {
      for (uint64_t head = 0; head < heads.count(); ++head)
        listed.push_back(timed([&] { attend_listed(heads, head); }));
      for (uint64_t head = 0; head < heads.count(); ++head) whole.push_back(timed([&] { attend_all(heads, head); }));
    }
    const double listed_cycles = lower_quartile(listed) * bench::clock_hz();
    const double whole_cycles = lower_quartile(whole) * bench::clock_hz();
    report.add({bench::label("isa", base::isa_name(table_.isa)),
                bench::label("type", type_ == KvType::kF16 ? "f16" : "q8_0"),
                bench::label("cache", heads.count() > 1 ? "cold" : "warm"), bench::figure("positions", n_positions_, 0),
                bench::figure("queries", n_queries, 0), bench::figure("kept_percent", kept, 0),
                bench::figure("refine_cycles", listed_cycles / static_cast<double>(listed_.size()), 2),
                bench::figure("tile_cycles", whole_cycles / n_positions_, 2),
                bench::figure("ratio", listed_cycles / whole_cycles, 3)});
  }

  template <typename Call>
  static double timed(Call call) {
    const auto start = bench::Clock::now();
    call();
    return bench::seconds_since(start);
  }

  static double lower_quartile(std::vector<double>& values) {
    const auto quarter = values.begin() + static_cast<ptrdiff_t>(values.size() / 4);
    std::nth_element(values.begin(), quarter, values.end());
    return *quarter;
  }

  void attend_listed(const Heads& heads, uint64_t head) {
    const size_t n = queries_.size();
    table_.lookup.refine({head_dim_, static_cast<uint32_t>(n), query_codes_.data(), query_scales_.data(),
                          query_scales_.data(), static_cast<uint32_t>(listed_.size()), listed_.data(), heads.rows(head),
                          scores_.data(), (listed_.size() + 31) / 16 * 16, out_.data(), out_.data() + n,
                          out_.data() + 2 * n});
  }

  void attend_all(const Heads& heads, uint64_t head) {
    const size_t n = queries_.size();
    float* max = out_.data();
    float *sum = max + n, *acc = sum + n, *tile_max = acc + n * head_dim_;
    float *tile_sum = tile_max + n, *tile_acc = tile_sum + n;
    std::fill_n(max, n, -__builtin_inff());
    for (uint32_t begin = 0; begin < n_positions_; begin += kTilePositions) {
      const uint32_t page = begin / kPagePositions;
      table_.attention_tile[static_cast<size_t>(type_)]({head_dim_, static_cast<uint32_t>(n), queries_.data(),
                                                         first_.data(), last_.data(), begin, heads.keys(head) + page,
                                                         heads.values(head) + page, tile_max, tile_sum, tile_acc});
      for (size_t i = 0; i < n; ++i) {
        table_.attention_merge(max + i, sum + i, acc + i * head_dim_, tile_max[i], tile_sum[i],
                               tile_acc + i * head_dim_, head_dim_);
      }
    }
  }

  const bench::Flags& flags_;
  const kernels::KernelTable& table_;
  KvType type_;
  uint32_t head_dim_, n_positions_;
  std::vector<float> values_, out_, scores_, query_scales_;
  std::vector<int16_t> codes_;
  std::vector<const float*> queries_;
  std::vector<const int16_t*> query_codes_;
  std::vector<uint32_t> listed_, first_, last_;
};

}  // namespace

int main(int argc, char** argv) {
  const bench::Flags flags(argc, argv,
                           {{"isa", "best"},
                            {"types", "f16,q8_0"},
                            {"queries", "3"},
                            {"positions", "16384"},
                            {"kept", "15,20,25"},
                            {"head-dim", "64"},
                            {"cache", "warm,cold"},
                            {"seconds", "0.3"},
                            {"json", ""}});
  bench::Report report;
  for (const std::string& type : flags.list("types")) {
    RefineBench(flags, type == "f16" ? KvType::kF16 : KvType::kQ8_0).run(report);
  }
  return flags.text("json").empty() || report.write_json(flags.text("json")) ? 0 : 1;
}
