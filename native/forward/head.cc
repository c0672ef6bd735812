// From the residual stream to candidates: final norm and head for the wanted rows, then per row the target's logit,
// biases, the k best candidates and the log-sum-exp.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "forward/engine.h"

namespace lutra::forward {

using base::Status;

namespace {

// Slices of a row that are scanned in parallel. Fixed, so that the log-sum-exp has one order of summation.
constexpr uint32_t kSlice = 16384;

}  // namespace

Status Engine::run_head(const Step& step, uint32_t wanted) {
  const model::HyperParameters& hyper = model_->hyper;
  wanted_rows_.clear();
  for (uint32_t row = 0; row < step.rows; ++row) {
    if (step.wants[row] != 0) wanted_rows_.push_back(row);
  }
  for (uint32_t begin = 0; begin < wanted; begin += options_.max_wanted) {
    if (begin > 0 && aborted(step)) return {"ABORTED", "a sequence of the step was aborted"};
    const uint32_t n = std::min(options_.max_wanted, wanted - begin);
    h_.begin(n, hyper.dim);
    for (uint32_t i = 0; i < n; ++i) {
      const float* x = x_ + static_cast<uint64_t>(wanted_rows_[begin + i]) * hyper.dim;
      kernels_.rms_norm(x, model_->output_norm, hyper.dim, hyper.rms_eps, h_.row(i));
    }
    const quant::Product products[] = {{&model_->head, logits_, hyper.vocab_size}};
    quant::multiply(team_, kernels_, h_, products);
    profile_.lap(Stage::kHead);
    for (uint32_t i = 0; i < n; ++i) {
      reduce_row(step, begin + i, wanted_rows_[begin + i], logits_ + static_cast<uint64_t>(i) * hyper.vocab_size);
    }
    profile_.lap(Stage::kReduce);
  }
  kept_logits_ = wanted <= options_.max_wanted ? wanted : 0;
  return {};
}

void Engine::reduce_row(const Step& step, uint32_t w, uint32_t row, float* logits) {
  const uint32_t vocab = model_->hyper.vocab_size;
  step.target_logits[w] = step.targets[row] >= 0 ? logits[step.targets[row]] : 0.0f;

  const int32_t bias_begin = step.bias_offsets[w];
  const int32_t bias_end = step.bias_offsets[w + 1];
  std::vector<float>& saved = saved_logits_;
  saved.clear();
  for (int32_t b = bias_begin; b < bias_end; ++b) {
    float& logit = logits[step.bias_ids[b]];
    saved.push_back(logit);
    logit = (logit > 0 ? logit / step.bias_divides[b] : logit * step.bias_divides[b]) + step.bias_adds[b];
  }

  // Each slice's candidates and log-sum-exp in parallel, merged in slice order.
  const uint32_t n_slices = (vocab + kSlice - 1) / kSlice;
  slice_ids_.resize(static_cast<size_t>(n_slices) * step.k);
  slice_values_.resize(static_cast<size_t>(n_slices) * step.k);
  slice_sums_.resize(n_slices);
  slice_counts_.resize(n_slices);
  team_.parallel_for(n_slices, [&](uint32_t slice, int) {
    const uint32_t begin = slice * kSlice;
    const uint32_t size = std::min(kSlice, vocab - begin);
    slice_sums_[slice] = kernels_.log_sum_exp(logits + begin, size);
    int32_t* ids = slice_ids_.data() + static_cast<size_t>(slice) * step.k;
    slice_counts_[slice] =
        kernels_.top_k(logits + begin, size, step.k, ids, slice_values_.data() + static_cast<size_t>(slice) * step.k);
    for (uint32_t i = 0; i < slice_counts_[slice]; ++i) ids[i] += static_cast<int32_t>(begin);
  });
  merge_slices(step, w, n_slices);
  for (int32_t b = bias_end - 1; b >= bias_begin; --b) logits[step.bias_ids[b]] = saved[b - bias_begin];
}

void Engine::merge_slices(const Step& step, uint32_t w, uint32_t n_slices) {
  float largest = slice_sums_[0];
  for (uint32_t s = 1; s < n_slices; ++s) largest = std::max(largest, slice_sums_[s]);
  double total = 0;
  for (uint32_t s = 0; s < n_slices; ++s) total += std::exp(static_cast<double>(slice_sums_[s]) - largest);
  step.log_sum_exp[w] = static_cast<float>(largest + std::log(total));

  slice_heads_.assign(n_slices, 0);
  int32_t* ids = step.candidate_ids + static_cast<size_t>(w) * step.k;
  float* values = step.candidate_logits + static_cast<size_t>(w) * step.k;
  for (uint32_t i = 0; i < step.k; ++i) {
    uint32_t best = n_slices;
    for (uint32_t s = 0; s < n_slices; ++s) {
      if (slice_heads_[s] == slice_counts_[s]) continue;
      // Strictly greater: on a tie the earlier slice, which holds the lower ids, goes first.
      if (best == n_slices ||
          slice_values_[s * step.k + slice_heads_[s]] > slice_values_[best * step.k + slice_heads_[best]])
        best = s;
    }
    if (best == n_slices) {  // fewer tokens than candidates asked for
      ids[i] = -1;
      values[i] = -INFINITY;
      continue;
    }
    ids[i] = slice_ids_[best * step.k + slice_heads_[best]];
    values[i] = slice_values_[best * step.k + slice_heads_[best]++];
  }
}

Status Engine::logits(uint32_t w, float* out) const {
  if (w >= kept_logits_) {
    return {"INVALID_OPTION", "row: expected a wanted row of the last step below " + std::to_string(kept_logits_) +
                                  ", got " + std::to_string(w)};
  }
  const uint64_t vocab = model_->hyper.vocab_size;
  std::memcpy(out, logits_ + w * vocab, vocab * sizeof(float));
  return {};
}

}  // namespace lutra::forward
