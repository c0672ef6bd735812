// Codebooks from the keys of a text: k-means per sub-vector, over the keys that a sequence's pages hold.
//
// A key of position t is its unrotated self turned by the angles of t, so a text of 2,000 tokens shows a slow pair of
// dimensions on a short arc only, while at position 8,000 it stands elsewhere. Training therefore turns each key on to
// a position drawn from the whole context (`spread`). Deterministic: its random numbers have a fixed seed.
#pragma once

#include <span>

#include "attention/codebooks.h"
#include "base/thread_team.h"
#include "cache/kv_cache.h"
#include "kernels/kernels.h"

namespace lutra::attention {

struct TrainingInput {
  std::span<const int32_t> pages;  ///< of one sequence, in order
  uint32_t positions;              ///< of them, those whose keys are there; the first page's are not used
  uint32_t n_pairs;                ///< rotated pairs of dimensions of a head
  bool halves;                     ///< pair i is (i, i + n_pairs), else (2i, 2i + 1)
  const double* angles;            ///< [n_pairs] turn of a pair from one position to the next
  bool spread;
  uint32_t context;  ///< positions over which keys are spread
};

/// The order in which a head's dimensions make sub-vectors: rotated pairs together, ascending, then the rest.
std::vector<uint32_t> pair_order(uint32_t head_dim, uint32_t n_pairs, bool halves);

/// Fills the codebooks of every coded layer. E_OUT_OF_MEMORY, or INVALID_OPTION where there are too few positions.
base::Status train_codebooks(base::ThreadTeam& team, const kernels::KernelTable& kernels, cache::KvCache& cache,
                             const TrainingInput& input, Codebooks& books);

/// Positions a training text has at least.
constexpr uint32_t kLeastTrainingPositions = 256;

}  // namespace lutra::attention
