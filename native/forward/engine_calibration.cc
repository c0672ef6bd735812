// Calibration of an engine's activation sparsity, layer by layer: every layer gets what exact layers before it give, so
// that one layer's trials know nothing of another's choice.
//
// A trial runs as little of the layer as the changed site leaves open: rows from the attention's output on need no
// others, so only those that the error is taken of run there.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>

#include "forward/engine.h"

namespace lutra::forward {

using base::Result;
using base::Status;
using model::BoundStep;
using model::Op;

namespace {

constexpr int32_t kEverything = std::numeric_limits<int32_t>::max();
// Masked in name: rounds to all channels, whose scores are then seen.
constexpr float kAlmostAll = 0.99999994f;
constexpr uint32_t kLeastWindow = 32;
constexpr uint32_t kMostTrainingTokens = 1u << 20;

}  // namespace

class CalibrationRun {
 public:
  CalibrationRun(Engine& engine, std::span<const int32_t> pages, std::span<const int32_t> tokens,
                 const CalibrationOptions& options)
      : engine_(engine), pages_(pages), tokens_(tokens), options_(options), hyper_(engine.model_->hyper) {}

  Result<std::vector<LayerCalibration>> run();

 private:
  // One text on its way through the layers, and the rows that errors are taken of, from tail_ on, within this layer
  // with the shares that were settled.
  struct Window {
    std::vector<float> x;         ///< [window][dim] before the layer
    std::vector<float> y;         ///< [window][dim] after it, exact
    std::vector<float> attended;  ///< [window − tail][q_dim] before the attention's output
    std::vector<float> middle;    ///< [window − tail][dim] after it
  };

  Status prepare();
  Status begin(uint32_t w, uint32_t first, int32_t exact_until);
  Result<LayerCalibration> calibrate_layer(uint32_t layer);
  Status allocate(uint32_t layer, Allocation& allocation);
  Result<double> error_of(uint32_t layer, Site changed, const SiteKeeps& keeps);
  Status run_from(uint32_t layer, uint32_t w, Site changed, bool settles);
  Status attend(uint32_t layer, uint32_t w, int32_t exact_until);
  void run_steps(uint32_t layer, size_t begin, size_t end);
  double distance(const Window& window) const;
  bool aborted() const { return options_.abort != nullptr && __atomic_load_n(options_.abort, __ATOMIC_RELAXED) != 0; }

  Engine& engine_;
  std::span<const int32_t> pages_, tokens_;
  const CalibrationOptions& options_;
  const model::HyperParameters& hyper_;
  std::vector<Window> windows_;
  std::vector<int32_t> positions_, zeros_, no_targets_;
  std::vector<uint8_t> wants_;
  int32_t exact_until_ = 0, no_flag_ = -1, no_biases_ = 0;
  uint32_t tail_ = 0;  ///< first row of the last quarter
  size_t output_ = 0;  ///< the layer's step that ends its attention
  Step step_;
};

Status CalibrationRun::prepare() {
  const uint32_t window = options_.window;
  if (engine_.sparsity_ == nullptr || !engine_.sparsity_->ranks_by_score() || engine_.looks_up()) {
    return {"INVALID_OPTION", "engine: expected one with sparsity by scores, selection \"topk\" and exact attention"};
  }
  if (window < kLeastWindow || window > engine_.options_.max_rows) {
    return {"INVALID_OPTION", "window: expected " + std::to_string(kLeastWindow) + " to " +
                                  std::to_string(engine_.options_.max_rows) + " tokens, got " + std::to_string(window)};
  }
  if (!(options_.step >= 0.005f && options_.step <= 0.5f)) {
    return {"INVALID_OPTION", "step: expected a share in [0.005, 0.5], got " + std::to_string(options_.step)};
  }
  if (tokens_.empty() || tokens_.size() % window != 0 || tokens_.size() > kMostTrainingTokens) {
    return {"INVALID_OPTION", "tokens: expected a multiple of " + std::to_string(window) + ", at most " +
                                  std::to_string(kMostTrainingTokens) + ", got " + std::to_string(tokens_.size())};
  }
  const size_t n = tokens_.size() / window;
  const size_t needed = n * ((window + kernels::kPagePositions - 1) / kernels::kPagePositions);
  if (pages_.size() < needed) {
    return {"INVALID_OPTION",
            "pages: expected at least " + std::to_string(needed) + ", got " + std::to_string(pages_.size())};
  }
  tail_ = window - window / 4;
  zeros_.assign(window, 0);
  no_targets_.assign(window, -1);
  wants_.assign(window, kNothing);
  positions_.resize(window);
  for (uint32_t i = 0; i < window; ++i) positions_[i] = static_cast<int32_t>(i);
  windows_.resize(n);
  engine_.profile_.begin_step();
  for (uint32_t w = 0; w < n; ++w) {
    if (Status status = begin(w, 0, kEverything); !status.ok()) return status;
    uint32_t wanted = 0;
    const StepBounds bounds{engine_.options_.max_rows, hyper_.vocab_size, engine_.options_.pages};
    if (Status status = check_step(step_, bounds, wanted); !status.ok()) return status;
    engine_.embed(step_);
    windows_[w].x.assign(engine_.x_, engine_.x_ + uint64_t{window} * hyper_.dim);
    windows_[w].y.resize(windows_[w].x.size());
    windows_[w].attended.resize(uint64_t{window - tail_} * hyper_.q_dim);
    windows_[w].middle.resize(uint64_t{window - tail_} * hyper_.dim);
  }
  engine_.compute_angles(step_);  // those of all windows
  return {};
}

// Makes rows [first, window) of a text the engine's.
Status CalibrationRun::begin(uint32_t w, uint32_t first, int32_t exact_until) {
  const uint32_t window = options_.window;
  exact_until_ = exact_until;
  step_ = {};
  step_.rows = window - first;
  step_.sequences = 1;
  step_.page_stride = (window + kernels::kPagePositions - 1) / kernels::kPagePositions;
  step_.tokens = tokens_.data() + uint64_t{w} * window + first;
  step_.positions = positions_.data() + first;
  step_.row_sequences = zeros_.data();
  step_.wants = wants_.data();
  step_.targets = no_targets_.data();
  step_.page_tables = pages_.data() + uint64_t{w} * step_.page_stride;
  step_.bias_offsets = &no_biases_;
  step_.exact_until = &exact_until_;
  step_.sequence_aborts = &no_flag_;
  engine_.rows_ = step_.rows;
  engine_.positions_ = step_.positions;
  engine_.step_ = &step_;
  return engine_.sparsity_->begin(step_, engine_.team_);
}

void CalibrationRun::run_steps(uint32_t layer, size_t begin, size_t end) {
  for (size_t i = begin; i < end; ++i) engine_.run_step(layer, i);
}

// All rows of a text, up to what attention gives.
Status CalibrationRun::attend(uint32_t layer, uint32_t w, int32_t exact_until) {
  if (Status status = begin(w, 0, exact_until); !status.ok()) return status;
  engine_.find_spans(step_);
  std::copy(windows_[w].x.begin(), windows_[w].x.end(), engine_.x_);
  run_steps(layer, 0, output_);
  return {};
}

// Leaves rows [tail_, window) after the layer in x_. A run that settles keeps what later trials start from.
Status CalibrationRun::run_from(uint32_t layer, uint32_t w, Site changed, bool settles) {
  Window& window = windows_[w];
  const uint32_t rows = options_.window - tail_, dim = hyper_.dim;
  const size_t end = engine_.model_->layers[layer].steps.size();
  std::vector<float> fresh;
  if (changed == Site::kAttentionIn) {
    if (Status status = attend(layer, w, 0); !status.ok()) return status;
    const float* from = engine_.h_.floats(tail_);
    fresh.assign(from, from + uint64_t{rows} * hyper_.q_dim);
    if (settles) window.attended = fresh;
  }
  if (Status status = begin(w, tail_, 0); !status.ok()) return status;
  if (changed == Site::kAttentionIn || changed == Site::kAttentionOut) {
    const std::vector<float>& attended = fresh.empty() ? window.attended : fresh;
    engine_.h_.begin(rows, hyper_.q_dim);
    std::copy(attended.begin(), attended.end(), engine_.h_.row(0));
    std::copy(window.x.begin() + uint64_t{tail_} * dim, window.x.end(), engine_.x_);
    run_steps(layer, output_, output_ + 1);
    if (settles) window.middle.assign(engine_.x_, engine_.x_ + uint64_t{rows} * dim);
  } else {
    std::copy(window.middle.begin(), window.middle.end(), engine_.x_);
  }
  run_steps(layer, output_ + 1, end);
  return {};
}

// Mean over rows of the last quarter: ‖y − ŷ‖.
double CalibrationRun::distance(const Window& window) const {
  const uint32_t dim = hyper_.dim;
  double sum = 0;
  for (uint32_t row = tail_; row < options_.window; ++row) {
    const float* exact = window.y.data() + uint64_t{row} * dim;
    const float* found = engine_.x_ + uint64_t{row - tail_} * dim;
    double squares = 0;
    for (uint32_t i = 0; i < dim; ++i) {
      const double difference = static_cast<double>(exact[i]) - static_cast<double>(found[i]);
      squares += difference * difference;
    }
    sum += std::sqrt(squares);
  }
  return sum / (options_.window - tail_);
}

Result<double> CalibrationRun::error_of(uint32_t layer, Site changed, const SiteKeeps& keeps) {
  if (aborted()) return Status("ABORTED", "the calibration was aborted");
  engine_.sparsity_->set_keeps(layer, keeps);
  double sum = 0;
  for (uint32_t w = 0; w < windows_.size(); ++w) {
    if (Status status = run_from(layer, w, changed, false); !status.ok()) return status;
    sum += distance(windows_[w]);
  }
  return sum / static_cast<double>(windows_.size());
}

Status CalibrationRun::allocate(uint32_t layer, Allocation& allocation) {
  while (!allocation.done()) {
    double least = std::numeric_limits<double>::infinity();
    std::optional<Site> best;
    for (uint32_t i = 0; i < kSites; ++i) {
      const auto site = static_cast<Site>(i);
      const std::optional<SiteKeeps> keeps = allocation.after(site);
      if (!keeps.has_value()) continue;
      const auto error = error_of(layer, site, *keeps);
      if (!error.ok()) return error.status();
      const double cost = std::isfinite(error.value()) ? error.value() : std::numeric_limits<double>::infinity();
      if (best.has_value() && cost >= least) continue;
      least = cost;
      best = site;
    }
    if (!best.has_value()) return {};
    allocation.take(*best);
    if (*best != Site::kAttentionIn && *best != Site::kAttentionOut) continue;
    engine_.sparsity_->set_keeps(layer, allocation.rows().back().keeps);
    for (uint32_t w = 0; w < windows_.size(); ++w) {
      if (Status status = run_from(layer, w, *best, true); !status.ok()) return status;
    }
  }
  return {};
}

Result<LayerCalibration> CalibrationRun::calibrate_layer(uint32_t layer) {
  Sparsity& sparsity = *engine_.sparsity_;
  const std::vector<BoundStep>& steps = engine_.model_->layers[layer].steps;
  const auto is_output = [](const BoundStep& step) { return step.op == Op::kOutput; };
  output_ = static_cast<size_t>(std::find_if(steps.begin(), steps.end(), is_output) - steps.begin());
  std::array<uint64_t, kSites> weights{};
  SiteKeeps original{}, seen{};
  for (uint32_t site = 0; site < kSites; ++site) {
    original[site] = sparsity.keep(layer, static_cast<Site>(site));
    seen[site] = original[site] < 1 ? kAlmostAll : 1;
    if (original[site] < 1) weights[site] = sparsity.weights(layer, static_cast<Site>(site));
  }
  ScoreSurvey survey;
  sparsity.set_keeps(layer, seen);
  sparsity.tell_scores(&survey);
  Status status;
  for (uint32_t w = 0; w < windows_.size() && status.ok(); ++w) {
    Window& window = windows_[w];
    status = attend(layer, w, 0);
    if (!status.ok()) break;
    std::copy_n(engine_.h_.floats(tail_), window.attended.size(), window.attended.begin());
    run_steps(layer, output_, output_ + 1);
    std::copy_n(engine_.x_ + uint64_t{tail_} * hyper_.dim, window.middle.size(), window.middle.begin());
    run_steps(layer, output_ + 1, steps.size());
    std::copy_n(engine_.x_, window.y.size(), window.y.begin());
  }
  sparsity.tell_scores(nullptr);
  if (status.ok() && !survey.is_finite()) {
    status = {"E_NONFINITE", "the model's activations are not finite in layer " + std::to_string(layer)};
  }
  Allocation allocation(weights, options_.step);
  if (status.ok()) status = allocate(layer, allocation);
  sparsity.set_keeps(layer, original);
  if (!status.ok()) return status;
  LayerCalibration found;
  for (uint32_t site = 0; site < kSites; ++site) found.sites[site] = survey.result(static_cast<Site>(site));
  found.rows = allocation.rows();
  for (uint32_t w = 0; w < windows_.size(); ++w) {
    // Trials before attention left their own keys and values.
    if (weights[0] != 0) status = attend(layer, w, kEverything);
    if (!status.ok()) return status;
    windows_[w].x.swap(windows_[w].y);
  }
  return found;
}

Result<std::vector<LayerCalibration>> CalibrationRun::run() {
  if (Status status = prepare(); !status.ok()) return status;
  std::vector<LayerCalibration> found;
  for (uint32_t layer = 0; layer < hyper_.n_layers; ++layer) {
    if (aborted()) return Status("ABORTED", "the calibration was aborted");
    auto calibrated = calibrate_layer(layer);
    if (!calibrated.ok()) return calibrated.status();
    found.push_back(std::move(calibrated.value()));
  }
  return found;
}

Result<std::vector<LayerCalibration>> Engine::calibrate_sparsity(std::span<const int32_t> pages,
                                                                 std::span<const int32_t> tokens,
                                                                 const CalibrationOptions& options) {
  kept_logits_ = 0;
  auto found = CalibrationRun(*this, pages, tokens, options).run();
  step_ = nullptr;
  positions_ = nullptr;
  rows_ = 0;
  reset_profile();
  if (sparsity_ != nullptr) sparsity_->reset_totals();
  return found;
}

}  // namespace lutra::forward
