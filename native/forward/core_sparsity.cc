#include "forward/core_sparsity.h"

#include <algorithm>
#include <string>

namespace lutra::forward {

using base::Status;

namespace {

// The step of a layer that has gate and up; null where rows of theirs cannot be gathered.
const model::BoundStep* gated_step(const model::Layer& layer) {
  for (const model::BoundStep& step : layer.steps) {
    if (step.op != model::Op::kSwiglu && step.op != model::Op::kGeglu) continue;
    return quant::can_gather(step.a) && quant::can_gather(step.b) ? &step : nullptr;
  }
  return nullptr;
}

}  // namespace

base::Result<std::unique_ptr<CoreSparsity>> CoreSparsity::create(const ffn::CoreOptions& options,
                                                                 const model::Model& model) {
  std::unique_ptr<CoreSparsity> made(new CoreSparsity(model));
  auto neurons = ffn::CoreNeurons::create(options, model.hyper.n_layers, model.hyper.hidden_dim, kCoreSlots);
  if (!neurons.ok()) return neurons.status();
  made->neurons_ = std::move(neurons.value());
  made->gathered_.resize(kCoreSlots);
  return made;
}

Status CoreSparsity::begin(const Step& step, base::ThreadTeam& team) {
  observed_.clear();
  for (uint32_t row = 0; row < step.rows; ++row) {
    const int32_t sequence = step.row_sequences[row], slot = step.core_slots[sequence];
    if (slot < -1 || slot >= static_cast<int32_t>(kCoreSlots)) {
      return {"INVALID_OPTION", "coreSlots[" + std::to_string(sequence) + "]: expected -1 or a slot below " +
                                    std::to_string(kCoreSlots) + ", got " + std::to_string(slot)};
    }
    if (slot < 0) continue;
    const auto at = static_cast<uint32_t>(slot);
    if (step.positions[row] == 0) {
      if (Status status = neurons_->restart(at); !status.ok()) return status;
      gathered_[at] = {};
    }
    if (step.positions[row] < step.exact_until[sequence]) {
      if (observed_.empty() || observed_.back().end != row || observed_.back().slot != at) {
        observed_.push_back({at, row, row});
      }
      observed_.back().end = row + 1;
    } else if (!neurons_->is_settled(at) && !neurons_->settle(at)) {
      gather(at, team);
    }
  }
  return {};
}

bool CoreSparsity::is_sparse(const Step& step, uint32_t row) const {
  if (step.core_slots[step.row_sequences[row]] < 0) return false;
  const uint32_t slot = slot_of(step, row);
  return neurons_->is_settled(slot) && !neurons_->refused(slot);
}

void CoreSparsity::observe(base::ThreadTeam& team, const Step& step, uint32_t layer, quant::Activations& hidden) {
  team.parallel_for(static_cast<uint32_t>(observed_.size()), [&](uint32_t i, int) {
    const Span& span = observed_[i];
    for (uint32_t row = span.begin; row < span.end; ++row) {
      neurons_->observe(span.slot, layer, static_cast<uint32_t>(step.positions[row]), hidden.row(row));
    }
  });
}

// Without the memory for it, or for weights that cannot be gathered, steps read gate and up whole.
void CoreSparsity::gather(uint32_t slot, base::ThreadTeam& team) {
  const auto n_layers = static_cast<uint32_t>(model_.layers.size());
  std::vector<uint64_t> ends(n_layers);
  uint64_t bytes = 0;
  for (uint32_t layer = 0; layer < n_layers; ++layer) {
    const model::BoundStep* step = gated_step(model_.layers[layer]);
    if (step == nullptr) return;
    const auto n = static_cast<uint32_t>(neurons_->neurons(slot, layer).size());
    bytes += (quant::gathered_pair_bytes(step->a, step->b, n) + 63) / 64 * 64;
    ends[layer] = bytes;
  }
  Gathered& gathered = gathered_[slot];
  gathered.bytes = base::AlignedBuffer(bytes);
  if (gathered.bytes.data() == nullptr) return;
  gathered.layers.resize(n_layers);
  team.parallel_for(n_layers, [&](uint32_t layer, int) {
    const model::BoundStep& step = *gated_step(model_.layers[layer]);
    uint8_t* const place = gathered.bytes.data() + (layer == 0 ? 0 : ends[layer - 1]);
    gathered.layers[layer] = quant::gather_row_pair(step.a, step.b, neurons_->neurons(slot, layer), place);
  });
}

const quant::GatheredPair* CoreSparsity::gathered(const Step& step, uint32_t layer) const {
  const uint32_t slot = slot_of(step, 0);
  if (gathered_[slot].layers.empty()) return nullptr;
  for (uint32_t row = 0; row < step.rows; ++row) {
    if (!is_sparse(step, row) || slot_of(step, row) != slot) return nullptr;
  }
  return &gathered_[slot].layers[layer];
}

uint64_t CoreSparsity::size_bytes() const {
  uint64_t bytes = neurons_->size_bytes();
  for (const Gathered& gathered : gathered_) bytes += gathered.bytes.size_bytes();
  return bytes;
}

}  // namespace lutra::forward
