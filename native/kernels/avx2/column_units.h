// Where the units of a group of column strips stand, which of a unit's channels a list names, and asking for them
// before they are multiplied. Both x86 paths include it.
#pragma once

#include <cstdint>

#include "kernels/avx2/matmul_codes.h"
#include "kernels/column_kernels.h"
#include "kernels/fetch.h"

namespace lutra::kernels::avx2 {
namespace {

/// Units from the one that is multiplied to the one that is asked for. 1, 2, 3 and 5 are alike where groups have 32
/// strips (half the channels of 2048 × 8192 Q4_0 from memory: 0.95-1.0 of the panels' time); without asking it is twice
/// that.
constexpr uint32_t kColumnsAhead = 2;

template <const ColumnShape& kShape>
class ColumnUnits {
 protected:
  LUTRA_INLINE explicit ColumnUnits(const ColumnsArgs& args)
      : args_(args), units_(args.k / 32), rows_(kStripRows * args.strips), width_(args.strip_end - args.strip_begin) {}

  static constexpr bool kNarrow = kShape.scale_halves == 2;
  static constexpr uint32_t kGranules = kNarrow ? 2 : 1;
  static constexpr uint32_t kUnits = kShape.elements / 32;
  static constexpr uint32_t kListed = 2 * kColumnsAhead;

  struct Listed {
    uint32_t offsets[32];  ///< from a strip's first run
    uint32_t n;
  };

  /// Where a strip's parts of a super-block and one of its units stand.
  struct Place {
    const uint8_t *d, *m, *runs, *scales, *mins;
  };

  LUTRA_INLINE uint32_t first_quad(uint32_t unit) const {
    return unit == 0 ? 0 : args_.channels.ends[unit * kGranules - 1];
  }
  LUTRA_INLINE const uint8_t* super_block(uint32_t unit) const {
    return args_.group + uint64_t{unit / kUnits} * kShape.block_bytes() * args_.strips;
  }
  LUTRA_INLINE const uint8_t* first_run(uint32_t unit) const {
    return super_block(unit) + kShape.row_bytes() * rows_ +
           uint64_t{unit % kUnits} * kShape.unit_bytes() * args_.strips;
  }
  LUTRA_INLINE Place place(uint32_t unit, uint32_t strip) const {
    const uint64_t row = uint64_t{kStripRows} * strip;
    Place at;
    at.d = super_block(unit) + 2 * row;
    at.m = at.d + 2 * rows_;
    at.runs = first_run(unit) + strip * kShape.run_bytes;
    at.scales = first_run(unit) + 32 * kShape.run_bytes * args_.strips + row;
    at.mins = at.scales + kShape.scale_halves * rows_;
    return at;
  }

  /// Notes a unit's channels for when it is asked for and when it is multiplied.
  LUTRA_INLINE void list(uint32_t unit) {
    Listed& listed = listed_[unit % kListed];
    const uint32_t begin = 4 * first_quad(unit), end = 4 * first_quad(unit + 1);
    const uint32_t stretch = kShape.run_bytes * args_.strips;
    for (uint32_t i = begin; i < end; ++i) listed.offsets[i - begin] = args_.channels.channels[i] * stretch;
    listed.n = end - begin;
  }

  /// Asks for what strip i of a later unit needs and, of the runs, an i-th part of their lines: spread, as only so much
  /// can be under way.
  LUTRA_INLINE void fetch(uint32_t unit, uint32_t i) const {
    const Listed& listed = listed_[unit % kListed];
    if (listed.n == 0) return;
    const Place at = place(unit, args_.strip_begin + i);
    if (unit % kUnits == 0) {
      fetch_rows<2>(at.d);
      if constexpr (kShape.has_min) fetch_rows<2>(at.m);
    }
    if constexpr (kShape.scale_halves > 0) fetch_rows<1>(at.scales);
    if constexpr (kShape.scale_halves > 1) fetch_rows<1>(at.scales + rows_);
    if constexpr (kShape.has_mins) fetch_rows<1>(at.mins);
    const uint8_t* runs = first_run(unit) + args_.strip_begin * kShape.run_bytes;
    const uint32_t end = 64 * ((kShape.run_bytes * (i + 1) + 63) / 64);
    for (uint32_t line = 64 * ((kShape.run_bytes * i + 63) / 64); line < end; line += 64) {
      for (uint32_t c = 0; c < listed.n; ++c) fetch_line(runs + listed.offsets[c] + line);
    }
  }

  template <int kRowBytes>
  static LUTRA_INLINE void fetch_rows(const uint8_t* rows) {
    for (int line = 0; line < kRowBytes; ++line) fetch_line(rows + 64 * line);
  }

  const ColumnsArgs& args_;
  uint32_t units_;
  uint64_t rows_;   ///< of the group
  uint32_t width_;  ///< strips to compute
  Listed listed_[kListed];
};

}  // namespace
}  // namespace lutra::kernels::avx2
