// Speed of exact attention over f16 K/V pages, as the engine calls it, for numbers of queries that share a K/V head and
// numbers of positions: GFLOP/s (4 · head_dim a query and position), and K/V bytes a second, counted once however many
// queries use them, against the read ceiling the same threads reach at that moment.
//
// `queries` are query heads of a K/V head times rows of a sequence: 3 is one SmolLM2 row, 9 three of them. `warm`
// repeats one layer; `cold` rotates over layers, four times the last-level cache together. Medians.
//
//   bench_attention [--isa best] [--queries 1,3,9] [--group 3] [--positions 512,…] [--kv-heads 3] [--head-dim 64]
//                   [--threads 1,2] [--cache warm,cold] [--seconds 0.1] [--json FILE]
#include <cstring>
#include <numeric>
#include <random>

#include "attention/attention.h"
#include "flags.h"
#include "machine.h"
#include "report.h"

namespace {

using namespace lutra;

/// K/V of as many layers as `wanted_bytes` needs, random, pages in order.
class Pages {
 public:
  Pages(uint32_t n_kv_heads, uint32_t head_dim, uint32_t n_positions, uint64_t wanted_bytes) {
    cache::KvShape shape = {1, n_kv_heads, head_dim, n_positions / kernels::kPagePositions};
    layer_bytes_ = cache::KvCache::bytes_per_token(shape) * n_positions;
    shape.n_layers = static_cast<uint32_t>(std::max<uint64_t>(1, wanted_bytes / layer_bytes_));
    auto created = cache::KvCache::create(shape);
    if (!created.ok()) {
      std::fprintf(stderr, "no memory for %u positions\n", n_positions);
      std::exit(1);
    }
    cache_ = std::move(created.value());
    page_table_.resize(shape.n_pages);
    std::iota(page_table_.begin(), page_table_.end(), 0);
    fill();
  }

  cache::KvCache& cache() { return cache_; }
  const int32_t* page_table() const { return page_table_.data(); }
  uint64_t layer_bytes() const { return layer_bytes_; }

 private:
  // Bytes that make finite halves below 1, the same for every page: speed does not depend on them.
  void fill() {
    const cache::KvShape& shape = cache_.shape();
    std::mt19937 random(1);
    std::vector<uint8_t> page(layer_bytes_ / shape.n_pages / shape.n_kv_heads / 2);
    for (uint8_t& byte : page) byte = static_cast<uint8_t>(random() & 0x3B);
    for (uint32_t layer = 0; layer < shape.n_layers; ++layer) {
      for (uint32_t i = 0; i < shape.n_pages; ++i) {
        for (uint32_t head = 0; head < shape.n_kv_heads; ++head) {
          std::memcpy(cache_.keys(layer, i, head), page.data(), page.size());
          std::memcpy(cache_.values(layer, i, head), page.data(), page.size());
        }
      }
    }
  }

  cache::KvCache cache_;
  std::vector<int32_t> page_table_;
  uint64_t layer_bytes_;
};

class AttentionBench {
 public:
  explicit AttentionBench(const bench::Flags& flags)
      : flags_(flags),
        table_(bench::table_named(flags.text("isa"))),
        ceiling_(bench::cold_bytes()),
        n_kv_heads_(flags.numbers("kv-heads")[0]),
        head_dim_(flags.numbers("head-dim")[0]) {}

  void run() {
    for (const uint32_t n_positions : flags_.numbers("positions")) {
      for (const std::string& cache : flags_.list("cache")) {
        Pages pages(n_kv_heads_, head_dim_, n_positions, cache == "cold" ? bench::cold_bytes() : 1);
        for (const uint32_t n_threads : flags_.numbers("threads")) {
          base::ThreadTeam team(static_cast<int>(n_threads));
          const double ceiling = ceiling_.measure(team);
          for (const uint32_t n_queries : flags_.numbers("queries")) measure(team, pages, n_queries, ceiling);
        }
      }
    }
  }

  const bench::Report& report() const { return report_; }

 private:
  // The last rows of a sequence that fills all pages: `group` query heads a K/V head, the rest as further rows.
  void measure(base::ThreadTeam& team, Pages& pages, uint32_t n_queries, double ceiling) {
    const cache::KvShape& shape = pages.cache().shape();
    const uint32_t wanted_group = flags_.numbers("group")[0];
    const uint32_t group = n_queries % wanted_group == 0 ? wanted_group : n_queries;
    const uint32_t n_rows = n_queries / group;
    const uint32_t n_heads = group * n_kv_heads_;
    const uint32_t n_positions = shape.n_pages * kernels::kPagePositions;
    std::mt19937 random(2);
    std::uniform_real_distribution<float> uniform(-0.5f, 0.5f);
    std::vector<float> queries(size_t{n_rows} * n_heads * head_dim_), out(queries.size());
    for (float& value : queries) value = uniform(random);
    std::vector<int32_t> positions(n_rows);
    std::iota(positions.begin(), positions.end(), static_cast<int32_t>(n_positions - n_rows));
    std::vector<float> scratch(attention::scratch_floats(n_heads, head_dim_, n_positions));
    const attention::RowSpan span = {0, n_rows, pages.page_table()};
    const double seconds = bench::median_seconds(flags_.number("seconds"), [&] {
      for (uint32_t layer = 0; layer < shape.n_layers; ++layer) {
        attention::attend_exact(team, table_, pages.cache(),
                                {.layer = layer,
                                 .n_heads = n_heads,
                                 .window = 0,
                                 .queries = queries.data(),
                                 .positions = positions.data(),
                                 .spans = {&span, 1},
                                 .out = out.data()},
                                scratch.data());
      }
    });
    const double calls = shape.n_layers / seconds;
    const double flops = calls * 4.0 * head_dim_ * n_heads * n_rows * n_positions;
    const double bytes = calls * static_cast<double>(pages.layer_bytes());
    report_.add({bench::label("isa", base::isa_name(table_.isa)), bench::figure("positions", n_positions, 0),
                 bench::label("cache", shape.n_layers > 1 ? "cold" : "warm"), bench::figure("threads", team.size(), 0),
                 bench::figure("queries", n_queries, 0), bench::figure("microseconds", 1e6 / calls, 2),
                 bench::figure("gflop_s", flops / 1e9, 2), bench::figure("gb_s", bytes / 1e9, 2),
                 bench::figure("ceiling_gb_s", ceiling / 1e9, 2),
                 bench::figure("share_of_ceiling", bytes / ceiling, 3)});
  }

  const bench::Flags& flags_;
  const kernels::KernelTable& table_;
  bench::ReadCeiling ceiling_;
  uint32_t n_kv_heads_;
  uint32_t head_dim_;
  bench::Report report_;
};

}  // namespace

int main(int argc, char** argv) {
  const bench::Flags flags(argc, argv,
                           {{"isa", "best"},
                            {"queries", "1,3,9"},
                            {"group", "3"},
                            {"positions", "512,1024,2048,4096,8192,16384"},
                            {"kv-heads", "3"},
                            {"head-dim", "64"},
                            {"threads", "1,2"},
                            {"cache", "warm,cold"},
                            {"seconds", "0.1"},
                            {"json", ""}});
  AttentionBench attention(flags);
  attention.run();
  return flags.text("json").empty() || attention.report().write_json(flags.text("json")) ? 0 : 1;
}
