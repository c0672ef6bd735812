// Activation sparsity of one engine: which rows of a step leave channels out, which channels, and what that saved.
//
// A site is an input that several products may share. A row's choice depends on its own activations (or its request's
// prompt) alone: the channels it leaves out are zeroed in its activations, so a product may read more than it needs
// (its neighbours' channels, or all) without changing a bit.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/status.h"
#include "base/thread_team.h"
#include "forward/core_sparsity.h"
#include "forward/sparsity_options.h"
#include "forward/step.h"
#include "model/model.h"
#include "quant/channel_list.h"

namespace lutra::forward {

class ScoreSurvey;

/// Of steps since the last reset that had sparse rows.
struct SparsityTotals {
  uint64_t steps = 0;
  uint64_t rows = 0;
  uint64_t select_ns = 0;
  uint64_t column_bytes = 0;  ///< that products with lists of channels read
  uint64_t dense_bytes = 0;   ///< that the same products read without
};

/// What the choice at a site looks at.
struct SiteInput {
  uint32_t layer;
  Site site;
  quant::Activations* x;  ///< floats and codes of all rows; the channels left out become zeros
  uint32_t part = 0;      ///< 0: of all products behind the site; i: of the i-th alone
};

class Sparsity {
 public:
  /// INVALID_OPTION for arrays of another model, or a width that is no multiple of 32; E_OUT_OF_MEMORY.
  static base::Result<std::unique_ptr<Sparsity>> create(const SparsityOptions& options, const model::Model& model,
                                                        uint32_t max_rows, base::ThreadTeam& team);

  /// Finds the step's sparse rows: decoded ones from position kDensePositions on. INVALID_OPTION for a wrong slot.
  base::Status begin(const Step& step, base::ThreadTeam& team);
  /// Whether any row of the step leaves out channels here.
  bool masks(uint32_t layer, Site site) const { return !rows_.empty() && keep(layer, site) < 1; }
  /// Whether floats of hidden are looked at in a layer.
  bool reads_hidden(uint32_t layer) const {
    return masks(layer, Site::kFfnMid) || (core_ != nullptr && core_->observes());
  }
  /// Core neurons are left alone before hidden is quantised: its scales are those of what is left.
  bool masks_floats() const { return core_ != nullptr; }
  /// Whether each product behind a shared input chooses for itself.
  bool parts() const { return options_.norms == Norms::kOwn; }
  void observe(base::ThreadTeam& team, uint32_t layer, quant::Activations& hidden) {
    if (core_ != nullptr && core_->observes()) core_->observe(team, *step_, layer, hidden);
  }
  /// Gate and up of the core neurons that all rows of the step share, or null; and those neurons.
  const quant::GatheredPair* gathered(uint32_t layer) const {
    const bool all = core_ != nullptr && rows_.size() == step_->rows && masks(layer, Site::kFfnMid);
    return all ? core_->gathered(*step_, layer) : nullptr;
  }
  std::span<const uint32_t> neurons(uint32_t layer) const { return core_->neurons(*step_, layer); }
  /// Where the activated gates of a layer are wanted: [rows][hidden_dim], or null.
  float* gates(uint32_t layer) const {
    return options_.hidden == HiddenScore::kGate && masks(layer, Site::kFfnMid) ? gates_ : nullptr;
  }
  /// Chooses and zeroes, at a site that masks(). Returns the channels to read where every row of the step is sparse
  /// and few enough are left, else null: all are to be read.
  quant::ChannelList* choose(base::ThreadTeam& team, const kernels::KernelTable& kernels, const SiteInput& input);
  /// Writes what the step's rows kept.
  void report(const Step& step);

  // For calibration, between steps.
  /// Whether rows rank channels by scores of their own and keep a share of them.
  bool ranks_by_score() const { return core_ == nullptr && options_.selection == ffn::Selection::kTopK; }
  float keep(uint32_t layer, Site site) const { return options_.keeps[layer * kSites + static_cast<uint32_t>(site)]; }
  /// A layer's shares from now on. Sites that keep everything since create() go on doing so.
  void set_keeps(uint32_t layer, const SiteKeeps& keeps);
  /// Weights that read a site's channels.
  uint64_t weights(uint32_t layer, Site site) const { return cost(layer, site, 0).weights; }
  /// Tells `survey` (not null) or nobody (null) all scores from now on.
  void tell_scores(ScoreSurvey* survey) { survey_ = survey; }

  const SparsityTotals& totals() const { return totals_; }
  void reset_totals() { totals_ = {}; }
  uint64_t size_bytes() const { return arena_.size_bytes() + (core_ ? core_->size_bytes() : 0); }

 private:
  /// Bytes of the products behind a site.
  struct SiteCost {
    uint64_t weights = 0;        ///< rows · k of them all, a channel's part of it is weights / k
    uint64_t channel_bytes = 0;  ///< of a channel in all of them that have columns
    uint64_t fixed_bytes = 0;    ///< read whatever the channels
    uint64_t dense_bytes = 0;    ///< without a list
    uint32_t k = 0;
    bool has_columns = false;   ///< every matrix has
    bool takes_floats = false;  ///< any matrix does

    static SiteCost of(const quant::Matrix& matrix);
  };
  struct RowTally {
    double kept = 0, weights = 0, bytes = 0;
  };

  Sparsity(const SparsityOptions& options, const model::Model& model) : options_(options), model_(model) {}
  base::Status check() const;
  bool allocate(uint32_t max_rows, int n_threads);
  void count_costs();
  bool is_masked_anywhere(Site site) const;
  void find_norms(base::ThreadTeam& team);
  float share_kept(const RowTally& tally) const;
  uint32_t n_parts(Site site) const;
  const SiteCost& cost(uint32_t layer, Site site, uint32_t part) const;
  const float* norms(uint32_t layer, Site site, uint32_t part) const;
  void score(const kernels::ChannelKernels& kernels, const SiteInput& input, uint32_t t, uint32_t* scores) const;
  void leave_core(const SiteInput& input, uint32_t t, bool zeroes);
  void choose_row(const kernels::KernelTable& kernels, const SiteInput& input, uint32_t t, uint32_t* scores);
  quant::ChannelList* list(const kernels::KernelTable& kernels, const SiteInput& input);

  SparsityOptions options_;
  const model::Model& model_;
  std::unique_ptr<CoreSparsity> core_;  ///< with kCore
  std::vector<SiteCost> costs_;         ///< [n_layers][kSites][1 + kMostSharers]: all, then one by one
  double kept_weights_ = 0;             ///< of layers that keep all channels of a site where others do not
  double unmasked_bytes_ = 0;           ///< of layer weights that no site of ours stands before
  std::vector<float> norms_;            ///< [n_layers][for each site its parts' widths]
  uint64_t norms_stride_ = 0;           ///< of a layer
  base::AlignedBuffer arena_;
  uint32_t* masks_ = nullptr;   ///< [rows][k/32]
  int32_t* sums_ = nullptr;     ///< [rows][k/32]
  uint32_t* scores_ = nullptr;  ///< [threads][2][k]
  float* gates_ = nullptr;      ///< [rows][hidden_dim]
  quant::ChannelList channels_;
  std::vector<uint32_t> rows_;     ///< sparse ones, ascending
  std::vector<uint32_t> refused_;  ///< rows that the guard keeps dense
  std::vector<RowTally> tallies_;  ///< [rows]
  const Step* step_ = nullptr;
  ScoreSurvey* survey_ = nullptr;
  uint32_t max_k_ = 0;
  SparsityTotals totals_;
};

}  // namespace lutra::forward
