// Cost of choosing the channels of one row of activations, on one thread: microseconds a call of each kernel, and of
// all that a site takes (score, top, keep, unite, list). Lower quartiles of the times of runs of calls over rows that
// differ, so that branches are not learnt: other work on the machine delays some.
//
//   bench_channels [--isa best] [--widths 576,1536,8192,14336] [--keep 0.5] [--seconds 0.3] [--json FILE]
#include <algorithm>
#include <cmath>
#include <functional>
#include <random>

#include "flags.h"
#include "machine.h"
#include "report.h"

namespace {

using namespace lutra;

/// Rows of one width, and what is made of them.
class Rows {
 public:
  explicit Rows(uint32_t width)
      : k(width), n(std::clamp<uint32_t>(kBytes / (25 * k), 2, 16)), memory_(n * row_bytes()) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (uint32_t row = 0; row < n; ++row) {
      for (uint32_t i = 0; i < k; ++i) floats(row)[i] = normal(random);
    }
  }

  const uint32_t k, n;

  float* floats(uint32_t row) { return at<float>(row, 0); }
  uint32_t* scores() { return at<uint32_t>(0, 4); }
  uint32_t* scratch() { return at<uint32_t>(0, 8); }
  int8_t* planes(uint32_t row) { return at<int8_t>(row, 12); }
  int8_t* quads() { return at<int8_t>(0, 14); }
  uint8_t* channels() { return at<uint8_t>(0, 16); }
  float* d(uint32_t row) { return at<float>(row, 18); }
  float* s(uint32_t row) { return at<float>(row, 19); }
  float* s16(uint32_t row) { return at<float>(row, 20); }
  int32_t* sums(uint32_t row) { return at<int32_t>(row, 21); }
  uint32_t* mask(uint32_t row) { return at<uint32_t>(row, 22); }
  uint32_t* united() { return at<uint32_t>(0, 23); }
  uint32_t* ends() { return at<uint32_t>(0, 24); }

 private:
  static constexpr uint32_t kBytes = 512 << 10;  ///< in the second-level cache

  uint64_t row_bytes() const { return 25ull * k; }
  template <typename T>
  T* at(uint32_t row, uint32_t bytes_before) {
    return reinterpret_cast<T*>(memory_.data() + row * row_bytes() + uint64_t{bytes_before} * k);
  }

  base::AlignedBuffer memory_;
};

/// Lower quartile, in microseconds a call.
double measure(const Rows& rows, double seconds, const std::function<void(uint32_t)>& call) {
  std::vector<double> times;
  const auto begin = bench::Clock::now();
  while (times.size() < 20 || bench::seconds_since(begin) < seconds) {
    const auto start = bench::Clock::now();
    for (uint32_t row = 0; row < rows.n; ++row) call(row);
    times.push_back(bench::seconds_since(start) / rows.n * 1e6);
  }
  const auto quarter = times.begin() + static_cast<ptrdiff_t>(times.size() / 4);
  std::nth_element(times.begin(), quarter, times.end());
  return *quarter;
}

void run(const kernels::KernelTable& table, uint32_t k, const bench::Flags& flags, bench::Report& report) {
  Rows rows(k);
  const kernels::ChannelKernels& kernels = table.channels;
  const auto n_kept = std::max(1u, static_cast<uint32_t>(std::lround(flags.number("keep") * k)));
  const auto score = [&](uint32_t r) { kernels.score(rows.floats(r), nullptr, k, rows.scores()); };
  const auto top = [&](uint32_t r) { kernels.top({k, n_kept, rows.scores(), rows.scratch(), rows.mask(r)}); };
  const auto keep = [&](uint32_t r) {
    kernels.keep({k, rows.mask(r), rows.d(r), rows.planes(r), rows.s(r), rows.s16(r), rows.sums(r), nullptr});
  };
  const auto unite = [&](uint32_t r) { kernels.unite({k, 1, rows.mask(r), rows.d(r), rows.united()}); };
  const auto list = [&](uint32_t r, uint32_t granule) {
    kernels.list({k, granule, 1, rows.united(), rows.planes(r), rows.ends(), rows.channels(), rows.quads(), 2 * k});
  };
  for (uint32_t r = 0; r < rows.n; ++r) {
    table.quantize_planes(rows.floats(r), k, rows.planes(r), rows.d(r), rows.s(r), rows.s16(r));
  }
  const double seconds = flags.number("seconds") / 7;
  const double score_us = measure(rows, seconds, score), top_us = measure(rows, seconds, top),
               keep_us = measure(rows, seconds, keep);
  const double unite_us = measure(rows, seconds, unite);
  const double list32_us = measure(rows, seconds, [&](uint32_t r) { list(r, 32); });
  const double list16_us = measure(rows, seconds, [&](uint32_t r) { list(r, 16); });
  const double site_us = measure(rows, seconds, [&](uint32_t r) {
    score(r);
    top(r);
    keep(r);
    unite(r);
    list(r, 32);
  });
  report.add({bench::label("isa", base::isa_name(table.isa)), bench::figure("width", k, 0),
              bench::figure("kept", n_kept, 0), bench::figure("score_us", score_us, 3),
              bench::figure("top_us", top_us, 3), bench::figure("keep_us", keep_us, 3),
              bench::figure("unite_us", unite_us, 3), bench::figure("list32_us", list32_us, 3),
              bench::figure("list16_us", list16_us, 3), bench::figure("site_us", site_us, 3)});
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Flags flags(
      argc, argv,
      {{"isa", "best"}, {"widths", "576,1536,8192,14336"}, {"keep", "0.5"}, {"seconds", "0.3"}, {"json", ""}});
  bench::Report report;
  for (const uint32_t width : flags.numbers("widths")) {
    run(bench::table_named(flags.text("isa")), width / 32 * 32, flags, report);
  }
  if (!flags.text("json").empty() && !report.write_json(flags.text("json"))) return 1;
  return 0;
}
