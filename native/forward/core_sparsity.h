// CoreInfer in an engine (Wang et al. 2024): the slots of requests with their core neurons, and the rows of gate and up
// that belong to them, gathered once a request so that its steps read nothing else.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/status.h"
#include "base/thread_team.h"
#include "ffn/core_neurons.h"
#include "forward/step.h"
#include "model/model.h"
#include "quant/gathered_rows.h"

namespace lutra::forward {

/// Requests that may have core neurons at a time.
constexpr uint32_t kCoreSlots = 64;

class CoreSparsity {
 public:
  /// `options.keep`: [n_layers]. INVALID_OPTION, E_OUT_OF_MEMORY.
  static base::Result<std::unique_ptr<CoreSparsity>> create(const ffn::CoreOptions& options, const model::Model& model);

  /// Of a step, before its layers: a request whose prompt begins forgets its slot; one whose first sparse row is here
  /// settles. A step must not hold rows of a prompt and later ones of the same request.
  base::Status begin(const Step& step, base::ThreadTeam& team);
  /// Whether row t leaves channels out: no row of a prompt, and no request that the guard keeps dense.
  bool is_sparse(const Step& step, uint32_t row) const;
  /// Whether the step has rows to learn from.
  bool observes() const { return !observed_.empty(); }
  /// Counts the prompts' rows of hidden.
  void observe(base::ThreadTeam& team, const Step& step, uint32_t layer, quant::Activations& hidden);

  std::span<const uint32_t> mask(const Step& step, uint32_t row, uint32_t layer) const {
    return neurons_->mask(slot_of(step, row), layer);
  }
  /// The gathered rows that all rows of the step need, if they are those of one request; null: there are none.
  const quant::GatheredPair* gathered(const Step& step, uint32_t layer) const;
  std::span<const uint32_t> neurons(const Step& step, uint32_t layer) const {
    return neurons_->neurons(slot_of(step, 0), layer);
  }
  uint64_t size_bytes() const;

 private:
  struct Gathered {
    base::AlignedBuffer bytes;
    std::vector<quant::GatheredPair> layers;  ///< [n_layers], or empty
  };
  /// Rows [begin, end) of a prompt, one request's.
  struct Span {
    uint32_t slot, begin, end;
  };

  explicit CoreSparsity(const model::Model& model) : model_(model) {}
  static uint32_t slot_of(const Step& step, uint32_t row) {
    return static_cast<uint32_t>(step.core_slots[step.row_sequences[row]]);
  }
  void gather(uint32_t slot, base::ThreadTeam& team);

  const model::Model& model_;
  std::unique_ptr<ffn::CoreNeurons> neurons_;
  std::vector<Gathered> gathered_;  ///< [kCoreSlots]
  std::vector<Span> observed_;      ///< of the running step
};

}  // namespace lutra::forward
