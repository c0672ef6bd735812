#include "forward/head_screen.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "kernels/panel_layout.h"
#include "quant/split_matrix.h"

namespace lutra::forward {

namespace {

using kernels::kBlock;
using kernels::kPanelRows;

// Rows that are scanned, and later finished, as one piece of parallel work.
constexpr uint32_t kSlice = 4096;
// High parts that stay in cache while several rows' activations meet them.
constexpr uint64_t kChunkBytes = 48 * 1024;
constexpr uint32_t kMaxRows = 4;
constexpr uint32_t kMaxCandidates = 64;
constexpr uint32_t kMaxBiases = 256;
// When a call had to read more than this share of the panels in full, the next kPause calls for as many
// candidates do not try.
constexpr double kWorthwhile = 0.25;
constexpr uint32_t kPause = 32;
// Best scores of a slice that may become seeds. More would serve only a row whose best are all neighbours.
constexpr uint32_t kSliceSeeds = 8;
constexpr uint32_t kPanelsPerJob = 4;
constexpr float kUnderflow = 1e-30f;
// Above it a product could leave the floats, and its bound with it.
constexpr double kLargestNorm = 1e18;
// The radius that the cut of a block's activations is chosen for: any would be right, this one is typical.
constexpr double kOrdinaryRadius = 26;
constexpr double kCentre = 7.5;
constexpr double kRoundUp = 1 + 0x1p-20;

struct Reach {
  double box, ball, norm;
};

// The cut t of the header's proof is best at one of the magnitudes: the sum is convex in t between neighbours.
Reach cut_block(const int8_t* planes, float scale) {
  double x[kBlock];
  double norm = 0, above = 0;
  for (uint32_t i = 0; i < kBlock; ++i) {
    x[i] = std::fabs(static_cast<double>(scale) * (256 * planes[i] + planes[kBlock + i]));
    norm += x[i] * x[i];
    above += x[i];
  }
  std::sort(x, x + kBlock);
  Reach best{0, std::sqrt(norm), std::sqrt(norm)};
  double below = 0;  // Σ x² of the entries under the cut; `above` sums the others
  for (uint32_t i = 0; i < kBlock; ++i) {
    const double n_above = kBlock - i;
    const double box = kCentre * std::max(0.0, above - n_above * x[i]);
    const double ball = std::sqrt(below + n_above * x[i] * x[i]);
    if (box + kOrdinaryRadius * ball < best.box + kOrdinaryRadius * best.ball) best = {box, ball, best.norm};
    below += x[i] * x[i];
    above -= x[i];
  }
  return best;
}

}  // namespace

// Per row and block: the centre of the low bits' part of a logit, and how far from it they can take the logit.
bool HeadScreen::measure(uint32_t n_rows) {
  const uint32_t blocks = head_->k / kBlock;
  const double slack = (7500.0 * blocks + 32000.0) * 0x1p-24;
  for (uint32_t r = 0; r < n_rows; ++r) {
    const kernels::PlaneActivations row = x_->planes(r);
    State& state = states_[r];
    state.centre.resize(blocks);
    state.box.resize(blocks);
    state.ball.resize(blocks);
    for (uint32_t b = 0; b < blocks; ++b) {
      const Reach reach = cut_block(row.planes + b * 2 * kBlock, row.d[b]);
      if (!(reach.norm < kLargestNorm)) return false;
      state.centre[b] = static_cast<float>(kCentre / 16 - 8) * row.s[b];
      // Rounded up: the additions above err by far less than 2^-20 of their sums.
      state.box[b] = static_cast<float>((reach.box + (slack + 0x1p-20 * kOrdinaryRadius) * reach.norm) * kRoundUp);
      state.ball[b] = static_cast<float>(reach.ball * kRoundUp / kernels::kRadiusSteps);
    }
  }
  return true;
}

// Scores of a slice's rows and the best of them, and the reach of its panels.
void HeadScreen::scan_slice(uint32_t slice, std::span<const Row> rows) {
  float scores[kMaxRows][kSlice];
  const quant::Matrix& head = *head_;
  const uint32_t row_begin = slice * kSlice;
  const uint32_t row_end = std::min(head.rows, row_begin + kSlice);
  const uint32_t panel_begin = row_begin / kPanelRows;
  const uint32_t panel_end = (row_end + kPanelRows - 1) / kPanelRows;
  const auto step = static_cast<uint32_t>(std::max<uint64_t>(1, kChunkBytes / head.panel_bytes));
  for (uint32_t panel = panel_begin; panel < panel_end; panel += step) {
    for (uint32_t r = 0; r < rows.size(); ++r) {
      State& state = states_[r];
      kernels_->screen({
          .panels = head.panels,
          .radii = head.panels - kernels::split_radii_bytes(head.k / kBlock),
          .panel_bytes = head.panel_bytes,
          .rows = head.rows,
          .n_blocks = head.k / kBlock,
          .panel_begin = panel,
          .panel_end = std::min(panel_end, panel + step),
          .activations = x_->planes(r),
          .centre = state.centre.data(),
          .box = state.box.data(),
          .ball = state.ball.data(),
          .scores = scores[r] + (panel - panel_begin) * kPanelRows,
          .reach = state.reach.data() + panel,
      });
    }
  }
  for (uint32_t r = 0; r < rows.size(); ++r) {
    for (const int32_t id : rows[r].bias.ids) {  // known by other means, and not at their unbiased place
      if (static_cast<uint32_t>(id) >= row_begin && static_cast<uint32_t>(id) < row_end) {
        scores[r][static_cast<uint32_t>(id) - row_begin] = -INFINITY;
      }
    }
    states_[r].tops.find(*kernels_, slice, scores[r], row_begin, row_end - row_begin);
  }
}

// The panels of the k best scores and of the biased ids: their logits give the bar.
void HeadScreen::choose_seeds(uint32_t r, const Row& row) {
  State& state = states_[r];
  ids_.resize(k_);
  values_.resize(k_);
  state.tops.merge(k_, ids_.data(), values_.data());
  ids_.insert(ids_.end(), row.bias.ids.begin(), row.bias.ids.end());
  state.known.assign(head_->n_panels(), 0);
  for (const int32_t id : ids_) {
    if (id < 0) continue;
    const uint32_t panel = static_cast<uint32_t>(id) / kPanelRows;
    if (state.known[panel] == 0) jobs_.push_back({r, panel});
    state.known[panel] = 1;
  }
}

void HeadScreen::read_in_full(uint32_t r, uint32_t panel, const Row& row) {
  kernels_->matmul_split({
      .panels = head_->panels,
      .panel_bytes = head_->panel_bytes,
      .low_panels = head_->low,
      .low_panel_bytes = head_->low_panel_bytes,
      .rows = head_->rows,
      .k = head_->k,
      .panel_begin = panel,
      .panel_end = panel + 1,
      .n = 1,
      .activations = x_->planes(r),
      .x = nullptr,
      .out = row.logits,
      .out_stride = head_->rows,
  });
  if (head_->bias == nullptr) return;
  for (uint32_t i = panel * kPanelRows; i < std::min(head_->rows, (panel + 1) * kPanelRows); ++i) {
    row.logits[i] += head_->bias[i];
  }
}

// Applies the biases and finds the k-th best known logit. The known panels hold k rows or more.
void HeadScreen::set_bar(uint32_t r, const Row& row) {
  for (uint32_t i = 0; i < row.bias.ids.size(); ++i) {
    float& logit = row.logits[row.bias.ids[i]];
    logit = row.bias.apply(i, logit);
  }
  values_.clear();
  for (const Job& job : jobs_) {
    if (job.row != r) continue;
    const float* panel = row.logits + static_cast<uint64_t>(job.panel) * kPanelRows;
    values_.insert(values_.end(), panel, panel + std::min(kPanelRows, head_->rows - job.panel * kPanelRows));
  }
  const auto n = static_cast<uint32_t>(values_.size());
  ids_.resize(k_);
  std::vector<float>& best = states_[r].box;  // measured and used up
  best.resize(std::max<size_t>(best.size(), k_));
  kernels_->top_k(values_.data(), n, k_, ids_.data(), best.data());
  states_[r].bar = best[k_ - 1];
}

// Panels to be read are far apart in memory: all lines of the next are asked for while this one is multiplied.
void HeadScreen::prefetch(uint32_t panel) const {
  const uint8_t* high = head_->panels + panel * head_->panel_bytes;
  const uint8_t* low = head_->low_panel(panel);
  for (uint64_t i = 0; i < head_->panel_bytes; i += 64) __builtin_prefetch(high + i);
  for (uint64_t i = 0; i < head_->low_panel_bytes; i += 64) __builtin_prefetch(low + i);
}

// Reads in full what may reach the bar, and collects what does. k known logits do: nothing below is a candidate, nor
// tied with one.
uint32_t HeadScreen::finish_slice(uint32_t slice, uint32_t r, const Row& row) {
  constexpr uint32_t kPanels = kSlice / kPanelRows;
  State& state = states_[r];
  const uint32_t panel_end = std::min(head_->n_panels(), (slice + 1) * kPanels);
  uint32_t panels[kPanels], n_panels = 0, n_read = 0;
  for (uint32_t panel = slice * kPanels; panel < panel_end; ++panel) {
    if (state.known[panel] != 0 || !(state.reach[panel] + kUnderflow < state.bar)) panels[n_panels++] = panel;
  }
  std::vector<Found>& found = state.found[slice];
  found.clear();
  for (uint32_t i = 0; i < n_panels; ++i) {
    const uint32_t panel = panels[i];
    if (i + 1 < n_panels && state.known[panels[i + 1]] == 0) prefetch(panels[i + 1]);
    if (state.known[panel] == 0) {
      read_in_full(r, panel, row);
      ++n_read;
    }
    const uint32_t end = std::min(head_->rows, (panel + 1) * kPanelRows);
    for (uint32_t id = panel * kPanelRows; id < end; ++id) {
      if (row.logits[id] >= state.bar) found.push_back({row.logits[id], static_cast<int32_t>(id)});
    }
  }
  return n_read;
}

// The k best of what all slices found; false when logits that are no numbers left too few.
bool HeadScreen::rank(uint32_t r, const Row& row) {
  State& state = states_[r];
  std::vector<Found>& all = state.found.front();
  for (size_t slice = 1; slice < state.found.size(); ++slice) {
    all.insert(all.end(), state.found[slice].begin(), state.found[slice].end());
  }
  if (all.size() < k_) return false;
  std::partial_sort(all.begin(), all.begin() + k_, all.end(), [](const Found& a, const Found& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
  });
  for (uint32_t i = 0; i < k_; ++i) {
    row.candidate_ids[i] = all[i].id;
    row.candidate_logits[i] = all[i].logit;
  }
  return true;
}

bool HeadScreen::run(base::ThreadTeam& team, const kernels::KernelTable& kernels, const quant::Matrix& head,
                     quant::Activations& x, uint32_t k, std::span<const Row> rows) {
  if (head.low == nullptr || rows.size() > kMaxRows || k > kMaxCandidates || k > head.rows) return false;
  for (const Row& row : rows) {
    if (row.bias.ids.size() > kMaxBiases) return false;
  }
  if (pause_ > 0 && k >= paused_k_) {
    --pause_;
    return false;
  }
  team_ = &team;
  kernels_ = &kernels;
  head_ = &head;
  x_ = &x;
  k_ = k;
  const auto n_rows = static_cast<uint32_t>(rows.size());
  if (states_.size() < n_rows) states_.resize(n_rows);
  x.quantize_all(team, kernels);
  if (!measure(n_rows)) return false;

  const uint32_t n_slices = (head.rows + kSlice - 1) / kSlice;
  for (uint32_t r = 0; r < n_rows; ++r) {
    // Whole slices alone hold k seeds, all different: k logits are known then.
    states_[r].tops.resize(n_slices, (n_slices - 1) * kSliceSeeds >= k ? std::min(k, kSliceSeeds) : k);
    states_[r].reach.resize(head.n_panels());
    states_[r].found.resize(n_slices);
  }
  team.parallel_for(n_slices, [&](uint32_t slice, int) { scan_slice(slice, rows); });

  jobs_.clear();
  for (uint32_t r = 0; r < n_rows; ++r) choose_seeds(r, rows[r]);
  const auto n_jobs = static_cast<uint32_t>(jobs_.size());
  team.parallel_for((n_jobs + kPanelsPerJob - 1) / kPanelsPerJob, [&](uint32_t chunk, int) {
    for (uint32_t i = chunk * kPanelsPerJob; i < std::min(n_jobs, (chunk + 1) * kPanelsPerJob); ++i) {
      read_in_full(jobs_[i].row, jobs_[i].panel, rows[jobs_[i].row]);
    }
  });
  for (uint32_t r = 0; r < n_rows; ++r) set_bar(r, rows[r]);

  std::atomic<uint32_t> n_read{0};
  team.parallel_for(n_slices * n_rows, [&](uint32_t chunk, int) {
    const uint32_t r = chunk % n_rows;
    n_read.fetch_add(finish_slice(chunk / n_rows, r, rows[r]), std::memory_order_relaxed);
  });
  bool whole = true;
  for (uint32_t r = 0; r < n_rows; ++r) whole = rank(r, rows[r]) && whole;
  if (n_read.load() > kWorthwhile * n_rows * head.n_panels()) {
    pause_ = kPause;
    paused_k_ = k;
  }
  return whole;
}

}  // namespace lutra::forward
