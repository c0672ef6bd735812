// How far one engine's logits are from another's, row by row: for measuring what an approximation costs.
//
// Contract: all arithmetic is double and sums go in ascending token order, so a figure depends on the two rows alone,
// not on the number of threads. A row of which any logit is not finite, in either engine, gives NaN throughout.
#pragma once

#include <cstdint>
#include <span>

#include "base/status.h"
#include "forward/engine.h"

namespace lutra::forward {

struct RowDistance {
  double kl;              ///< KL(exact ‖ approximate) in nats, ≥ 0; 0 for equal rows
  double log_prob;        ///< of the token in the approximate row
  double exact_log_prob;  ///< of the token in the exact row
  double agrees;  ///< 1 when both rows have their largest logit at the same token (of equal ones the lowest id), else 0
};

/// Rows of the same length ≥ 1; id is in them.
RowDistance compare_rows(std::span<const float> approximate, std::span<const float> exact, uint32_t id);

/// The first out.size() wanted rows of the engines' last steps against each other, out[r] for token ids[r], on the
/// threads of `approximate`. The caller has entered both, which are two. Code: INVALID_OPTION (vocabularies differ, a
/// row's logits are not readable, an id out of range).
base::Status compare_logits(Engine& approximate, const Engine& exact, std::span<const int32_t> ids,
                            std::span<RowDistance> out);

}  // namespace lutra::forward
