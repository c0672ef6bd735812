// Lookup attention (NoMAD): keys stand as 4-bit codes, and a query is scored against them by looking up, in tables of
// its own, what each code contributes.
//
// `pure`: softmax over these scores, and every value. `refine`: the scores choose, per query head, the keys that hold
// all but `epsilon` of the estimated attention mass, `max_keep` of them at most; those that any head of a group chose
// are read by all of it, keys and values, in 8 bits. The first page and the newest positions are exact in both.
//
// Contract: a row's result depends on its query, its position and its sequence's K/V alone: the positions that stand as
// codes follow from its own position (coded_pages), the chosen ones from its own scores, and sums are taken in
// ascending order of fixed ranges. Threads and neighbours never show.
// Source: Zhang et al. 2024, "NoMAD-Attention"; choosing by mass: Lin et al. 2025, "Twilight".
#pragma once

#include <cstdint>
#include <span>

#include "attention/attention.h"
#include "attention/codebooks.h"
#include "base/thread_team.h"
#include "cache/key_codes.h"
#include "cache/kv_cache.h"
#include "kernels/kernels.h"

namespace lutra::attention {

enum class NomadMode : uint8_t { kPure, kRefine };

struct NomadOptions {
  NomadMode mode = NomadMode::kRefine;
  float epsilon = 0.03f;  ///< share of the estimated mass that may be left out
  float max_keep = 0.5f;  ///< share of the coded keys that a query head may choose
  uint32_t levels = 255;  ///< of a table entry: 255 or 127
  bool tail = false;      ///< left-out keys are added with their estimated mass and their page's mean value
};

/// Positions that a row sees, from which on it uses codes. Scoring so many exactly costs about what the tables do.
constexpr uint32_t kLeastCodedContext = 1024;

/// Share of the coded keys that every query head chooses at least. Where estimates overrate the best keys, the mass
/// seems to be in few of them: with epsilon 0.05 alone SmolLM2's KL was 9.0e-3 at 16 % of the keys read (a union over
/// heads), with this floor 1.3e-3 at 18 %.
constexpr float kLeastKept = 0.03f;

/// Pages [1, coded_pages) of a row at `position` stand as codes, the rest is exact: the newest 64 to 95 positions.
constexpr uint32_t coded_pages(uint32_t position) {
  constexpr uint32_t kNewest = 64;
  return position + 1 < kLeastCodedContext ? 1 : (position + 1 - kNewest) / kernels::kPagePositions;
}

/// A row that attends over codes.
struct CodedRow {
  uint32_t row;               ///< of the step
  const int32_t* page_table;  ///< of its sequence
};

/// What a row's codes stood for; means over the heads of a layer, added up over layers.
struct CodedShare {
  double kept = 0;     ///< share of the coded keys that a K/V head's queries read
  double dropped = 0;  ///< estimated share of a query head's mass that was left out
};

struct NomadInput {
  const AttentionInput* attention;  ///< its spans are not read
  std::span<const CodedRow> rows;
  Codebooks* books;
  cache::KeyCodes* codes;
  CodedShare* shares;  ///< [rows of the step], added to
};

/// Bytes of scratch `attend_nomad` needs for a context of `max_positions`.
uint64_t nomad_scratch_bytes(const CodebookShape& shape, uint32_t n_heads, uint32_t max_positions);

/// `scratch` is aligned to 64 bytes.
void attend_nomad(base::ThreadTeam& team, const kernels::KernelTable& kernels, cache::KvCache& cache,
                  const NomadOptions& options, const NomadInput& input, uint8_t* scratch);

}  // namespace lutra::attention
