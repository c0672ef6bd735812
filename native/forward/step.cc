#include "forward/step.h"

#include <algorithm>
#include <string>

#include "kernels/kernels.h"

namespace lutra::forward {

using base::Status;
using kernels::kPagePositions;

namespace {

Status wrong(const char* field, uint32_t i, const std::string& expected, int64_t found) {
  return {"INVALID_OPTION",
          std::string(field) + "[" + std::to_string(i) + "]: expected " + expected + ", got " + std::to_string(found)};
}

Status wrong_token(const char* field, int64_t i, const char* or_else, uint32_t vocab_size, int32_t found) {
  return {"INVALID_TOKEN", std::string(field) + "[" + std::to_string(i) + "]: expected " + or_else + "an id in [0, " +
                               std::to_string(vocab_size) + "), got " + std::to_string(found)};
}

// The last row of a span decides which pages the span reads.
Status check_pages(const Step& step, uint32_t last_row, uint32_t pages) {
  const int32_t* table = step.page_tables + static_cast<uint64_t>(step.row_sequences[last_row]) * step.page_stride;
  for (uint32_t p = 0; p <= static_cast<uint32_t>(step.positions[last_row]) / kPagePositions; ++p) {
    if (static_cast<uint32_t>(table[p]) >= pages) {
      return wrong("pageTables", p, "a page below " + std::to_string(pages), table[p]);
    }
  }
  return {};
}

Status check_row(const Step& step, uint32_t i, const StepBounds& bounds) {
  if (static_cast<uint32_t>(step.tokens[i]) >= bounds.vocab_size) {
    return wrong_token("tokens", i, "", bounds.vocab_size, step.tokens[i]);
  }
  if (step.targets[i] < -1 || step.targets[i] >= static_cast<int64_t>(bounds.vocab_size)) {
    return wrong_token("targets", i, "-1 or ", bounds.vocab_size, step.targets[i]);
  }
  if (static_cast<uint32_t>(step.row_sequences[i]) >= step.sequences) {
    return wrong("sequences", i, "less than " + std::to_string(step.sequences), step.row_sequences[i]);
  }
  // A sequence holds no page twice, so the arena bounds its positions too.
  const uint32_t table_pages = std::min(step.page_stride, bounds.pages);
  if (static_cast<uint32_t>(step.positions[i]) / kPagePositions >= table_pages) {
    return wrong("positions", i, "less than " + std::to_string(table_pages * kPagePositions), step.positions[i]);
  }
  const bool continues = i > 0 && step.row_sequences[i - 1] == step.row_sequences[i];
  if (continues && step.positions[i] != step.positions[i - 1] + 1) {
    return wrong("positions", i, "the next position of its sequence", step.positions[i]);
  }
  const bool last_of_span = i + 1 == step.rows || step.row_sequences[i + 1] != step.row_sequences[i];
  if (last_of_span) {
    if (Status status = check_pages(step, i, bounds.pages); !status.ok()) return status;
  }
  if (step.wants[i] > kHidden) return wrong("wants", i, "0, 1, 2 or 3", step.wants[i]);
  return {};
}

Status check_biases(const Step& step, uint32_t wanted, uint32_t vocab_size) {
  for (uint32_t w = 0; w < wanted; ++w) {
    if (step.bias_offsets[w] < 0 || step.bias_offsets[w + 1] < step.bias_offsets[w]) {
      return wrong("biasOffsets", w + 1, "ascending offsets", step.bias_offsets[w + 1]);
    }
    for (int32_t b = step.bias_offsets[w]; b < step.bias_offsets[w + 1]; ++b) {
      if (static_cast<uint32_t>(step.bias_ids[b]) >= vocab_size) {
        return wrong_token("biasIds", b, "", vocab_size, step.bias_ids[b]);
      }
    }
  }
  return {};
}

Status check_mirrors(const Step& step, uint32_t pages) {
  int32_t previous = 0;
  for (uint32_t i = 0; i < step.mirrors; ++i) {
    const int32_t row = step.mirror_rows[i];
    if (row < previous || static_cast<uint32_t>(row) >= step.rows) {
      return wrong("mirrorRows", i, "ascending rows below " + std::to_string(step.rows), row);
    }
    if (static_cast<uint32_t>(step.mirror_pages[i]) >= pages) {
      return wrong("mirrorPages", i, "a page below " + std::to_string(pages), step.mirror_pages[i]);
    }
    previous = row;
  }
  return {};
}

}  // namespace

Status check_step(const Step& step, const StepBounds& bounds, uint32_t& wanted) {
  wanted = 0;
  if (step.rows > bounds.max_rows) {
    return {"INVALID_OPTION",
            "rows: expected at most " + std::to_string(bounds.max_rows) + ", got " + std::to_string(step.rows)};
  }
  for (uint32_t i = 0; i < step.rows; ++i) {
    if (Status status = check_row(step, i, bounds); !status.ok()) return status;
    wanted += wants_candidates(step.wants[i]);
  }
  if (Status status = check_biases(step, wanted, bounds.vocab_size); !status.ok()) return status;
  return check_mirrors(step, bounds.pages);
}

}  // namespace lutra::forward
