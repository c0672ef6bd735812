// NEON scores of lookup attention, their histogram and selection, and the multiply-add control; bit-equal to
// scalar/lookup_scan.cc.
#include <arm_neon.h>

#include "kernels/neon/neon.h"

namespace lutra::kernels::neon {
namespace {

constexpr uint32_t kMaxBlock = 4;

/// Sums of 32 positions, in order.
struct Sums {
  uint16x8_t eights[4];

  void add(uint8x16_t low, uint8x16_t high) {
    eights[0] = vaddw_u8(eights[0], vget_low_u8(low));
    eights[1] = vaddw_high_u8(eights[1], low);
    eights[2] = vaddw_u8(eights[2], vget_low_u8(high));
    eights[3] = vaddw_high_u8(eights[3], high);
  }
};

/// Adds sub-vectors' table entries to the sums of Q queries. narrow: of two rows a byte holds the sum.
template <int Q, bool kNarrow>
void add_rows(const LookupScanArgs& args, uint32_t from, const uint8_t* codes, Sums (&sums)[Q]) {
  const uint8x16_t nibble = vdupq_n_u8(15);
  for (uint32_t s = 0; s < args.n_subs; s += 2) {
    const uint8x16_t a = vld1q_u8(codes + s * 16), b = vld1q_u8(codes + s * 16 + 16);
    const uint8x16_t low_a = vandq_u8(a, nibble), low_b = vandq_u8(b, nibble);
    const uint8x16_t high_a = vshrq_n_u8(a, 4), high_b = vshrq_n_u8(b, 4);
#pragma GCC unroll 4
    for (int i = 0; i < Q; ++i) {
      const uint8_t* tables = args.tables[from + i] + s * kCentroids;
      const uint8x16_t table_a = vld1q_u8(tables), table_b = vld1q_u8(tables + kCentroids);
      const uint8x16_t first_low = vqtbl1q_u8(table_a, low_a), first_high = vqtbl1q_u8(table_a, high_a);
      const uint8x16_t next_low = vqtbl1q_u8(table_b, low_b), next_high = vqtbl1q_u8(table_b, high_b);
      if constexpr (kNarrow) {
        sums[i].add(vaddq_u8(first_low, next_low), vaddq_u8(first_high, next_high));
      } else {
        sums[i].add(first_low, first_high);
        sums[i].add(next_low, next_high);
      }
    }
  }
}

/// Adds what the outliers come to, modulo 2^16.
void add_outliers(const LookupScanArgs& args, uint32_t i, const uint8_t* codes, Sums& sums) {
  for (uint32_t e = 0; e < 4; ++e) {
    int32x4_t low = vdupq_n_s32(args.outlier_base[i]), high = low;
    for (uint32_t o = 0; o < args.n_outliers; ++o) {
      const int16x8_t code = vmovl_s8(vreinterpret_s8_u8(vld1_u8(codes + o * kPagePositions + 8 * e)));
      low = vmlal_n_s16(low, vget_low_s16(code), args.outlier_weights[i][o]);
      high = vmlal_high_n_s16(high, code, args.outlier_weights[i][o]);
    }
    const int16x4_t first = vmovn_s32(vshrq_n_s32(low, kOutlierShift));
    const int16x4_t last = vmovn_s32(vshrq_n_s32(high, kOutlierShift));
    sums.eights[e] = vaddq_u16(sums.eights[e], vreinterpretq_u16_s16(vcombine_s16(first, last)));
  }
}

template <int Q>
void scan_block(const LookupScanArgs& args, uint32_t from) {
  for (uint32_t page = 0; page < args.n_pages; ++page) {
    const uint8_t* codes = args.codes[page];
    Sums sums[Q];
    for (Sums& own : sums) own = {{vdupq_n_u16(0), vdupq_n_u16(0), vdupq_n_u16(0), vdupq_n_u16(0)}};
    args.narrow ? add_rows<Q, true>(args, from, codes, sums) : add_rows<Q, false>(args, from, codes, sums);
    for (uint32_t i = 0; i < Q; ++i) {
      if (args.n_outliers > 0) add_outliers(args, from + i, codes + args.n_subs * 16, sums[i]);
      const auto& eights = sums[i].eights;
      uint16_t* scores = args.scores + (from + i) * args.score_stride + uint64_t{page} * kPagePositions;
      for (uint32_t e = 0; e < 4; ++e) vst1q_u16(scores + 8 * e, eights[e]);
      const uint16x8_t max = vmaxq_u16(vmaxq_u16(eights[0], eights[1]), vmaxq_u16(eights[2], eights[3]));
      args.page_max[(from + i) * args.max_stride + page] = vmaxvq_u16(max);
    }
  }
}

void scan(const LookupScanArgs& args) noexcept {
  uint32_t from = 0;
  for (; args.n_queries - from >= kMaxBlock; from += kMaxBlock) scan_block<4>(args, from);
  switch (args.n_queries - from) {
    case 3: return scan_block<3>(args, from);
    case 2: return scan_block<2>(args, from);
    case 1: return scan_block<1>(args, from);
    default: return;
  }
}

/// Bins of eight scores.
uint16x8_t bins_of(const LookupHistogramArgs& args, uint16x8_t scores) {
  const uint16x8_t below = vsubq_u16(vdupq_n_u16(args.top), scores);
  const uint32x4_t low = vmull_n_u16(vget_low_u16(below), args.factor), high = vmull_high_n_u16(below, args.factor);
  return vminq_u16(vcombine_u16(vshrn_n_u32(low, 16), vshrn_n_u32(high, 16)), vdupq_n_u16(kScoreBins - 1));
}

void histogram(const LookupHistogramArgs& args) noexcept {
  for (uint32_t bin = 0; bin < kScoreBins; ++bin) args.counts[bin] = 0;
  for (uint32_t page = 0; page < args.n_pages; ++page) {
    if (vgetq_lane_u16(bins_of(args, vdupq_n_u16(args.page_max[page])), 0) == kScoreBins - 1) {
      args.counts[kScoreBins - 1] += kPagePositions;
      continue;
    }
    uint16_t bins[kPagePositions];
    for (uint32_t t = 0; t < kPagePositions; t += 8) {
      vst1q_u16(bins + t, bins_of(args, vld1q_u16(args.scores + uint64_t{page} * kPagePositions + t)));
    }
    for (const uint16_t bin : bins) ++args.counts[bin];
  }
}

void select(const LookupSelectArgs& args) noexcept {
  uint32_t n = 0;
  for (uint32_t page = 0; page < args.n_pages; ++page) {
    bool any = false;
    for (uint32_t i = 0; i < args.n_queries; ++i) {
      any |= args.page_max[i * args.max_stride + page] >= args.thresholds[i];
    }
    if (!any) continue;
    for (uint32_t t = page * kPagePositions; t < (page + 1) * kPagePositions; t += 8) {
      uint16x8_t reached = vdupq_n_u16(0);
      for (uint32_t i = 0; i < args.n_queries; ++i) {
        const uint16x8_t scores = vld1q_u16(args.scores + i * args.score_stride + t);
        reached = vorrq_u16(reached, vcgeq_u16(scores, vdupq_n_u16(args.thresholds[i])));
      }
      const uint8x8_t bits = vshr_n_u8(vmovn_u16(reached), 7);  // a byte a position, 1 where reached
      uint64_t rest = vget_lane_u64(vreinterpret_u64_u8(bits), 0);
      for (; rest != 0; rest &= rest - 1) args.selected[n++] = t + static_cast<uint32_t>(__builtin_ctzll(rest)) / 8;
    }
  }
  *args.n_selected = n;
}

/// Sums of one page; eight rows at a time fit 16 bits.
void dot_page(const uint8_t* codes, const int8_t* query, uint32_t head_dim, int32_t* sums) {
  int32x4_t totals[8];
  for (int32x4_t& total : totals) total = vdupq_n_s32(0);
  for (uint32_t d = 0; d < head_dim;) {
    int16x8_t parts[4] = {vdupq_n_s16(0), vdupq_n_s16(0), vdupq_n_s16(0), vdupq_n_s16(0)};
    for (const uint32_t end = head_dim - d < 16 ? head_dim : d + 16; d < end; d += 2) {
      const uint8x16x2_t row = vld2q_u8(codes + uint64_t{d} / 2 * kPagePositions);
#pragma GCC unroll 2
      for (uint32_t j = 0; j < 2; ++j) {
        const int8x16_t low = vreinterpretq_s8_u8(vandq_u8(row.val[j], vdupq_n_u8(15)));
        const int8x16_t high = vreinterpretq_s8_u8(vshrq_n_u8(row.val[j], 4));
        const int8x16_t factor = vdupq_n_s8(query[d + j]);
        parts[0] = vmlal_s8(parts[0], vget_low_s8(low), vget_low_s8(factor));
        parts[1] = vmlal_high_s8(parts[1], low, factor);
        parts[2] = vmlal_s8(parts[2], vget_low_s8(high), vget_low_s8(factor));
        parts[3] = vmlal_high_s8(parts[3], high, factor);
      }
    }
    for (uint32_t i = 0; i < 4; ++i) {
      totals[2 * i] = vaddw_s16(totals[2 * i], vget_low_s16(parts[i]));
      totals[2 * i + 1] = vaddw_high_s16(totals[2 * i + 1], parts[i]);
    }
  }
  for (uint32_t i = 0; i < 8; ++i) vst1q_s32(sums + 4 * i, totals[i]);
}

void nibble_dot(const NibbleDotArgs& args) noexcept {
  for (uint32_t page = 0; page < args.n_pages; ++page) {
    for (uint32_t i = 0; i < args.n_queries; ++i) {
      int32_t* sums = args.sums + (uint64_t{i} * args.n_pages + page) * kPagePositions;
      dot_page(args.codes[page], args.queries[i], args.head_dim, sums);
    }
  }
}

}  // namespace

void fill_lookup_scan(KernelTable& table) noexcept {
  table.lookup.scan = scan;
  table.lookup.histogram = histogram;
  table.lookup.select = select;
  table.lookup.nibble_dot = nibble_dot;
}

}  // namespace lutra::kernels::neon
