// What a text says of activation sparsity: how scores are distributed, which channels are often large, and how a layer
// spreads a target over its sites at the least error. Source of the allocation: TEAL (Liu et al. 2024), algorithm 1.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "forward/sparsity_options.h"
#include "kernels/kernels.h"

namespace lutra::forward {

/// Quantiles are those of shares 0, 1/64, … 1.
constexpr uint32_t kQuantileKnots = 65;

struct CalibrationOptions {
  uint32_t window = 512;           ///< tokens of a text, at most the engine's rows
  float step = 0.05f;              ///< share of a layer's masked weights that a step of the allocation leaves out
  const int32_t* abort = nullptr;  ///< shared flag, read atomically between trials; null: none
};

/// Shares kept, and the share of the layer's masked weights that they leave out.
struct AllocationRow {
  float sparsity;
  SiteKeeps keeps;
};

/// Both empty: the site is not masked.
struct SiteScores {
  std::vector<float> quantiles;      ///< [kQuantileKnots] ascending
  std::vector<uint8_t> frequencies;  ///< [channels] tokens that have it among their best half, in 255ths
};

struct LayerCalibration {
  std::array<SiteScores, kSites> sites;
  std::vector<AllocationRow> rows;  ///< ascending; the first keeps everything
};

/// Gathers the scores of one layer. Quantiles come from a histogram with 256 bins an octave: within 0.4 %.
class ScoreSurvey {
 public:
  /// Scores [k] of one token (k % 32 == 0), as bits of floats without a sign. `scratch`: k words.
  void add(const kernels::ChannelKernels& kernels, Site site, std::span<const uint32_t> scores, uint32_t* scratch);
  /// False where some score was not finite.
  bool is_finite() const { return is_finite_; }
  SiteScores result(Site site) const;

 private:
  struct Gathered {
    std::vector<uint64_t> bins;
    std::vector<uint32_t> best;  ///< [k] tokens that have the channel among their best half
    std::vector<uint32_t> mask;  ///< [k/32]
    uint64_t tokens = 0;
    uint32_t least = UINT32_MAX, most = 0;
  };

  std::array<Gathered, kSites> sites_;
  bool is_finite_ = true;
};

/// The greedy allocation of one layer: from everything kept, steps of equal bytes, each by the site that the caller
/// found to cost least.
class Allocation {
 public:
  /// weights: behind each site; 0: it is not masked.
  Allocation(const std::array<uint64_t, kSites>& weights, float step);

  /// The shares after one more step by a site; none when it has nothing left to give.
  std::optional<SiteKeeps> after(Site site) const;
  void take(Site site);
  /// Whether the last row leaves out as much as is ever asked for.
  bool done() const;
  const std::vector<AllocationRow>& rows() const { return rows_; }

 private:
  std::array<double, kSites> shares_;  ///< of the masked weights
  std::array<double, kSites> sparsities_{};
  float step_;
  std::vector<AllocationRow> rows_;
};

}  // namespace lutra::forward
