// Attention of a step's rows over the K/V pages of their sequences. `exact` is the only implementation so far.
//
// Contract: a row's result depends on its query, its position and its sequence's K/V alone. Keys are taken in fixed
// tiles of logical positions; each tile gives (max, sum, accumulator), merged in ascending order. Which thread computed
// a tile, or which other rows shared its loads, never shows.
#pragma once

#include <cstdint>
#include <span>

#include "base/thread_team.h"
#include "cache/kv_cache.h"
#include "kernels/kernels.h"

namespace lutra::attention {

/// Consecutive rows of one sequence, with ascending positions.
struct RowSpan {
  uint32_t row_begin;
  uint32_t row_end;
  const int32_t* page_table;  ///< page id of positions [32·i, 32·i + 32)
};

struct AttentionInput {
  uint32_t layer;
  uint32_t n_heads;
  uint32_t window;           ///< positions a row sees, itself included; 0: all before it
  const float* queries;      ///< [rows][n_heads · head_dim], scaled
  const int32_t* positions;  ///< [rows]
  std::span<const RowSpan> spans;
  float* out;  ///< [rows][n_heads · head_dim]
};

/// Elements of a head, at most: what the attention kernels take (checked when the model is read).
constexpr uint32_t kMaxHeadDim = 512;

/// Rows of a step up to which tiles are spread over threads (few rows, many keys); beyond, rows are.
constexpr uint32_t kMaxTiledRows = 16;

/// Floats of scratch `attend_exact` needs for a context of `max_positions`.
uint64_t scratch_floats(uint32_t n_heads, uint32_t head_dim, uint32_t max_positions);

/// softmax(q·k) · v, exactly. `scratch` holds scratch_floats floats for the largest position of the step.
void attend_exact(base::ThreadTeam& team, const kernels::KernelTable& kernels, cache::KvCache& cache,
                  const AttentionInput& input, float* scratch);

}  // namespace lutra::attention
