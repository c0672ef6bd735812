// The exact two-stage head. The five high bits of a split Q8_0 head score every row of the matrix within a proven bound
// of its logit; only panels with a row whose score plus bound reaches the k-th best known logit are read in full. The
// candidates are those of the full product, bit for bit, at about 65 % of the bytes plus what is read again:
// 0.1 % of the panels at k = 1 and 2 % at k = 40 for Gemma 3 270M, 0.6 % and 18 % for SmolLM2-135M.
//
// The bound. A weight of a row's block b is d (w), w + 128 = 8 u + l, and an activation is x. The score takes l for its
// centre 3.5: score = Σ_b d Σ (8 u − 128 + 3.5) x, so the logit differs by e = Σ_b d Σ (l − 3.5) x. Cut x at any t ≥ 0
// into y = x clipped to [−t, t] and x − y: |Σ (l − 3.5)(x − y)| ≤ 3.5 Σ |x − y| = box, for |l − 3.5| ≤ 3.5, and
// |Σ (l − 3.5) y| ≤ ‖l − 3.5‖ ‖y‖ ≤ radius · ‖y‖ by Cauchy and Schwarz. So |e| ≤ Σ_b |d| (box_b + radius_b ‖y_b‖), with
// the t that makes it smallest for an ordinary radius. A few large activations, which models have, cost 3.5 each and
// not a radius (14): that alone cuts the panels read again by a factor of 2 to 6.
//
// Rounding. Logit and score are chains of rounded operations over terms at most |d| ‖x_b‖ times 725 (√32 · 128) for a
// logit, and 2150 (√32 · (8 · 31 + 128) + 20) for a score; a chain of m operations errs by at most m 2^-24 of their sum
// (to first order). With B blocks a logit takes B + 3 operations, a score with its bound and their sum 3 B + 12:
// together at most (7175 B + 28000) 2^-24 Σ_b |d| ‖x_b‖. (7500 B + 32000) 2^-24 ‖x_b‖, 0.01 ‖x_b‖ at B = 20, is added to
// box_b, and 1e-30 to the whole, for products too small for a normal float.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_team.h"
#include "forward/slice_tops.h"
#include "quant/matrix.h"

namespace lutra::forward {

/// logit' = (logit > 0 ? logit / divide : logit · divide) + add
struct Bias {
  std::span<const int32_t> ids;
  const float* divides;
  const float* adds;
  float apply(uint32_t i, float logit) const {
    return (logit > 0 ? logit / divides[i] : logit * divides[i]) + adds[i];
  }
};

class HeadScreen {
 public:
  struct Row {
    Bias bias;
    float* logits;            ///< [vocab] scratch: what it holds afterwards is not the row's logits
    int32_t* candidate_ids;   ///< [k]
    float* candidate_logits;  ///< [k] after biases, descending, ties by lowest id
  };

  /// Finds the k best of each of x's rows. False when the full product must do it: the head is not split, there are too
  /// many rows, candidates or biases, an activation is not finite, or the bound has lately decided too little.
  bool run(base::ThreadTeam& team, const kernels::KernelTable& kernels, const quant::Matrix& head,
           quant::Activations& x, uint32_t k, std::span<const Row> rows);

 private:
  struct Found {
    float logit;
    int32_t id;
  };
  struct State {
    std::vector<float> centre, box, ball;  ///< [blocks] what the kernel multiplies with a row's scales
    SliceTops tops;              ///< best scores
    std::vector<float> reach;    ///< [panels] no logit of the panel is above it
    std::vector<uint8_t> known;  ///< [panels] 1: read in full
    std::vector<std::vector<Found>> found;  ///< [slices] logits at the bar or above
    float bar;                   ///< the k-th best of the known logits: no other candidate is below it
  };
  struct Job {
    uint32_t row, panel;
  };

  bool measure(uint32_t n_rows);
  void scan_slice(uint32_t slice, std::span<const Row> rows);
  void choose_seeds(uint32_t r, const Row& row);
  void set_bar(uint32_t r, const Row& row);
  void prefetch(uint32_t panel) const;
  bool rank(uint32_t r, const Row& row);
  uint32_t finish_slice(uint32_t slice, uint32_t r, const Row& row);
  void read_in_full(uint32_t r, uint32_t panel, const Row& row);

  // Of the running call.
  base::ThreadTeam* team_ = nullptr;
  const kernels::KernelTable* kernels_ = nullptr;
  const quant::Matrix* head_ = nullptr;
  const quant::Activations* x_ = nullptr;
  uint32_t k_ = 0;

  std::vector<State> states_;  ///< [rows]
  std::vector<Job> jobs_;      ///< panels to read in full before the bar is known
  std::vector<float> values_;
  std::vector<int32_t> ids_;
  uint32_t pause_ = 0;  ///< calls for paused_k_ candidates or more to leave to the full product
  uint32_t paused_k_ = 0;
};

}  // namespace lutra::forward
