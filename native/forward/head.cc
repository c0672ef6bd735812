// From the residual stream to what rows want: the final norm, and for rows that do not want just that, the head, then
// per row the target's logit, biases, the k best candidates and the log-sum-exp.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "forward/engine.h"

namespace lutra::forward {

using base::Status;

namespace {

// Slices of a row that are scanned in parallel. Fixed, so that the log-sum-exp has one order of summation. Smaller ones
// balance better, but each has k best of its own to find (Gemma 3's 262,144 tokens, two threads, k = 40: 0.56 ms with
// 16384, 0.77 with 8192, 1.17 with 4096; k = 1: 0.30, 0.31, 0.35).
constexpr uint32_t kSlice = 16384;

Bias bias_of(const Step& step, uint32_t w) {
  const int32_t begin = step.bias_offsets[w];
  const auto n = static_cast<size_t>(step.bias_offsets[w + 1] - begin);
  return {{step.bias_ids + begin, n}, step.bias_divides + begin, step.bias_adds + begin};
}

}  // namespace

Status Engine::run_head(const Step& step, uint32_t wanted) {
  const model::HyperParameters& hyper = model_->hyper;
  wanted_rows_.clear();
  float* hidden = step.hidden;
  for (uint32_t row = 0; row < step.rows; ++row) {
    if (wants_candidates(step.wants[row])) wanted_rows_.push_back(row);
    if (step.wants[row] != kHidden) continue;
    kernels_.rms_norm(x_ + static_cast<uint64_t>(row) * hyper.dim, model_->output_norm, hyper.dim, hyper.rms_eps,
                      hidden);
    hidden += hyper.dim;
  }
  bool screened = false;
  for (uint32_t begin = 0; begin < wanted; begin += options_.max_wanted) {
    if (begin > 0 && aborted(step)) return {"ABORTED", "a sequence of the step was aborted"};
    const uint32_t n = std::min(options_.max_wanted, wanted - begin);
    h_.begin(n, hyper.dim);
    for (uint32_t i = 0; i < n; ++i) {
      const float* x = x_ + static_cast<uint64_t>(wanted_rows_[begin + i]) * hyper.dim;
      kernels_.rms_norm(x, model_->output_norm, hyper.dim, hyper.rms_eps, h_.row(i));
    }
    if (screen_rows(step, begin, n)) {
      profile_.lap(Stage::kHead);
      screened = true;
      continue;
    }
    const quant::Product products[] = {{&model_->head, logits_, hyper.vocab_size}};
    quant::multiply(team_, kernels_, h_, products);
    profile_.lap(Stage::kHead);
    for (uint32_t i = 0; i < n; ++i) {
      reduce_row(step, begin + i, wanted_rows_[begin + i], logits_ + static_cast<uint64_t>(i) * hyper.vocab_size);
    }
    profile_.lap(Stage::kReduce);
  }
  kept_logits_ = wanted <= options_.max_wanted && !screened ? wanted : 0;
  return {};
}

// The two-stage head, when all that a few rows want are candidates. It decides nothing but time.
bool Engine::screen_rows(const Step& step, uint32_t begin, uint32_t n) {
  if (n > HeadScreen::kMaxRows) return false;
  HeadScreen::Row rows[HeadScreen::kMaxRows];
  for (uint32_t i = 0; i < n; ++i) {
    const uint32_t row = wanted_rows_[begin + i];
    if (step.wants[row] != kCandidates || step.targets[row] >= 0) return false;
    const size_t first = static_cast<size_t>(begin + i) * step.k;
    float* logits = logits_ + static_cast<uint64_t>(i) * model_->hyper.vocab_size;
    rows[i] = {bias_of(step, begin + i), logits, step.candidate_ids + first, step.candidate_logits + first};
  }
  if (!screen_.run(team_, kernels_, model_->head, h_, step.k, {rows, n})) return false;
  for (uint32_t i = 0; i < n; ++i) {
    step.target_logits[begin + i] = 0;
    step.log_sum_exp[begin + i] = rows[i].candidate_logits[0];
  }
  return true;
}

// A row that needs no sum gets its largest logit for it. That is no number either when the row's logits are not finite:
// a norm's output is at most √dim times its weight, so it takes an activation that is no number to make a logit one,
// and such an activation spoils all logits.
void Engine::reduce_row(const Step& step, uint32_t w, uint32_t row, float* logits) {
  const uint32_t vocab = model_->hyper.vocab_size;
  step.target_logits[w] = step.targets[row] >= 0 ? logits[step.targets[row]] : 0.0f;

  const Bias bias = bias_of(step, w);
  saved_logits_.clear();
  for (uint32_t i = 0; i < bias.ids.size(); ++i) {
    float& logit = logits[bias.ids[i]];
    saved_logits_.push_back(logit);
    logit = bias.apply(i, logit);
  }

  // Each slice's candidates and log-sum-exp in parallel, merged in slice order.
  const uint32_t n_slices = (vocab + kSlice - 1) / kSlice;
  slice_tops_.resize(n_slices, step.k);
  slice_sums_.resize(n_slices);
  const bool needs_sum = step.wants[row] == kLogSumExp;
  team_.parallel_for(n_slices, [&](uint32_t slice, int) {
    const uint32_t begin = slice * kSlice;
    const uint32_t size = std::min(kSlice, vocab - begin);
    if (needs_sum) slice_sums_[slice] = kernels_.log_sum_exp(logits + begin, size);
    slice_tops_.find(kernels_, slice, logits + begin, begin, size);
  });
  const size_t first = static_cast<size_t>(w) * step.k;
  slice_tops_.merge(step.k, step.candidate_ids + first, step.candidate_logits + first);
  if (needs_sum) {
    step.log_sum_exp[w] = sum_of_slices();
  } else {
    step.log_sum_exp[w] = step.candidate_logits[first];
  }
  for (auto i = static_cast<uint32_t>(bias.ids.size()); i-- > 0;) logits[bias.ids[i]] = saved_logits_[i];
}

float Engine::sum_of_slices() const {
  const float largest = *std::max_element(slice_sums_.begin(), slice_sums_.end());
  double total = 0;
  for (const float sum : slice_sums_) total += std::exp(static_cast<double>(sum) - largest);
  return static_cast<float>(largest + std::log(total));
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
