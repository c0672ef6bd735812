// The exact two-stage head, for one row that wants candidates alone. The four high bits of a split Q8_0 head score
// every row of the matrix within a proven bound of its logit; only panels with a row whose score plus bound reaches the
// k-th best known logit are read in full. The candidates are those of the full product, bit for bit, at 54 % of the
// bytes plus what is read again: of Gemma 3 270M's panels 2 % at k = 1, 8 % at k = 8 and 21 % at k = 40 (means of 32
// positions of its reference text). Five high bits read 2 % again at k = 40, but cost more to take apart and to join.
//
// The bound. A weight of a row's block b is d (w), w + 128 = 16 u + l, and an activation is x. The score takes l for
// its centre 7.5: score = Σ_b d Σ (16 u − 128 + 7.5) x, so the logit differs by e = Σ_b d Σ (l − 7.5) x. Cut x at any t
// ≥ 0 into y = x clipped to [−t, t] and x − y: |Σ (l − 7.5)(x − y)| ≤ 7.5 Σ |x − y| = box, for |l − 7.5| ≤ 7.5, and |Σ
// (l − 7.5) y| ≤ ‖l − 7.5‖ ‖y‖ ≤ radius · ‖y‖ by Cauchy and Schwarz. So |e| ≤ Σ_b |d| (box_b + radius_b ‖y_b‖), with
// the t that makes it smallest for an ordinary radius: a few large activations, which models have, cost 7.5 each and
// not a radius (26).
//
// Rounding. Logit and score are chains of rounded operations over terms at most |d| ‖x_b‖ times 725 (√32 · 128) for a
// logit, and 2150 (16 √32 · (15 + 7.6) + 85) for a score and its bound; a chain of m operations errs by at most m 2^-24
// of their sum (to first order). With B blocks a logit takes B + 3 operations, a score with its bound and their sum 3 B
// + 12: together at most (7175 B + 28000) 2^-24 Σ_b |d| ‖x_b‖. (7500 B + 32000) 2^-24 ‖x_b‖, 0.01 ‖x_b‖ at B = 20, is
// added to box_b, and 1e-30 to the whole, for products too small for a normal float.
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
  float apply(uint32_t i, float logit) const { return (logit > 0 ? logit / divides[i] : logit * divides[i]) + adds[i]; }
};

class HeadScreen {
 public:
  struct Row {
    Bias bias;
    float* logits;            ///< [vocab] scratch: what it holds afterwards is not the row's logits
    int32_t* candidate_ids;   ///< [k]
    float* candidate_logits;  ///< [k] after biases, descending, ties by lowest id
  };

  /// Finds the k best of x's one row. False when the full product must do it: the head is not split, there are too many
  /// candidates or biases, an activation is not finite, or the bound has lately decided too little.
  bool run(base::ThreadTeam& team, const kernels::KernelTable& kernels, const quant::Matrix& head,
           quant::Activations& x, uint32_t k, const Row& row);

 private:
  struct Found {
    float logit;
    int32_t id;
  };

  bool may_run(const quant::Matrix& head, uint32_t k, const Row& row);
  bool measure();
  void scan_slice(uint32_t slice, const Row& row);
  void choose_seeds(const Row& row);
  void set_bar(const Row& row);
  void prefetch(uint32_t panel) const;
  uint32_t finish_slice(uint32_t slice, const Row& row);
  void read_in_full(uint32_t panel, const Row& row);
  bool rank(const Row& row);

  // Of the running call.
  const kernels::KernelTable* kernels_ = nullptr;
  const quant::Matrix* head_ = nullptr;
  const quant::Activations* x_ = nullptr;
  uint32_t k_ = 0;
  std::vector<float> centre_, box_, ball_;  ///< [blocks] what the kernel multiplies with a row's scales
  SliceTops tops_;                          ///< best scores
  std::vector<float> reach_;                ///< [panels] no logit of the panel is above it
  std::vector<uint8_t> known_;              ///< [panels] 1: read in full before the bar was known
  std::vector<uint32_t> seeds_;             ///< those panels
  float bar_ = 0;                           ///< the k-th best of the known logits: no other candidate is below it
  std::vector<std::vector<Found>> found_;   ///< [slices] logits at the bar or above
  std::vector<float> values_, best_;
  std::vector<int32_t> ids_;

  uint32_t pause_ = 0;  ///< calls for paused_k_ candidates or more to leave to the full product
  uint32_t paused_k_ = 0;
};

}  // namespace lutra::forward
