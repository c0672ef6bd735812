#include "forward/head_screen.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "kernels/panel_layout.h"
#include "kernels/screen_args.h"
#include "quant/split_matrix.h"

namespace lutra::forward {

namespace {

using kernels::kBlock;
using kernels::kPanelRows;

// Rows that are scanned, and later finished, as one piece of parallel work.
constexpr uint32_t kSlice = 4096;
// More candidates need more panels: a step of Gemma 3 270M takes 0.71 to 0.80 of the full product's time at k = 1, 0.95
// to 1 at k = 8 and 1.05 at k = 40.
constexpr uint32_t kMaxCandidates = 8;
constexpr uint32_t kMaxBiases = 256;
// When a call had to read more than this share of the panels in full, the next kPause calls for as many
// candidates do not try.
constexpr double kWorthwhile = 0.25;
constexpr uint32_t kPause = 32;
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

// Per block: the centre of the low bits' part of a logit, and how far from it they can take the logit.
bool HeadScreen::measure() {
  const uint32_t blocks = head_->k / kBlock;
  const double slack = (7500.0 * blocks + 32000.0) * 0x1p-24;
  const kernels::PlaneActivations x = x_->planes(0);
  centre_.resize(blocks);
  box_.resize(blocks);
  ball_.resize(blocks);
  for (uint32_t b = 0; b < blocks; ++b) {
    const Reach reach = cut_block(x.planes + b * 2 * kBlock, x.d[b]);
    if (!(reach.norm < kLargestNorm)) return false;
    centre_[b] = static_cast<float>(kCentre / 16 - 8) * x.s[b];
    // Rounded up: the additions above err by far less than 2^-20 of their sums.
    box_[b] = static_cast<float>((reach.box + (slack + 0x1p-20 * kOrdinaryRadius) * reach.norm) * kRoundUp);
    ball_[b] = static_cast<float>(reach.ball * kRoundUp / kernels::kRadiusSteps);
  }
  return true;
}

// Scores of a slice's rows and the best of them, and the reach of its panels.
void HeadScreen::scan_slice(uint32_t slice, const Row& row) {
  float scores[kSlice];
  const quant::Matrix& head = *head_;
  const uint32_t row_begin = slice * kSlice;
  const uint32_t row_end = std::min(head.rows, row_begin + kSlice);
  const uint32_t panel_begin = row_begin / kPanelRows;
  kernels_->screen({
      .panels = head.panels,
      .radii = head.panels - kernels::split_radii_bytes(head.k / kBlock),
      .panel_bytes = head.panel_bytes,
      .rows = head.rows,
      .n_blocks = head.k / kBlock,
      .panel_begin = panel_begin,
      .panel_end = (row_end + kPanelRows - 1) / kPanelRows,
      .activations = x_->planes(0),
      .centre = centre_.data(),
      .box = box_.data(),
      .ball = ball_.data(),
      .scores = scores,
      .reach = reach_.data() + panel_begin,
  });
  for (const int32_t id : row.bias.ids) {  // known by other means, and not at their unbiased place
    if (static_cast<uint32_t>(id) >= row_begin && static_cast<uint32_t>(id) < row_end) {
      scores[static_cast<uint32_t>(id) - row_begin] = -INFINITY;
    }
  }
  tops_.find(*kernels_, slice, scores, row_begin, row_end - row_begin);
}

// The panels of the k best scores and of the biased ids: their logits give the bar.
void HeadScreen::choose_seeds(const Row& row) {
  ids_.resize(k_);
  values_.resize(k_);
  tops_.merge(k_, ids_.data(), values_.data());
  ids_.insert(ids_.end(), row.bias.ids.begin(), row.bias.ids.end());
  known_.assign(head_->n_panels(), 0);
  seeds_.clear();
  for (const int32_t id : ids_) {
    const uint32_t panel = static_cast<uint32_t>(id) / kPanelRows;
    if (known_[panel] == 0) seeds_.push_back(panel);
    known_[panel] = 1;
  }
}

void HeadScreen::read_in_full(uint32_t panel, const Row& row) {
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
      .activations = x_->planes(0),
      .x = nullptr,
      .out = row.logits,
      .out_stride = head_->rows,
  });
}

// Applies the biases and finds the k-th best known logit. The known panels hold k rows or more.
void HeadScreen::set_bar(const Row& row) {
  for (uint32_t i = 0; i < row.bias.ids.size(); ++i) {
    float& logit = row.logits[row.bias.ids[i]];
    logit = row.bias.apply(i, logit);
  }
  values_.clear();
  for (const uint32_t seed : seeds_) {
    const float* panel = row.logits + static_cast<uint64_t>(seed) * kPanelRows;
    values_.insert(values_.end(), panel, panel + std::min(kPanelRows, head_->rows - seed * kPanelRows));
  }
  ids_.resize(k_);
  best_.resize(k_);
  kernels_->top_k(values_.data(), static_cast<uint32_t>(values_.size()), k_, ids_.data(), best_.data());
  bar_ = best_[k_ - 1];
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
uint32_t HeadScreen::finish_slice(uint32_t slice, const Row& row) {
  constexpr uint32_t kPanels = kSlice / kPanelRows;
  const uint32_t panel_end = std::min(head_->n_panels(), (slice + 1) * kPanels);
  uint32_t panels[kPanels], n_panels = 0, n_read = 0;
  for (uint32_t panel = slice * kPanels; panel < panel_end; ++panel) {
    if (known_[panel] != 0 || !(reach_[panel] + kUnderflow < bar_)) panels[n_panels++] = panel;
  }
  std::vector<Found>& found = found_[slice];
  found.clear();
  for (uint32_t i = 0; i < n_panels; ++i) {
    const uint32_t panel = panels[i];
    if (i + 1 < n_panels && known_[panels[i + 1]] == 0) prefetch(panels[i + 1]);
    if (known_[panel] == 0) {
      read_in_full(panel, row);
      ++n_read;
    }
    const uint32_t end = std::min(head_->rows, (panel + 1) * kPanelRows);
    for (uint32_t id = panel * kPanelRows; id < end; ++id) {
      if (row.logits[id] >= bar_) found.push_back({row.logits[id], static_cast<int32_t>(id)});
    }
  }
  return n_read;
}

// The k best of what all slices found; false when logits that are no numbers left too few.
bool HeadScreen::rank(const Row& row) {
  std::vector<Found>& all = found_.front();
  for (size_t slice = 1; slice < found_.size(); ++slice) {
    all.insert(all.end(), found_[slice].begin(), found_[slice].end());
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

bool HeadScreen::may_run(const quant::Matrix& head, uint32_t k, const Row& row) {
  if (head.low == nullptr || head.bias != nullptr || k > kMaxCandidates || k > head.rows) return false;
  if (row.bias.ids.size() > kMaxBiases) return false;
  if (pause_ == 0 || k < paused_k_) return true;
  --pause_;
  return false;
}

bool HeadScreen::run(base::ThreadTeam& team, const kernels::KernelTable& kernels, const quant::Matrix& head,
                     quant::Activations& x, uint32_t k, const Row& row) {
  if (!may_run(head, k, row)) return false;
  kernels_ = &kernels;
  head_ = &head;
  x_ = &x;
  k_ = k;
  x.quantize_all(team, kernels);
  if (!measure()) return false;

  const uint32_t n_slices = (head.rows + kSlice - 1) / kSlice;
  tops_.resize(n_slices, k);
  reach_.resize(head.n_panels());
  found_.resize(n_slices);
  team.parallel_for(n_slices, [&](uint32_t slice, int) { scan_slice(slice, row); });

  choose_seeds(row);
  const auto n_seeds = static_cast<uint32_t>(seeds_.size());
  team.parallel_for((n_seeds + kPanelsPerJob - 1) / kPanelsPerJob, [&](uint32_t job, int) {
    const uint32_t end = std::min(n_seeds, (job + 1) * kPanelsPerJob);
    for (uint32_t i = job * kPanelsPerJob; i < end; ++i) read_in_full(seeds_[i], row);
  });
  set_bar(row);

  std::atomic<uint32_t> n_read{0};
  team.parallel_for(
      n_slices, [&](uint32_t slice, int) { n_read.fetch_add(finish_slice(slice, row), std::memory_order_relaxed); });
  if (n_read.load() > kWorthwhile * head.n_panels()) {
    pause_ = kPause;
    paused_k_ = k;
  }
  return rank(row);
}

}  // namespace lutra::forward
