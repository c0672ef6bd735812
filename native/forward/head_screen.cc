#include "forward/head_screen.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>

#include "kernels/panel_layout.h"
#include "kernels/screen_args.h"
#include "quant/split_matrix.h"

namespace lutra::forward {

namespace {

using kernels::kBlock;
using kernels::kPanelRows;

// Panels that are scanned, and later finished, as one piece of parallel work.
constexpr uint32_t kSlicePanels = 256;
// More candidates need more panels: a step of Gemma 3 270M takes 0.71 to 0.80 of the full product's time at k = 1, 0.95
// to 1 at k = 8 and 1.05 at k = 40.
constexpr uint32_t kMaxCandidates = 8;
constexpr uint32_t kMaxBiases = 256;
// A call whose rows together needed more than this share of the panels was hardly worth it: scattered reads take 35 ns
// a block and thread, the full product 14 (one row) to 31 (eight). The next calls for as many candidates do not try:
// two, and each time twice as many as before up to kLongestPause, until one is worth it.
constexpr double kWorthwhile = 0.6;
constexpr uint32_t kLongestPause = 32;
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

struct LowPlane {
  int sum, magnitude;
};

LowPlane sum_low_plane(const int8_t* low) {
  LowPlane sums{};
  for (uint32_t i = 0; i < kBlock; ++i) {
    sums.sum += low[i];
    sums.magnitude += std::abs(low[i]);
  }
  return sums;
}

}  // namespace

// Per block: the centre of what a score leaves out of a logit, and how far from it that can take the logit.
bool HeadScreen::measure(uint32_t row) {
  const uint32_t blocks = head_->k / kBlock;
  const double slack = (7500.0 * blocks + 32000.0) * 0x1p-24;
  const bool one_plane = rows_.size() >= kernels::kScreenOnePlane;
  const kernels::PlaneActivations x = x_->planes(row);
  for (uint32_t b = 0; b < blocks; ++b) {
    const Reach reach = cut_block(x.planes + b * 2 * kBlock, x.d[b]);
    if (!(reach.norm < kLargestNorm)) return false;
    const LowPlane low = one_plane ? sum_low_plane(x.planes + b * 2 * kBlock + kBlock) : LowPlane{0, 0};
    const double d = x.d[b];
    const uint32_t at = b * kernels::kScreenRows + row;
    scale_[at] = one_plane ? 256 * x.d[b] : x.d[b];
    centre_[at] = static_cast<float>((kCentre / 16 - 8) * x.s[b] + kCentre * d * low.sum);
    // Rounded up: the additions above err by far less than 2^-20 of their sums.
    const double box = reach.box + 16 * kCentre * d * low.magnitude;
    box_[at] = static_cast<float>((box + (slack + 0x1p-20 * kOrdinaryRadius) * reach.norm) * kRoundUp);
    ball_[at] = static_cast<float>(reach.ball * kRoundUp / kernels::kRadiusSteps);
  }
  return true;
}

uint32_t HeadScreen::slice_end(uint32_t slice) const { return std::min(head_->n_panels(), (slice + 1) * kSlicePanels); }

// Best scores and reach of a slice's panels, and for each row the best panels.
void HeadScreen::scan_slice(uint32_t slice) {
  const quant::Matrix& head = *head_;
  const uint32_t begin = slice * kSlicePanels, end = slice_end(slice);
  kernels_->screen({
      .panels = head.panels,
      .radii = head.panels - kernels::split_radii_bytes(head.k / kBlock),
      .panel_bytes = head.panel_bytes,
      .n_blocks = head.k / kBlock,
      .panel_begin = begin,
      .panel_end = end,
      .n = static_cast<uint32_t>(rows_.size()),
      .activations = x_->planes(0),
      .scale = scale_.data(),
      .centre = centre_.data(),
      .box = box_.data(),
      .ball = ball_.data(),
      .best = best_.data(),
      .reach = reach_.data(),
      .stride = head.n_panels(),
  });
  for (size_t row = 0; row < rows_.size(); ++row) {
    float* best = best_.data() + row * head.n_panels();
    for (const int32_t id : rows_[row].bias.ids) {  // seeds in any case: no other has to give way to them
      const uint32_t panel = static_cast<uint32_t>(id) / kPanelRows;
      if (panel >= begin && panel < end) best[panel] = -INFINITY;
    }
    tops_[row].find(*kernels_, slice, best + begin, begin, end - begin);
  }
}

// The panels of each row's k best scores and of its biased ids: their logits, k or more, give the bar.
void HeadScreen::choose_seeds() {
  known_.assign(head_->n_panels(), 0);
  seeds_.clear();
  for (uint32_t row = 0; row < rows_.size(); ++row) {
    const auto add = [&](uint32_t panel) {
      const auto bit = static_cast<uint8_t>(1u << row);
      if ((known_[panel] & bit) == 0) seeds_.push_back({row, panel});
      known_[panel] |= bit;
    };
    ids_.resize(k_);
    values_.resize(k_);
    tops_[row].merge(k_, ids_.data(), values_.data());
    for (const int32_t panel : ids_) {
      if (panel >= 0) add(static_cast<uint32_t>(panel));
    }
    for (const int32_t id : rows_[row].bias.ids) add(static_cast<uint32_t>(id) / kPanelRows);
  }
}

void HeadScreen::read_in_full(Read read) {
  kernels_->matmul_split({
      .panels = head_->panels,
      .panel_bytes = head_->panel_bytes,
      .low_panels = head_->low,
      .low_panel_bytes = head_->low_panel_bytes,
      .rows = head_->rows,
      .k = head_->k,
      .panel_begin = read.panel,
      .panel_end = read.panel + 1,
      .n = 1,
      .activations = x_->planes(read.row),
      .x = nullptr,
      .out = rows_[read.row].logits,
      .out_stride = head_->rows,
  });
}

// Applies the biases and finds the k-th best known logit.
void HeadScreen::set_bar(uint32_t row) {
  const Row& out = rows_[row];
  for (uint32_t i = 0; i < out.bias.ids.size(); ++i) {
    float& logit = out.logits[out.bias.ids[i]];
    logit = out.bias.apply(i, logit);
  }
  values_.clear();
  for (const Read& seed : seeds_) {
    if (seed.row != row) continue;
    const float* panel = out.logits + static_cast<uint64_t>(seed.panel) * kPanelRows;
    values_.insert(values_.end(), panel, panel + std::min(kPanelRows, head_->rows - seed.panel * kPanelRows));
  }
  ids_.resize(k_);
  top_values_.resize(k_);
  kernels_->top_k(values_.data(), static_cast<uint32_t>(values_.size()), k_, ids_.data(), top_values_.data());
  bars_[row] = top_values_[k_ - 1];
}

// Marks what may reach a row's bar; the number of marks.
uint32_t HeadScreen::mark_slice(uint32_t slice) {
  const uint32_t begin = slice * kSlicePanels, end = slice_end(slice);
  uint32_t n_needed = 0;
  std::fill(needed_.begin() + begin, needed_.begin() + end, uint8_t{0});
  for (uint32_t row = 0; row < rows_.size(); ++row) {
    const float* reach = reach_.data() + static_cast<uint64_t>(row) * head_->n_panels();
    for (uint32_t panel = begin; panel < end; ++panel) {
      if (reach[panel] + kUnderflow < bars_[row] || (known_[panel] >> row & 1) != 0) continue;
      needed_[panel] |= static_cast<uint8_t>(1u << row);
      ++n_needed;
    }
  }
  return n_needed;
}

// Panels to be read are far apart in memory: all lines of the next are asked for while this one is multiplied.
void HeadScreen::prefetch(uint32_t panel) const {
  const uint8_t* high = head_->panels + panel * head_->panel_bytes;
  const uint8_t* low = head_->low_panel(panel);
  for (uint64_t i = 0; i < head_->panel_bytes; i += 64) __builtin_prefetch(high + i);
  for (uint64_t i = 0; i < head_->low_panel_bytes; i += 64) __builtin_prefetch(low + i);
}

// Reads in full what is marked, and collects what reaches its row's bar. k known logits do: nothing below is a
// candidate, nor tied with one.
void HeadScreen::finish_slice(uint32_t slice) {
  uint32_t panels[kSlicePanels], n_panels = 0;
  const uint32_t panel_end = slice_end(slice);
  for (uint32_t panel = slice * kSlicePanels; panel < panel_end; ++panel) {
    if ((known_[panel] | needed_[panel]) != 0) panels[n_panels++] = panel;
  }
  std::vector<Found>& found = found_[slice];
  found.clear();
  for (uint32_t i = 0; i < n_panels; ++i) {
    const uint32_t panel = panels[i];
    if (i + 1 < n_panels && needed_[panels[i + 1]] != 0) prefetch(panels[i + 1]);
    const uint32_t end = std::min(head_->rows, (panel + 1) * kPanelRows);
    for (uint32_t row = 0; row < rows_.size(); ++row) {
      if (((known_[panel] | needed_[panel]) >> row & 1) == 0) continue;
      if ((needed_[panel] >> row & 1) != 0) read_in_full({row, panel});
      const float* logits = rows_[row].logits;
      for (uint32_t id = panel * kPanelRows; id < end; ++id) {
        if (logits[id] >= bars_[row]) found.push_back({logits[id], static_cast<int32_t>(id), row});
      }
    }
  }
}

// The k best of what all slices found for a row; false when logits that are no numbers left too few.
bool HeadScreen::rank(uint32_t row) {
  ranked_.clear();
  for (const std::vector<Found>& slice : found_) {
    for (const Found& found : slice) {
      if (found.row == row) ranked_.push_back(found);
    }
  }
  if (ranked_.size() < k_) return false;
  std::partial_sort(ranked_.begin(), ranked_.begin() + k_, ranked_.end(), [](const Found& a, const Found& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
  });
  for (uint32_t i = 0; i < k_; ++i) {
    rows_[row].candidate_ids[i] = ranked_[i].id;
    rows_[row].candidate_logits[i] = ranked_[i].logit;
  }
  return true;
}

bool HeadScreen::may_run(const quant::Matrix& head, uint32_t k, std::span<const Row> rows) {
  if (head.low == nullptr || head.bias != nullptr || k > kMaxCandidates || k > head.rows) return false;
  if (rows.size() > kMaxRows) return false;
  for (const Row& row : rows) {
    if (row.bias.ids.size() > kMaxBiases) return false;
  }
  if (pause_ == 0 || k * rows.size() < paused_candidates_) return true;
  --pause_;
  return false;
}

// After a call for `candidates` that needed this share of the panels.
void HeadScreen::plan_pause(double share, uint32_t candidates) {
  if (share > kWorthwhile) {
    paused_candidates_ = candidates;
    pause_ = last_pause_ = std::min(2 * last_pause_, kLongestPause);
  } else if (candidates >= paused_candidates_) {
    last_pause_ = 1;
  }
}

bool HeadScreen::run(base::ThreadTeam& team, const kernels::KernelTable& kernels, const quant::Matrix& head,
                     quant::Activations& x, uint32_t k, std::span<const Row> rows) {
  if (!may_run(head, k, rows)) return false;
  kernels_ = &kernels;
  head_ = &head;
  x_ = &x;
  k_ = k;
  rows_ = rows;
  const auto n = static_cast<uint32_t>(rows.size());
  const uint32_t n_slices = (head.n_panels() + kSlicePanels - 1) / kSlicePanels;
  for (std::vector<float>* sizes : {&scale_, &centre_, &box_, &ball_})
    sizes->resize(size_t{head.k / kBlock} * kernels::kScreenRows);
  best_.resize(size_t{n} * head.n_panels());
  reach_.resize(size_t{n} * head.n_panels());
  needed_.resize(head.n_panels());
  found_.resize(n_slices);
  for (uint32_t row = 0; row < n; ++row) tops_[row].resize(n_slices, k);

  x.quantize_all(team, kernels);
  std::atomic<bool> measured{true};
  team.parallel_for(n, [&](uint32_t row, int) {
    if (!measure(row)) measured.store(false, std::memory_order_relaxed);
  });
  if (!measured.load()) return false;
  team.parallel_for(n_slices, [&](uint32_t slice, int) { scan_slice(slice); });

  choose_seeds();
  const auto n_seeds = static_cast<uint32_t>(seeds_.size());
  team.parallel_for((n_seeds + kPanelsPerJob - 1) / kPanelsPerJob, [&](uint32_t job, int) {
    const uint32_t end = std::min(n_seeds, (job + 1) * kPanelsPerJob);
    for (uint32_t i = job * kPanelsPerJob; i < end; ++i) read_in_full(seeds_[i]);
  });
  for (uint32_t row = 0; row < n; ++row) set_bar(row);

  std::atomic<uint32_t> n_needed{0};
  team.parallel_for(n_slices,
                    [&](uint32_t slice, int) { n_needed.fetch_add(mark_slice(slice), std::memory_order_relaxed); });
  const double share = static_cast<double>(n_needed.load()) / head.n_panels();
  plan_pause(share, k * n);
  if (share > hopeless_share_ * (1 + n / 4.0)) return false;
  team.parallel_for(n_slices, [&](uint32_t slice, int) { finish_slice(slice); });
  bool ranked = true;
  for (uint32_t row = 0; row < n; ++row) ranked = rank(row) && ranked;
  return ranked;
}

}  // namespace lutra::forward
