// The exact two-stage head, for a few rows that want candidates alone. The four high bits of a split Q8_0 head, read
// once for all of them, score every row of the matrix within a proven bound of its logit; only panels with a row whose
// score plus bound reaches the k-th best known logit are read in full. The candidates are those of the full product,
// bit for bit, at 54 % of the bytes plus what is read again, which each row does for itself: of Gemma 3 270M's panels 2
// % at k = 1, 8 % at k = 8 and 21 % at k = 40 (means of 32 positions of its reference text). Five high bits read 2 %
// again at k = 40, but cost more to take apart and to join.
//
// The bound. A weight of a row's block b is d (w), w + 128 = 16 u + l, and an activation is x. The score takes l for
// its centre 7.5: score = Σ_b d Σ (16 u − 128 + 7.5) x, so the logit differs by e = Σ_b d Σ (l − 7.5) x. Cut x at any t
// ≥ 0 into y = x clipped to [−t, t] and x − y: |Σ (l − 7.5)(x − y)| ≤ 7.5 Σ |x − y| = box, for |l − 7.5| ≤ 7.5, and |Σ
// (l − 7.5) y| ≤ ‖l − 7.5‖ ‖y‖ ≤ radius · ‖y‖ by Cauchy and Schwarz. So |e| ≤ Σ_b |d| (box_b + radius_b ‖y_b‖), with
// the t that makes it smallest for an ordinary radius: a few large activations, which models have, cost 7.5 each and
// not a radius (26).
//
// Several rows leave out the low plane z of their activations, x = 256 d_x h + z, too: the score takes u for its centre
// where it meets z, Σ 16 u x becoming Σ 16 u (x − z) + 16 · 7.5 Σ z, and |Σ 16 (u − 7.5) z| ≤ 120 Σ |z| joins the box.
// Half the arithmetic for about 1.1 times the bound, and 1.7 times the panels read again.
//
// Rounding. Logit and score are chains of rounded operations over terms at most |d| ‖x_b‖ times 725 (√32 · 128) for a
// logit, and 2190 for a score and its bound (16 √32 · (15 · 1.03 + 7.6) + 85 + 15 + 15; x's largest code is 32512, so
// ‖z‖ ≤ 0.03 ‖x‖ and 120 Σ |z| ≤ 15 ‖x‖); a chain of m operations errs by at most m 2^-24 of their sum (to first
// order). With B blocks a logit takes B + 3 operations, a score with its bound and their sum no more than 3 B + 12:
// together at most (7295 B + 28500) 2^-24 Σ_b |d| ‖x_b‖. (7500 B + 32000) 2^-24 ‖x_b‖, 0.01 ‖x_b‖ at B = 20, is added
// to box_b, and 1e-30 to the whole, for products too small for a normal float.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_team.h"
#include "forward/slice_tops.h"
#include "kernels/screen_args.h"
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
  /// Six rows take as long as the full product, eight a little longer: each reads panels of its own in full.
  static constexpr uint32_t kMaxRows = 6;
  /// Share of the panels, two rows that need one counting twice, above which the full product is done sooner; with n
  /// rows, which it takes longer for, 1 + n / 4 times this.
  static constexpr double kHopelessShare = 0.4;

  explicit HeadScreen(double hopeless_share = kHopelessShare) : hopeless_share_(hopeless_share) {}

  struct Row {
    Bias bias;
    float* logits;            ///< [vocab] scratch: what it holds afterwards is not the row's logits
    int32_t* candidate_ids;   ///< [k]
    float* candidate_logits;  ///< [k] after biases, descending, ties by lowest id
  };

  /// Finds the k best of each of x's rows, 1..kMaxRows. False when the full product must do it: the head is not split,
  /// there are too many candidates or biases, an activation is not finite, or the bound decides too little, now or
  /// lately.
  bool run(base::ThreadTeam& team, const kernels::KernelTable& kernels, const quant::Matrix& head,
           quant::Activations& x, uint32_t k, std::span<const Row> rows);

 private:
  /// A panel to be read in full for a row.
  struct Read {
    uint32_t row, panel;
  };
  struct Found {
    float logit;
    int32_t id;
    uint32_t row;
  };

  bool may_run(const quant::Matrix& head, uint32_t k, std::span<const Row> rows);
  bool measure(uint32_t row);
  void scan_slice(uint32_t slice);
  void choose_seeds();
  void set_bar(uint32_t row);
  uint32_t mark_slice(uint32_t slice);
  void prefetch(uint32_t panel) const;
  void finish_slice(uint32_t slice);
  void read_in_full(Read read);
  bool rank(uint32_t row);
  void plan_pause(double share, uint32_t candidates);
  uint32_t slice_end(uint32_t slice) const;

  // Of the running call. Bit r of a byte is row r's.
  const kernels::KernelTable* kernels_ = nullptr;
  const quant::Matrix* head_ = nullptr;
  const quant::Activations* x_ = nullptr;
  uint32_t k_ = 0;
  std::span<const Row> rows_;
  std::vector<float> scale_, centre_, box_, ball_;  ///< [blocks][kScreenRows] see kernels::ScreenArgs
  std::vector<float> best_;                         ///< [rows][panels] best score of a panel
  std::vector<float> reach_;                        ///< [rows][panels] no logit of the panel is above it
  SliceTops tops_[kMaxRows];                        ///< panels of the best scores
  std::vector<uint8_t> known_;                      ///< [panels] read in full before the bar was known
  std::vector<uint8_t> needed_;                     ///< [panels] to be read in full after
  std::vector<Read> seeds_;                         ///< those that are known, by row
  float bars_[kMaxRows];                   ///< the k-th best of the known logits: no other candidate is below it
  std::vector<std::vector<Found>> found_;  ///< [slices] logits at their bar or above
  std::vector<Found> ranked_;
  std::vector<float> values_, top_values_;
  std::vector<int32_t> ids_;

  const double hopeless_share_;
  uint32_t pause_ = 0;  ///< calls for paused_candidates_ or more, of all rows, to leave to the full product
  uint32_t last_pause_ = 1;
  uint32_t paused_candidates_ = 0;
};

}  // namespace lutra::forward
