// The arrays of one step, and the check of everything in them that could lead out of an array.
#pragma once

#include <cstdint>

#include "base/status.h"

namespace lutra::forward {

/// What a row may want of a step.
enum Want : uint8_t { kNothing, kLogSumExp, kCandidates, kHidden };
constexpr bool wants_candidates(uint8_t want) { return want == kLogSumExp || want == kCandidates; }

/// Arrays of one step; all caller-owned. Sizes in brackets; `wanted` is the number of rows that want candidates.
struct Step {
  uint32_t rows = 0;
  uint32_t sequences = 0;
  uint32_t page_stride = 0;  ///< entries per page table
  uint32_t k = 1;            ///< candidates per wanted row, 1..256
  uint32_t mirrors = 0;
  const int32_t* tokens = nullptr;         ///< [rows]
  const int32_t* positions = nullptr;      ///< [rows]
  const int32_t* row_sequences = nullptr;  ///< [rows]
  const uint8_t* wants = nullptr;          ///< [rows] 0: nothing; 1: candidates and log-sum-exp; 2: candidates, see
                                           ///< log_sum_exp; 3: the final hidden state, without running the head
  const int32_t* targets = nullptr;        ///< [rows] token whose logit is wanted, or -1
  const int32_t* page_tables = nullptr;    ///< [sequences · page_stride]
  const int32_t* bias_offsets = nullptr;   ///< [wanted + 1]
  const int32_t* bias_ids = nullptr;       ///< [bias_offsets[wanted]]
  const float* bias_divides = nullptr;     ///< logit' = (logit > 0 ? logit / divide : logit · divide) + add
  const float* bias_adds = nullptr;
  /// A row's key and value are also stored in further pages, at the slot of its own position, before any row attends:
  /// a branch of a draft tree reads ancestors of its own step from a page that is not theirs.
  const int32_t* mirror_rows = nullptr;      ///< [mirrors] ascending; a row may stand there more than once
  const int32_t* mirror_pages = nullptr;     ///< [mirrors]
  const int32_t* exact_until = nullptr;      ///< [sequences] rows at positions below are computed exactly by an engine
                                             ///< that approximates, which alone reads this
  const int32_t* core_slots = nullptr;       ///< [sequences] of a request's core neurons, or -1; read with those only
  const int32_t* aborts = nullptr;           ///< shared flags, read atomically between layers
  const int32_t* sequence_aborts = nullptr;  ///< [sequences] index into aborts, or -1

  int32_t* candidate_ids = nullptr;   ///< [wanted · k]
  float* candidate_logits = nullptr;  ///< [wanted · k], after biases, descending, ties by lowest id
  float* log_sum_exp = nullptr;       ///< [wanted], after biases; of a row that wants 2, the largest logit may stand
                                      ///< here instead, and the step's logits may not stay readable
  float* target_logits = nullptr;     ///< [wanted], before biases
  // Of an engine with lookup attention:
  float* attention_kept = nullptr;     ///< [rows] share of the coded keys that were read; 0: the row attended exactly
  float* attention_dropped = nullptr;  ///< [rows] estimated share of the attention mass that was left out
  float* attention_coded = nullptr;    ///< [rows] positions that stood as codes
  // Of an engine with activation sparsity:
  float* sparse_kept = nullptr;     ///< [rows] share of the channels kept, weighted by the weights behind them; 0: all
  float* sparse_bytes = nullptr;    ///< [rows] of layer weights that the row alone needs; 0: it was dense
  int32_t* sparse_state = nullptr;  ///< [rows] 0: dense, 1: sparse, 2: dense though sparsity was asked for
  float* hidden = nullptr;          ///< [rows that want 3][dim] hidden states after the output norm, in row order
};

/// What a step is checked against.
struct StepBounds {
  uint32_t max_rows;
  uint32_t vocab_size;
  uint32_t pages;  ///< of the arena
};

/// Codes: INVALID_OPTION, INVALID_TOKEN, naming the entry. `wanted` gets the number of rows that want candidates.
base::Status check_step(const Step& step, const StepBounds& bounds, uint32_t& wanted);

}  // namespace lutra::forward
