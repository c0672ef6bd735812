#include "forward/sparsity_calibration.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace lutra::forward {

namespace {

// A bin is an exponent and eight bits of the mantissa.
constexpr uint32_t kBinShift = 15;
constexpr uint32_t kBins = 1u << (31 - kBinShift);
constexpr uint32_t kInfinity = 0x7F800000u;
constexpr double kMostSiteSparsity = 0.95;
constexpr double kMostSparsity = 0.9;
constexpr float kBestShare = 0.5f;

double float_of(uint32_t bits) { return static_cast<double>(std::bit_cast<float>(bits)); }

}  // namespace

void ScoreSurvey::add(const kernels::ChannelKernels& kernels, Site site, std::span<const uint32_t> scores,
                      uint32_t* scratch) {
  Gathered& to = sites_[static_cast<size_t>(site)];
  if (to.bins.empty()) {
    to.bins.resize(kBins);
    to.best.resize(scores.size());
    to.mask.resize(scores.size() / 32);
  }
  for (const uint32_t score : scores) {
    ++to.bins[(score & 0x7FFFFFFFu) >> kBinShift];
    to.least = std::min(to.least, score);
    to.most = std::max(to.most, score);
  }
  is_finite_ = is_finite_ && to.most < kInfinity;
  const ffn::Choice half{.selection = ffn::Selection::kTopK, .keep = kBestShare};
  ffn::select_channels(kernels, scores, half, to.mask.data(), scratch);
  for (size_t i = 0; i < scores.size(); ++i) to.best[i] += to.mask[i / 32] >> i % 32 & 1;
  ++to.tokens;
}

SiteScores ScoreSurvey::result(Site site) const {
  const Gathered& from = sites_[static_cast<size_t>(site)];
  SiteScores found;
  if (from.tokens == 0) return found;
  const double total = static_cast<double>(from.tokens) * static_cast<double>(from.best.size());
  const double least = float_of(from.least), most = float_of(from.most);
  uint32_t bin = 0;
  double below = 0;
  for (uint32_t knot = 0; knot < kQuantileKnots; ++knot) {
    const double rank = total * knot / (kQuantileKnots - 1);
    while (bin + 1 < kBins && below + static_cast<double>(from.bins[bin]) < rank) {
      below += static_cast<double>(from.bins[bin++]);
    }
    const double begin = float_of(bin << kBinShift), end = float_of(std::min((bin + 1) << kBinShift, kInfinity - 1));
    const double within = from.bins[bin] == 0 ? 0 : (rank - below) / static_cast<double>(from.bins[bin]);
    const double at = knot == 0 ? least : begin + within * (end - begin);
    found.quantiles.push_back(static_cast<float>(std::clamp(at, least, most)));
  }
  for (const uint32_t best : from.best) {
    const double share = static_cast<double>(best) / static_cast<double>(from.tokens);
    found.frequencies.push_back(static_cast<uint8_t>(std::lround(255 * share)));
  }
  return found;
}

Allocation::Allocation(const std::array<uint64_t, kSites>& weights, float step) : step_(step) {
  uint64_t all = 0;
  for (const uint64_t each : weights) all += each;
  for (uint32_t site = 0; site < kSites; ++site) {
    shares_[site] = all == 0 ? 0 : static_cast<double>(weights[site]) / static_cast<double>(all);
  }
  rows_.push_back({0, {1, 1, 1, 1}});
}

std::optional<SiteKeeps> Allocation::after(Site site) const {
  const auto at = static_cast<size_t>(site);
  if (shares_[at] == 0 || sparsities_[at] >= kMostSiteSparsity) return std::nullopt;
  SiteKeeps keeps = rows_.back().keeps;
  keeps[at] = static_cast<float>(1 - std::min(kMostSiteSparsity, sparsities_[at] + step_ / shares_[at]));
  return keeps;
}

void Allocation::take(Site site) {
  const auto at = static_cast<size_t>(site);
  const SiteKeeps keeps = after(site).value_or(rows_.back().keeps);
  sparsities_[at] = std::min(kMostSiteSparsity, sparsities_[at] + step_ / shares_[at]);
  double sparsity = 0;
  for (uint32_t each = 0; each < kSites; ++each) sparsity += shares_[each] * sparsities_[each];
  rows_.push_back({static_cast<float>(sparsity), keeps});
}

bool Allocation::done() const {
  // Rounded: the sum of the steps may fall short of what they stand for.
  return rows_.back().sparsity >= kMostSparsity - 1e-6;
}

}  // namespace lutra::forward
