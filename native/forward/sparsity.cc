#include "forward/sparsity.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <string>

#include "base/checked_size.h"
#include "ffn/scores.h"
#include "forward/sparsity_calibration.h"
#include "quant/split_matrix.h"

namespace lutra::forward {

using base::CheckedSize;
using base::Result;
using base::Status;
using model::BoundStep;
using model::Op;

namespace {

// The first tokens are where attention sinks and massive activations stand (Xiao et al. 2023; TEAL, 5.4.3).
constexpr int32_t kDensePositions = 4;
// Above this share of the channels a list is no faster than reading all of them.
constexpr double kMostListed = 0.85;
constexpr uint32_t kMostChannels = 1u << 17;  // of kernels/channel_kernels.h
constexpr uint32_t kRowsPerChunk = 4;
constexpr uint64_t kAlignment = 64;

// The matrices that share the input of a site, in a layer's steps.
struct Sharers {
  const quant::Matrix* matrices[kMostSharers] = {};
  uint32_t n = 0;
};

Sharers sharers(const BoundStep& step, Site site) {
  switch (step.op) {
    case Op::kQkv:
      if (site == Site::kAttentionIn) return {{&step.a, &step.b, &step.c}, 3};
      return {};
    case Op::kOutput:
      if (site == Site::kAttentionOut) return {{&step.a}, 1};
      return {};
    case Op::kSwiglu:
    case Op::kGeglu:
      if (site == Site::kFfnIn) return {{&step.a, &step.b}, 2};
      if (site == Site::kFfnMid) return {{&step.c}, 1};
      return {};
    default: return {};
  }
}

Sharers sharers(const model::Layer& layer, Site site) {
  for (const BoundStep& step : layer.steps) {
    if (const Sharers found = sharers(step, site); found.n != 0) return found;
  }
  return {};
}

uint32_t width(const model::HyperParameters& hyper, Site site) {
  switch (site) {
    case Site::kAttentionOut: return hyper.q_dim;
    case Site::kFfnMid: return hyper.hidden_dim;
    default: return hyper.dim;
  }
}

}  // namespace

Result<std::unique_ptr<Sparsity>> Sparsity::create(const SparsityOptions& options, const model::Model& model,
                                                   uint32_t max_rows, base::ThreadTeam& team) {
  std::unique_ptr<Sparsity> made(new Sparsity(options, model));
  if (Status status = made->check(); !status.ok()) return status;
  made->count_costs();
  made->tallies_.resize(max_rows);
  made->rows_.reserve(max_rows);
  if (!made->allocate(max_rows, team.size()))
    return Status("E_OUT_OF_MEMORY", "could not allocate masks of activations");
  if (options.norms != Norms::kNone) made->find_norms(team);
  if (options.hidden == HiddenScore::kCore) {
    std::vector<float> keep(model.hyper.n_layers);
    for (uint32_t layer = 0; layer < model.hyper.n_layers; ++layer) keep[layer] = made->keep(layer, Site::kFfnMid);
    auto core = CoreSparsity::create({options.core_token_share, keep, options.core_guard}, model);
    if (!core.ok()) return core.status();
    made->core_ = std::move(core.value());
  }
  return made;
}

Status Sparsity::check() const {
  const model::HyperParameters& hyper = model_.hyper;
  const size_t sites = static_cast<size_t>(hyper.n_layers) * kSites;
  const bool needs_thresholds = options_.selection != ffn::Selection::kTopK;
  if (options_.keeps.size() != sites || options_.thresholds.size() != (needs_thresholds ? sites : 0)) {
    return {"INVALID_OPTION", "sparsity: expected keeps" + std::string(needs_thresholds ? " and thresholds" : "") +
                                  " of " + std::to_string(sites) + " sites, got " +
                                  std::to_string(options_.keeps.size()) + " and " +
                                  std::to_string(options_.thresholds.size())};
  }
  for (size_t i = 0; i < sites; ++i) {
    const bool is_share = options_.keeps[i] > 0 && options_.keeps[i] <= 1;
    if (!is_share || (needs_thresholds && !(options_.thresholds[i] >= 0))) {
      return {"INVALID_OPTION", "sparsity: expected keeps in (0, 1] and thresholds of 0 or more, at site " +
                                    std::to_string(i) + " there are others"};
    }
    const auto site = static_cast<Site>(i % kSites);
    if (options_.keeps[i] < 1 && options_.hidden == HiddenScore::kCore && site != Site::kFfnMid) {
      return {"INVALID_OPTION", "sparsity: with hidden \"core\", expected keeps of 1 but before down, at site " +
                                    std::to_string(i) + " there is another"};
    }
    const uint32_t k = width(hyper, site);
    if (options_.keeps[i] < 1 && (k % 32 != 0 || k > kMostChannels)) {
      return {"INVALID_OPTION", "sparsity: expected inputs whose width is a multiple of 32, at most " +
                                    std::to_string(kMostChannels) + ", this model has " + std::to_string(k)};
    }
  }
  return {};
}

bool Sparsity::allocate(uint32_t max_rows, int n_threads) {
  const model::HyperParameters& hyper = model_.hyper;
  max_k_ = std::max({hyper.dim, hyper.q_dim, hyper.hidden_dim}) / 32 * 32;
  const uint64_t gates = options_.hidden == HiddenScore::kGate ? hyper.hidden_dim : 0;
  CheckedSize at = 0;
  const auto take = [&](CheckedSize bytes) {
    const CheckedSize begin = at;
    at = (at + bytes).padded_to(kAlignment);
    return begin.value();
  };
  const CheckedSize words = CheckedSize(max_rows) * (max_k_ / 32) * sizeof(uint32_t);
  const uint64_t masks = take(words), sums = take(words);
  const uint64_t scores = take(CheckedSize(max_k_) * 2 * sizeof(uint32_t) * static_cast<uint64_t>(n_threads));
  const uint64_t gate_floats = take(CheckedSize(max_rows) * gates * sizeof(float));
  const uint64_t list = take(quant::ChannelList::bytes_needed(max_k_));
  if (!at.valid()) return false;
  arena_ = base::AlignedBuffer(at.value());
  if (arena_.data() == nullptr) return false;
  masks_ = reinterpret_cast<uint32_t*>(arena_.data() + masks);
  sums_ = reinterpret_cast<int32_t*>(arena_.data() + sums);
  scores_ = reinterpret_cast<uint32_t*>(arena_.data() + scores);
  gates_ = reinterpret_cast<float*>(arena_.data() + gate_floats);
  channels_ = quant::ChannelList(arena_.data() + list, max_k_);
  return true;
}

void Sparsity::count_costs() {
  costs_.resize(static_cast<size_t>(model_.hyper.n_layers) * kSites * (1 + kMostSharers));
  SiteCost* costs = costs_.data();
  for (uint32_t layer = 0; layer < model_.hyper.n_layers; ++layer) {
    for (uint32_t site = 0; site < kSites; ++site, costs += 1 + kMostSharers) {
      const Sharers shared = sharers(model_.layers[layer], static_cast<Site>(site));
      costs[0].has_columns = shared.n != 0;
      for (uint32_t i = 0; i < shared.n; ++i) {
        const SiteCost& one = costs[1 + i] = SiteCost::of(*shared.matrices[i]);
        costs[0].k = one.k;
        costs[0].weights += one.weights;
        costs[0].dense_bytes += one.dense_bytes;
        costs[0].channel_bytes += one.channel_bytes;
        costs[0].fixed_bytes += one.fixed_bytes;
        costs[0].has_columns = costs[0].has_columns && one.has_columns;
        costs[0].takes_floats = costs[0].takes_floats || one.takes_floats;
      }
      if (keep(layer, static_cast<Site>(site)) < 1) continue;
      unmasked_bytes_ += static_cast<double>(costs[0].dense_bytes);
      if (is_masked_anywhere(static_cast<Site>(site))) kept_weights_ += static_cast<double>(costs[0].weights);
    }
  }
}

bool Sparsity::is_masked_anywhere(Site site) const {
  for (uint32_t layer = 0; layer < model_.hyper.n_layers; ++layer) {
    if (keep(layer, site) < 1) return true;
  }
  return false;
}

Sparsity::SiteCost Sparsity::SiteCost::of(const quant::Matrix& matrix) {
  const bool columns = matrix.columns.rows != 0;
  const uint64_t dense = matrix.bytes() + matrix.low_bytes();
  return {.weights = uint64_t{matrix.rows} * matrix.k,
          .channel_bytes = columns ? matrix.columns.channel_bytes() : 0,
          .fixed_bytes = columns ? matrix.columns.scale_bytes() : dense,
          .dense_bytes = dense,
          .k = matrix.k,
          .has_columns = columns,
          .takes_floats = matrix.takes_floats()};
}

const Sparsity::SiteCost& Sparsity::cost(uint32_t layer, Site site, uint32_t part) const {
  return costs_[(layer * kSites + static_cast<size_t>(site)) * (1 + kMostSharers) + part];
}

// Of norms, where a site has more than one set.
uint32_t Sparsity::n_parts(Site site) const {
  if (options_.norms != Norms::kOwn) return 1;
  return site == Site::kAttentionIn ? 3 : site == Site::kFfnIn ? 2 : 1;
}

const float* Sparsity::norms(uint32_t layer, Site site, uint32_t part) const {
  const model::HyperParameters& hyper = model_.hyper;
  const bool published = options_.norms == Norms::kPublished;
  if (options_.norms == Norms::kNone || (published && (site == Site::kAttentionOut || site == Site::kFfnMid))) {
    return nullptr;
  }
  const float* at = norms_.data() + layer * norms_stride_;
  for (uint32_t before = 0; before < static_cast<uint32_t>(site); ++before) {
    at += n_parts(static_cast<Site>(before)) * width(hyper, static_cast<Site>(before));
  }
  return at + (part == 0 ? 0 : part - 1) * width(hyper, site);
}

void Sparsity::find_norms(base::ThreadTeam& team) {
  const model::HyperParameters& hyper = model_.hyper;
  for (uint32_t site = 0; site < kSites; ++site) {
    norms_stride_ += n_parts(static_cast<Site>(site)) * width(hyper, static_cast<Site>(site));
  }
  norms_.assign(norms_stride_ * hyper.n_layers, 0.0f);
  std::vector<double> all_squares(static_cast<size_t>(team.size()) * max_k_);
  std::vector<float> rows(static_cast<size_t>(team.size()) * max_k_);
  team.parallel_for(hyper.n_layers * kSites, [&](uint32_t chunk, int member) {
    const uint32_t layer = chunk / kSites;
    const auto site = static_cast<Site>(chunk % kSites);
    if (keep(layer, site) >= 1) return;
    const Sharers shared = sharers(model_.layers[layer], site);
    const uint32_t k = width(hyper, site);
    double* const squares = all_squares.data() + static_cast<size_t>(member) * max_k_;
    float* const row = rows.data() + static_cast<size_t>(member) * max_k_;
    const auto add_squares = [&](const quant::Matrix& matrix) {
      for (uint32_t r = 0; r < matrix.rows; ++r) {
        quant::dequantize_matrix_row(matrix, r, row);
        for (uint32_t j = 0; j < k; ++j) squares[j] += static_cast<double>(row[j]) * row[j];
      }
    };
    for (uint32_t part = 1; part <= n_parts(site); ++part) {
      float* const out = const_cast<float*>(norms(layer, site, part));
      if (out == nullptr) return;
      std::fill_n(squares, k, 0.0);
      if (options_.norms == Norms::kOwn) {
        add_squares(*shared.matrices[part - 1]);
      } else if (options_.norms == Norms::kPublished) {
        add_squares(*shared.matrices[site == Site::kAttentionIn ? 1 : 0]);  // k, gate
      } else {
        for (uint32_t i = 0; i < shared.n; ++i) add_squares(*shared.matrices[i]);
      }
      for (uint32_t j = 0; j < k; ++j) out[j] = static_cast<float>(std::sqrt(squares[j]));
    }
  });
}

Status Sparsity::begin(const Step& step, base::ThreadTeam& team) {
  step_ = &step;
  rows_.clear();
  refused_.clear();
  if (core_ != nullptr) {
    if (Status status = core_->begin(step, team); !status.ok()) return status;
  }
  for (uint32_t row = 0; row < step.rows; ++row) {
    const int32_t position = step.positions[row];
    if (position < kDensePositions || position < step.exact_until[step.row_sequences[row]]) continue;
    if (step.wants[row] == kHidden) continue;
    if (core_ != nullptr && step.core_slots[step.row_sequences[row]] < 0) continue;  // there is no prompt to learn from
    const bool is_refused = core_ != nullptr && !core_->is_sparse(step, row);
    (is_refused ? refused_ : rows_).push_back(row);
    tallies_[row] = {};
  }
  return {};
}

void Sparsity::score(const kernels::ChannelKernels& kernels, const SiteInput& input, uint32_t t,
                     uint32_t* scores) const {
  const float* x = input.x->floats(t);
  const uint32_t k = input.x->k();
  if (input.site == Site::kFfnMid) {
    if (options_.hidden == HiddenScore::kGate) x = gates_ + uint64_t{t} * k;
    if (options_.hidden == HiddenScore::kRandom) {
      const uint64_t seed = static_cast<uint64_t>(step_->positions[t]) << 32 | input.layer;
      return ffn::score_random(seed, k, scores);
    }
  }
  kernels.score(x, norms(input.layer, input.site, input.part), k, scores);
}

void Sparsity::set_keeps(uint32_t layer, const SiteKeeps& keeps) {
  std::copy(keeps.begin(), keeps.end(), options_.keeps.begin() + layer * kSites);
}

// Row t's mask is its request's core; zeroes what is not of it, unless it is zero already.
void Sparsity::leave_core(const SiteInput& input, uint32_t t, bool zeroes) {
  const uint32_t words = input.x->k() / 32;
  uint32_t* const mask = masks_ + uint64_t{t} * words;
  const std::span<const uint32_t> core = core_->mask(*step_, t, input.layer);
  std::copy(core.begin(), core.end(), mask);
  if (!zeroes) return;
  float* const x = input.x->row(t);
  for (uint32_t i = 0; i < input.x->k(); ++i) {
    if ((mask[i / 32] >> i % 32 & 1) == 0) x[i] = 0;
  }
}

void Sparsity::choose_row(const kernels::KernelTable& kernels, const SiteInput& input, uint32_t t, uint32_t* scores) {
  const uint32_t k = input.x->k();
  const size_t at = input.layer * kSites + static_cast<size_t>(input.site);
  uint32_t* const mask = masks_ + uint64_t{t} * (k / 32);
  uint32_t kept = 0;
  if (core_ != nullptr) {
    for (uint32_t w = 0; w < k / 32; ++w) kept += static_cast<uint32_t>(std::popcount(mask[w]));
  } else {
    score(kernels.channels, input, t, scores);
    const float threshold = options_.thresholds.empty() ? 0.0f : options_.thresholds[at];
    kept = ffn::select_channels(kernels.channels, {scores, k}, {options_.selection, options_.keeps[at], threshold},
                                mask, scores + max_k_);
  }
  const SiteCost& cost = this->cost(input.layer, input.site, input.part);
  input.x->keep(kernels, t, {mask, sums_ + uint64_t{t} * (k / 32), cost.takes_floats});
  RowTally& tally = tallies_[t];
  tally.kept += static_cast<double>(kept) / k * static_cast<double>(cost.weights);
  tally.weights += static_cast<double>(cost.weights);
  tally.bytes += static_cast<double>(kept * cost.channel_bytes + cost.fixed_bytes);
  if (core_ == nullptr) return;
  // Rows of gate and up that are nobody's core are not read either.
  const SiteCost& rows = this->cost(input.layer, Site::kFfnIn, 0);
  const double share = static_cast<double>(kept) / k;
  tally.kept += share * static_cast<double>(rows.weights);
  tally.weights += static_cast<double>(rows.weights);
  tally.bytes -= (1 - share) * static_cast<double>(rows.dense_bytes);
}

quant::ChannelList* Sparsity::choose(base::ThreadTeam& team, const kernels::KernelTable& kernels,
                                     const SiteInput& input) {
  if (core_ != nullptr) {
    const bool are_zeros = gathered(input.layer) != nullptr;  // never computed
    for (const uint32_t row : rows_) leave_core(input, row, !are_zeros);
  }
  input.x->quantize_all(team, kernels);
  if (survey_ != nullptr) {
    for (const uint32_t row : rows_) {
      score(kernels.channels, input, row, scores_);
      survey_->add(kernels.channels, input.site, {scores_, input.x->k()}, scores_ + max_k_);
    }
  }
  const auto started = std::chrono::steady_clock::now();
  const auto n = static_cast<uint32_t>(rows_.size());
  if (n == 1) {
    choose_row(kernels, input, rows_.front(), scores_);
  } else {
    team.parallel_for((n + kRowsPerChunk - 1) / kRowsPerChunk, [&](uint32_t chunk, int member) {
      const uint32_t end = std::min(n, (chunk + 1) * kRowsPerChunk);
      for (uint32_t i = chunk * kRowsPerChunk; i < end; ++i) {
        choose_row(kernels, input, rows_[i], scores_ + static_cast<uint64_t>(member) * 2 * max_k_);
      }
    });
  }
  quant::ChannelList* const found = list(kernels, input);
  totals_.select_ns += static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - started).count());
  return found;
}

quant::ChannelList* Sparsity::list(const kernels::KernelTable& kernels, const SiteInput& input) {
  const SiteCost& cost = this->cost(input.layer, input.site, input.part);
  const bool all_sparse = rows_.size() == step_->rows && step_->rows <= kernels::kColumnTokens;
  uint64_t read = cost.dense_bytes;
  quant::ChannelList* found = nullptr;
  if (all_sparse && cost.has_columns) {
    const uint32_t listed = channels_.build(kernels, *input.x, masks_, sums_);
    if (listed <= kMostListed * cost.k) {
      found = &channels_;
      read = listed * cost.channel_bytes + cost.fixed_bytes;
    }
  }
  totals_.column_bytes += read;
  totals_.dense_bytes += cost.dense_bytes;
  return found;
}

// Layers that an allocation spares count where others leave channels out.
float Sparsity::share_kept(const RowTally& tally) const {
  const double weights = tally.weights + kept_weights_;
  return static_cast<float>(weights == 0 ? 1 : (tally.kept + kept_weights_) / weights);
}

void Sparsity::report(const Step& step) {
  std::fill_n(step.sparse_kept, step.rows, 0.0f);
  std::fill_n(step.sparse_bytes, step.rows, 0.0f);
  std::fill_n(step.sparse_state, step.rows, 0);
  for (const uint32_t row : rows_) {
    const RowTally& tally = tallies_[row];
    step.sparse_kept[row] = share_kept(tally);
    step.sparse_bytes[row] = static_cast<float>(tally.bytes + unmasked_bytes_);
    step.sparse_state[row] = 1;
  }
  for (const uint32_t row : refused_) step.sparse_state[row] = 2;
  if (rows_.empty()) return;
  ++totals_.steps;
  totals_.rows += rows_.size();
}

}  // namespace lutra::forward
