// NEON exact attention over listed positions; bit-equal to scalar/lookup_values.cc. A key or value is converted once
// for a block of up to four queries.
#include <arm_neon.h>

#include "kernels/neon/attention_lanes.h"
#include "kernels/neon/neon.h"

namespace lutra::kernels::neon {
namespace {

constexpr uint32_t kMaxBlock = 4;

/// Eight neighbouring dimensions.
struct Eight {
  float32x4_t low, high;
};

/// A position's row in a page: eight dimensions from d as floats, and the factor they have in common.
struct HalfRow {
  static constexpr bool kScaled = false;

  HalfRow(const uint8_t* const* pages, uint32_t position, uint32_t head_dim)
      : row(halves_of(pages[position / kPagePositions]) + uint64_t{position % kPagePositions} * head_dim) {}
  Eight at(uint32_t d) const { return {load_f16(row + d), load_f16(row + d + 4)}; }
  float scale(uint32_t) const { return 1.0f; }

  const uint16_t* row;
};

struct ByteRow {
  static constexpr bool kScaled = true;

  ByteRow(const uint8_t* const* pages, uint32_t position, uint32_t head_dim) {
    const uint8_t* page = pages[position / kPagePositions];
    const uint32_t slot = position % kPagePositions;
    row = reinterpret_cast<const int8_t*>(page) + uint64_t{slot} * head_dim;
    scales = halves_of(page + uint64_t{head_dim} * kPagePositions) + slot;
  }
  Eight at(uint32_t d) const {
    const int16x8_t codes = vmovl_s8(vld1_s8(row + d));
    return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(codes))), vcvtq_f32_s32(vmovl_high_s16(codes))};
  }
  float scale(uint32_t d) const {
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(scales[d / kBlock * kPagePositions]))), 0);
  }

  const int8_t* row;
  const uint16_t* scales;
};

/// scores[i · stride + k] of Q queries and two listed keys.
template <int Q, typename Row>
void score_pair(const LookupRefineArgs& args, uint32_t from, uint32_t entry) {
  const uint32_t n = args.n_selected, pair[2] = {entry, entry + 1 < n ? entry + 1 : entry};
  const Row rows[2] = {{args.key_rows, args.selected[pair[0]], args.head_dim},
                       {args.key_rows, args.selected[pair[1]], args.head_dim}};
  Eight sums[Q][2];
#pragma GCC unroll 8
  for (int i = 0; i < 2 * Q; ++i) sums[i / 2][i % 2] = {vdupq_n_f32(0.0f), vdupq_n_f32(0.0f)};
  for (uint32_t d = 0; d < args.head_dim; d += 8) {
#pragma GCC unroll 2
    for (int k = 0; k < 2; ++k) {
      Eight key = rows[k].at(d);
      if constexpr (Row::kScaled) {
        const float scale = rows[k].scale(d);
        key = {vmulq_n_f32(key.low, scale), vmulq_n_f32(key.high, scale)};
      }
#pragma GCC unroll 4
      for (int i = 0; i < Q; ++i) {
        const float* query = args.queries[from + i] + d;
        sums[i][k].low = vfmaq_f32(sums[i][k].low, vld1q_f32(query), key.low);
        sums[i][k].high = vfmaq_f32(sums[i][k].high, vld1q_f32(query + 4), key.high);
      }
    }
  }
  for (int i = 0; i < Q; ++i) {
    float* scores = args.scores + (from + i) * args.score_stride;
    for (int k = 0; k < 2; ++k) scores[pair[k]] = merge_lanes(sums[i][k].low, sums[i][k].high);
  }
}

/// acc[i][dim..] += Σ weight · v in list order, for E times eight dimensions of one block of scales.
template <int Q, int E, typename Row>
void add_values(const LookupRefineArgs& args, uint32_t from, uint32_t dim) {
  const uint64_t head_dim = args.head_dim;
  float* acc = args.acc_out + from * head_dim + dim;
  const float* weights = args.scores + from * args.score_stride;
  Eight sums[Q][E];
#pragma GCC unroll 16
  for (int i = 0; i < Q * E; ++i) sums[i / E][i % E] = {vdupq_n_f32(0.0f), vdupq_n_f32(0.0f)};
  for (uint32_t entry = 0; entry < args.n_selected; ++entry) {
    const Row row(args.v_pages, args.selected[entry], args.head_dim);
    const float scale = row.scale(dim);
    Eight value[E];
#pragma GCC unroll 4
    for (int e = 0; e < E; ++e) value[e] = row.at(dim + 8 * e);
#pragma GCC unroll 4
    for (int i = 0; i < Q; ++i) {
      float weight = weights[i * args.score_stride + entry];
      if constexpr (Row::kScaled) weight *= scale;
#pragma GCC unroll 4
      for (int e = 0; e < E; ++e) {
        sums[i][e].low = vfmaq_n_f32(sums[i][e].low, value[e].low, weight);
        sums[i][e].high = vfmaq_n_f32(sums[i][e].high, value[e].high, weight);
      }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < Q * E; ++i) {
    vst1q_f32(acc + (i / E) * head_dim + 8 * (i % E), sums[i / E][i % E].low);
    vst1q_f32(acc + (i / E) * head_dim + 8 * (i % E) + 4, sums[i / E][i % E].high);
  }
}

template <int Q, typename Row>
void refine_block(const LookupRefineArgs& args, uint32_t from) {
  for (uint32_t entry = 0; entry < args.n_selected; entry += 2) score_pair<Q, Row>(args, from, entry);
  bool any[Q];
  for (int i = 0; i < Q; ++i) {
    const uint64_t query = from + i;
    any[i] =
        weigh(args.scores + query * args.score_stride, 0, args.n_selected, args.max_out + query, args.sum_out + query);
  }
  uint32_t dim = 0;
  for (; dim + 16 <= args.head_dim; dim += 16) add_values<Q, 2, Row>(args, from, dim);
  for (; dim < args.head_dim; dim += 8) add_values<Q, 1, Row>(args, from, dim);
  for (int i = 0; i < Q; ++i) {
    float* acc = args.acc_out + uint64_t{from + i} * args.head_dim;
    for (uint32_t d = 0; !any[i] && d < args.head_dim; d += 4) vst1q_f32(acc + d, vdupq_n_f32(0.0f));
  }
}

template <typename Row>
void refine(const LookupRefineArgs& args) noexcept {
  uint32_t from = 0;
  for (; args.n_queries - from >= kMaxBlock; from += kMaxBlock) refine_block<4, Row>(args, from);
  switch (args.n_queries - from) {
    case 3: return refine_block<3, Row>(args, from);
    case 2: return refine_block<2, Row>(args, from);
    case 1: return refine_block<1, Row>(args, from);
    default: return;
  }
}

}  // namespace

void fill_lookup_values(KernelTable& table) noexcept {
  table.lookup.refine[static_cast<uint64_t>(KvType::kF16)] = refine<HalfRow>;
  table.lookup.refine[static_cast<uint64_t>(KvType::kQ8_0)] = refine<ByteRow>;
}

}  // namespace lutra::kernels::neon
