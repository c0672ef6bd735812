// One engine: a model, its K/V pages, scratch, and a thread team. It runs steps: rows of tokens in, candidates or final
// hidden states out.
//
// Contract: rows of one sequence are contiguous with ascending positions, and everything before a row's position is in
// the sequence's pages already (from earlier steps or earlier rows). A row's logits depend on its sequence alone: never
// on its neighbours, the chunking of the prompt, or the number of threads. One step at a time per engine.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "attention/attention.h"
#include "base/aligned_buffer.h"
#include "base/status.h"
#include "base/thread_team.h"
#include "cache/kv_cache.h"
#include "ffn/ffn.h"
#include "forward/head_screen.h"
#include "forward/lookup.h"
#include "forward/profile.h"
#include "forward/slice_tops.h"
#include "forward/sparsity.h"
#include "forward/sparsity_calibration.h"
#include "forward/step.h"
#include "model/model.h"

namespace lutra::forward {

struct EngineOptions {
  int threads = 1;
  uint32_t max_rows = 512;  ///< rows of a step
  uint32_t max_wanted = 8;  ///< rows whose full logits stay readable after a step
  uint32_t pages = 0;       ///< K/V pages of 32 positions
  cache::KvType kv_type = cache::KvType::kF16;
  base::Isa isa = base::Isa::kScalar;
  std::optional<LookupOptions> lookup;      ///< none: attention is exact
  std::optional<SparsityOptions> sparsity;  ///< none: no channel is left out
  /// Of products with weights in bit planes. Those of kInt8 are approximations, whatever the number of rows.
  kernels::LutTables tables = kernels::LutTables::kExact;
};

/// How codebooks are trained; see attention/codebook_training.h.
struct TrainingOptions {
  uint32_t d_sub = 2;
  uint32_t n_outliers = 0;
  bool spread = true;
  uint32_t context = 0;
};

class Engine {
 public:
  /// Codes: E_OUT_OF_MEMORY, INVALID_OPTION.
  static base::Result<std::shared_ptr<Engine>> create(std::shared_ptr<const model::Model> model,
                                                      const EngineOptions& options);

  /// Runs one step; `wanted` gets the number of wanted rows. Codes: INVALID_OPTION (a row, position, page or bias out
  /// of range, naming it), INVALID_TOKEN, ABORTED (rows may be run again). A row whose logits are not
  /// finite gives a log-sum-exp that is not: its caller refuses it, its neighbours in the step are not concerned.
  base::Status run(const Step& step, uint32_t& wanted);
  /// Full logits (before biases) of wanted row w of the last step, which must have had at most max_wanted of them.
  base::Status logits(uint32_t w, float* out) const;
  /// Wanted rows of the last step whose full logits are readable.
  uint32_t kept_rows() const { return kept_logits_; }
  /// Those of row w < kept_rows(), where they are until the next step.
  std::span<const float> kept_logits(uint32_t w) const {
    return {logits_ + static_cast<uint64_t>(w) * model_->hyper.vocab_size, model_->hyper.vocab_size};
  }

  const Profile& profile() const { return profile_; }
  void reset_profile() { profile_.reset(); }
  /// Whether steps read and write what only lookup attention has.
  bool looks_up() const { return lookup_ != nullptr; }
  /// The same of activation sparsity; null without.
  Sparsity* sparsity() { return sparsity_.get(); }
  const Sparsity* sparsity() const { return sparsity_.get(); }
  const model::Model& model() const { return *model_; }
  /// K/V pages, between steps; see cache::KvCache.
  cache::KvCache& cache() { return cache_; }
  base::Status copy_pages(std::span<const int32_t> pairs);
  base::Status write_pages(std::span<const int32_t> pages, std::span<const uint8_t> bytes);
  /// Codebooks (attention::Codebooks::bytes) from the keys of positions [0, positions), which `pages` hold in order.
  base::Result<std::vector<uint8_t>> train_codebooks(std::span<const int32_t> pages, uint32_t positions,
                                                     const TrainingOptions& options);
  /// What a text says of the sites that this engine masks: `tokens` are windows of options.window, each a text of its
  /// own from position 0 with pages of its own, in order, which then hold its keys and values. Codes: INVALID_OPTION,
  /// INVALID_TOKEN, E_NONFINITE, ABORTED.
  base::Result<std::vector<LayerCalibration>> calibrate_sparsity(std::span<const int32_t> pages,
                                                                 std::span<const int32_t> tokens,
                                                                 const CalibrationOptions& options);
  int threads() const { return team_.size(); }
  /// For work on a step's answers, by whoever has entered.
  base::ThreadTeam& team() { return team_; }
  uint64_t kv_bytes() const { return cache_.size_bytes() + (lookup_ ? lookup_->size_bytes() : 0); }
  uint64_t scratch_bytes() const {
    return scratch_.size_bytes() + (lookup_ ? lookup_->scratch_bytes() : 0) + (sparsity_ ? sparsity_->size_bytes() : 0);
  }
  /// True for the one caller that may run a step now; pair with leave().
  bool enter() { return !busy_.exchange(true, std::memory_order_acquire); }
  void leave() { busy_.store(false, std::memory_order_release); }

 private:
  friend class CalibrationRun;
  Engine(std::shared_ptr<const model::Model> model, const EngineOptions& options);
  bool allocate();
  void find_spans(const Step& step);
  void embed(const Step& step);
  void compute_angles(const Step& step);
  void run_step(uint32_t layer, size_t index);
  void norm(const float* weight, kernels::LutSets tables);
  void position(uint32_t layer, const model::BoundStep& step);
  void attend(uint32_t layer);
  bool masks_input(uint32_t layer, model::Op op) const;
  quant::ChannelList* choose(uint32_t layer, Site site, quant::Activations& x);
  void multiply_qkv(uint32_t layer, const model::BoundStep& step);
  void multiply_parts(uint32_t layer, Site site, std::span<const quant::Product> products);
  void gate_parts(uint32_t layer, const ffn::GatedInput& input);
  void feed_forward(uint32_t layer, const model::BoundStep& step);
  void add_product(const quant::Matrix& matrix, quant::Activations& in, const float* norm_weight,
                   quant::ChannelList* channels);
  template <typename F>
  void for_rows(uint32_t rows_per_chunk, F&& body);
  bool aborted(const Step& step) const;
  LookupContext lookup_context() { return {team_, kernels_, cache_}; }

  base::Status run_head(const Step& step, uint32_t wanted);
  bool screen_rows(const Step& step, uint32_t begin, uint32_t n);
  float sum_of_slices() const;
  void reduce_row(const Step& step, uint32_t w, uint32_t row, float* logits);

  std::shared_ptr<const model::Model> model_;
  EngineOptions options_;
  const kernels::KernelTable& kernels_;
  base::ThreadTeam team_;
  cache::KvCache cache_;
  std::unique_ptr<Lookup> lookup_;      ///< none: attention is exact
  std::unique_ptr<Sparsity> sparsity_;  ///< none: no channel is left out
  base::AlignedBuffer scratch_;
  std::atomic<bool> busy_{false};
  Profile profile_;

  // Scratch, carved out of scratch_; R = max_rows.
  float* x_ = nullptr;         ///< [R][dim] residual stream
  float* branch_ = nullptr;    ///< [R][dim] a branch that is normed before it is added
  quant::Activations h_;       ///< [R][max(dim, q_dim)]
  quant::Activations hidden_;  ///< [R][hidden_dim]
  quant::Activations part_;    ///< [R][dim] h_ without what one of its products leaves out, where each has its own
  float* gate_ = nullptr;      ///< [R][hidden_dim] with those
  float* up_ = nullptr;        ///< [R][hidden_dim] likewise
  float* q_ = nullptr;         ///< [R][q_dim]
  float* k_ = nullptr;         ///< [R][kv_dim]
  float* v_ = nullptr;         ///< [R][kv_dim]
  float* angles_ = nullptr;    ///< [R][2 ropes][cos, sin][rope_dim/2]
  float* attention_scratch_ = nullptr;
  float* logits_ = nullptr;  ///< [max_wanted][vocab_size]
  std::vector<attention::RowSpan> spans_;
  std::vector<uint32_t> row_pages_;             ///< pages a row's key and value go to: its own, then its mirrors
  std::vector<uint32_t> row_pages_end_;         ///< [rows] where a row's pages end in row_pages_
  std::vector<double> inverse_frequencies_[2];  ///< [rope_dim/2] of full and of sliding layers
  std::vector<uint32_t> wanted_rows_;
  SliceTops slice_tops_;           ///< of a row being reduced
  std::vector<float> slice_sums_;  ///< the log-sum-exp of each slice
  HeadScreen screen_;
  std::vector<float> saved_logits_;
  const Step* step_ = nullptr;          ///< the running one
  const int32_t* positions_ = nullptr;  ///< of the running step
  uint32_t rows_ = 0;                   ///< of the running step
  uint32_t kept_logits_ = 0;            ///< wanted rows whose logits logits_ still holds
};

}  // namespace lutra::forward
