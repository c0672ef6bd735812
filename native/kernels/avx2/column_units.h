// Where the units of a group of column strips stand, which of a unit's channels a list names, and asking for them
// before they are multiplied. Both x86 paths include it.
#pragma once

#include <cstdint>

#include "kernels/avx2/matmul_codes.h"
#include "kernels/column_kernels.h"
#include "kernels/fetch.h"

namespace lutra::kernels::avx2 {
namespace {

/// Units that are asked for together while the block before them is multiplied: a line of each of their channels, then
/// the next line of each. Half the channels of Q4_0 from memory on two threads, of the panels' time, with blocks of 1,
/// 2 and 3: 576 × 1536 1.04, 0.93, 0.97, all else the same within 0.02. Without asking it is twice that.
constexpr uint32_t kBlockUnits = 2;

template <const ColumnShape& kShape>
class ColumnUnits {
 protected:
  LUTRA_INLINE explicit ColumnUnits(const ColumnsArgs& args)
      : args_(args), units_(args.k / 32), rows_(kStripRows * args.strips), width_(args.strip_end - args.strip_begin) {}

  static constexpr bool kNarrow = kShape.scale_halves == 2;
  static constexpr uint32_t kGranules = kNarrow ? 2 : 1;
  static constexpr uint32_t kUnits = kShape.elements / 32;
  static constexpr uint32_t kListed = 2 * kBlockUnits;

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
    return args_.group + uint64_t{unit / kUnits} * kShape.block_bytes(args_.strips);
  }
  LUTRA_INLINE const uint8_t* first_run(uint32_t unit) const {
    return super_block(unit) + kShape.row_bytes() * rows_ + uint64_t{unit % kUnits} * kShape.unit_bytes(args_.strips);
  }
  LUTRA_INLINE Place place(uint32_t unit, uint32_t strip) const {
    const uint64_t row = uint64_t{kStripRows} * strip;
    Place at;
    at.d = super_block(unit) + 2 * row;
    at.m = at.d + 2 * rows_;
    at.runs = first_run(unit) + strip * kShape.run_bytes;
    at.scales = first_run(unit) + 32 * kShape.channel_stride(args_.strips) + row;
    at.mins = at.scales + kShape.scale_halves * rows_;
    return at;
  }

  /// Notes a unit's channels for when it is asked for and when it is multiplied.
  LUTRA_INLINE void list(uint32_t unit) {
    Listed& listed = listed_[unit % kListed];
    const uint32_t begin = 4 * first_quad(unit), end = 4 * first_quad(unit + 1);
    const auto stride = static_cast<uint32_t>(kShape.channel_stride(args_.strips));
    for (uint32_t i = begin; i < end; ++i) listed.offsets[i - begin] = args_.channels.channels[i] * stride;
    listed.n = end - begin;
  }

  /// The block that begins with `unit` is what fetch() asks for from now on.
  LUTRA_INLINE void begin_fetch(uint32_t unit) {
    ahead_.due = ahead_.channel = ahead_.line = ahead_.n = 0;
    const uint32_t end = unit + kBlockUnits < units_ ? unit + kBlockUnits : units_;
    for (uint32_t u = unit; u < end; ++u) {
      list(u);
      const Listed& listed = listed_[u % kListed];
      const uint8_t* runs = first_run(u) + args_.strip_begin * kShape.run_bytes;
      for (uint32_t c = 0; c < listed.n; ++c) ahead_.runs[ahead_.n++] = runs + listed.offsets[c];
    }
    ahead_.lines = ahead_.n * ((kShape.run_bytes * width_ + 63) / 64);
  }

  /// Asks for the scales of a unit of the block and the i-th strip to compute, and for as even a part of the block's
  /// runs, whichever they are: only so much can be under way.
  LUTRA_INLINE void fetch(uint32_t unit, uint32_t i) {
    if (unit < units_ && listed_[unit % kListed].n != 0) fetch_scales(place(unit, args_.strip_begin + i), unit);
    const uint32_t calls = kBlockUnits * width_;
    for (ahead_.due += ahead_.lines; ahead_.due >= calls; ahead_.due -= calls) {
      fetch_line(ahead_.runs[ahead_.channel] + ahead_.line);
      if (++ahead_.channel == ahead_.n) {
        ahead_.channel = 0;
        ahead_.line += 64;
      }
    }
  }

  LUTRA_INLINE void fetch_scales(const Place& at, uint32_t unit) const {
    if (unit % kUnits == 0) {
      fetch_rows<2>(at.d);
      if constexpr (kShape.has_min) fetch_rows<2>(at.m);
    }
    if constexpr (kShape.scale_halves > 0) fetch_rows<1>(at.scales);
    if constexpr (kShape.scale_halves > 1) fetch_rows<1>(at.scales + rows_);
    if constexpr (kShape.has_mins) fetch_rows<1>(at.mins);
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
  struct {
    const uint8_t* runs[32 * kBlockUnits];
    uint32_t n;              ///< of all channels of the block
    uint32_t lines;          ///< to ask for
    uint32_t due;            ///< of a line, in parts, of which the calls of a block are one
    uint32_t channel, line;  ///< that are next
  } ahead_;
};

}  // namespace
}  // namespace lutra::kernels::avx2
