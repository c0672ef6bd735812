#include "forward/form_probe.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/aligned_buffer.h"
#include "base/thread_team.h"
#include "quant/lut_tile.h"
#include "quant/matrix.h"
#include "quant/quant.h"

namespace lutra::forward {

namespace {

using base::Status;
using quant::Activations;
using quant::Matrix;
using Clock = std::chrono::steady_clock;

// Passes read one stretch after the other of this much memory: when they come round, a core's share of most last-level
// caches has seen enough else. More could be too much for a container that just holds the model.
constexpr uint64_t kRingBytes = 64 << 20;
constexpr uint64_t kPattern = 64 << 10;
constexpr uint64_t kPassBytes = 4 << 20;
constexpr int kRounds = 11;
constexpr double kMostSeconds = 0.15;

uint32_t next_random(uint32_t& state) {
  state = state * 1664525u + 1013904223u;
  return state >> 8;
}

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Weights of any type in either form: speed does not depend on codes, and as the scales of any type these bytes are
// finite and not subnormal.
bool fill(base::AlignedBuffer& ring) {
  if (ring.data() == nullptr) return false;
  ring.prefer_huge_pages();
  uint32_t state = 1;
  for (uint64_t i = 0; i < kPattern; ++i) ring.data()[i] = static_cast<uint8_t>((next_random(state) & 0x3B) | 0x40);
  for (uint64_t at = kPattern; at < kRingBytes; at += kPattern) std::memcpy(ring.data() + at, ring.data(), kPattern);
  return true;
}

/// One form of the product.
class Contestant {
 public:
  Contestant(const Matrix& matrix, uint32_t most_rows, const quant::LutRoom& room)
      : matrix_(matrix),
        arena_(Activations::bytes_needed(most_rows, matrix.k, room)),
        out_(size_t{most_rows} * matrix.rows),
        n_products_(static_cast<uint32_t>(std::max<uint64_t>(1, kPassBytes / matrix.bytes()))) {
    if (arena_.data() != nullptr) x_ = Activations(arena_.data(), most_rows, matrix.k, room);
  }
  bool ok() const { return arena_.data() != nullptr; }
  uint32_t rows() const { return matrix_.rows; }
  void forget() { samples_.clear(); }
  /// The least of the rounds: whatever else the machine does only adds to a time.
  double seconds() const { return *std::min_element(samples_.begin(), samples_.end()); }

  /// Multiplies one stretch of the ring from `place` on, each matrix with n rows quantised anew.
  void pass(base::ThreadTeam& team, const kernels::KernelTable& kernels, const base::AlignedBuffer& ring,
            uint64_t& place, uint32_t n) {
    x_.begin(n, matrix_.k);
    uint32_t state = 2;
    for (uint64_t i = 0; i < uint64_t{n} * matrix_.k; ++i) {
      x_.row(0)[i] = static_cast<float>(next_random(state)) * 0x1p-23f - 1.0f;
    }
    const auto start = Clock::now();
    for (uint32_t i = 0; i < n_products_; ++i) {
      if (place + matrix_.bytes() > kRingBytes) place = 0;
      x_.begin(n, matrix_.k);
      Matrix matrix = matrix_;
      matrix.panels = ring.data() + place;
      const quant::Product product = {&matrix, out_.data(), matrix_.rows};
      quant::multiply(team, kernels, x_, {&product, 1});
      place += matrix_.bytes();
    }
    samples_.push_back(seconds_since(start) / n_products_);
  }

 private:
  Matrix matrix_;
  base::AlignedBuffer arena_;
  Activations x_;
  std::vector<float> out_;
  uint32_t n_products_;
  std::vector<double> samples_;
};

// A taller matrix takes as long a row as its first rows do.
Matrix matrix_of(const ProbedProduct& probed, bool tiled) {
  Matrix matrix;
  matrix.type = probed.type;
  matrix.k = probed.k;
  matrix.panel_bytes = quant::panel_bytes(probed.type, probed.k);
  matrix.group_bytes = quant::kGroupPanels * matrix.panel_bytes;
  const uint64_t groups = std::max<uint64_t>(1, kPassBytes / matrix.group_bytes);
  matrix.rows = static_cast<uint32_t>(std::min<uint64_t>(probed.rows, groups * quant::kGroupRows));
  matrix.tiled = tiled;
  return matrix;
}

}  // namespace

base::Result<std::vector<FormTimes>> probe_forms(const ProbedProduct& probed, std::span<const uint32_t> columns) {
  if (!quant::has_lut_tiles(probed.type)) return std::vector<FormTimes>();
  const kernels::KernelTable* kernels = kernels::kernel_table(probed.isa);
  const uint32_t most_rows = columns.empty() ? 0 : *std::max_element(columns.begin(), columns.end());
  if (kernels == nullptr || probed.rows == 0 || probed.k == 0 ||
      probed.k % base::tensor_type_traits(probed.type).block_elements != 0 || most_rows == 0 ||
      most_rows > kernels::kLutColumns || std::find(columns.begin(), columns.end(), 0u) != columns.end()) {
    return Status("INVALID_OPTION", "expected whole blocks a row, 1 to 4 columns, and an isa of this machine");
  }
  if (matrix_of(probed, true).bytes() > kRingBytes) return std::vector<FormTimes>();
  base::ThreadTeam team(probed.threads);
  const quant::LutRoom room = {quant::lut_sets(probed.type), quant::lut_tile_bytes(probed.type, probed.k), team.size(),
                               kernels::LutTables::kExact};
  base::AlignedBuffer ring(kRingBytes);
  Contestant dot(matrix_of(probed, false), most_rows, {});
  Contestant lut(matrix_of(probed, true), most_rows, room);
  if (!dot.ok() || !lut.ok() || !fill(ring)) return std::vector<FormTimes>();  // nothing to fail a load for
  uint64_t place = 0;
  std::vector<FormTimes> times;
  for (const uint32_t n : columns) {
    const auto start = Clock::now();
    for (Contestant* each : {&dot, &lut}) {
      each->pass(team, *kernels, ring, place, n);
      each->forget();  // the first pass wakes threads, and samples were of other columns
    }
    for (int round = 0; round == 0 || (round < kRounds && seconds_since(start) < kMostSeconds); ++round) {
      for (Contestant* each : {&dot, &lut}) each->pass(team, *kernels, ring, place, n);
    }
    times.push_back({dot.seconds() * probed.rows / dot.rows(), lut.seconds() * probed.rows / lut.rows()});
  }
  return times;
}

}  // namespace lutra::forward
