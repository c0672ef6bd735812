// What an engine leaves out: at which inputs, by which scores, how much.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "ffn/select.h"

namespace lutra::forward {

enum class Site : uint8_t { kAttentionIn, kAttentionOut, kFfnIn, kFfnMid };
constexpr uint32_t kSites = 4;
/// Products that share an input, at most: q, k, v.
constexpr uint32_t kMostSharers = 3;

/// What ranks the hidden channels, before down.
enum class HiddenScore : uint8_t { kMagnitude, kGate, kRandom, kCore };

/// Column norms that weigh magnitudes: those of all matrices that share the input; of k and gate only, as WINA's
/// released code has it; each matrix its own, and so each its own channels, which shares no work.
enum class Norms : uint8_t { kNone, kStacked, kPublished, kOwn };

struct SparsityOptions {
  std::vector<float> keeps;       ///< [n_layers][kSites] share of the channels kept, (0, 1]; 1: the site is not masked
  std::vector<float> thresholds;  ///< [n_layers][kSites] of scores; empty for kTopK
  ffn::Selection selection = ffn::Selection::kTopK;
  Norms norms = Norms::kNone;
  HiddenScore hidden = HiddenScore::kMagnitude;
  float core_token_share = 0;  ///< see ffn::CoreOptions, as the next one; for kCore
  float core_guard = 0;
};

/// Shares kept at the sites of one layer.
using SiteKeeps = std::array<float, kSites>;

}  // namespace lutra::forward
