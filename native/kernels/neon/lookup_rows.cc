// NEON attention over listed rows of 8 bits; bit-equal to scalar/lookup_rows.cc, with which packing stays. A key or
// value is widened once for a block of up to four queries.
#include <arm_neon.h>

#include "kernels/lookup_row.h"
#include "kernels/neon/attention_lanes.h"
#include "kernels/neon/neon.h"

namespace lutra::kernels::neon {
namespace {

constexpr uint32_t kMaxBlock = 4;

/// scores[i · stride + entry] of Q queries.
template <int Q>
void score(const LookupRefineArgs& args, uint32_t from, uint32_t entry) {
  const LookupRow row = lookup_row(args.rows, args.selected[entry], args.head_dim);
  int32x4_t low[Q], high[Q];
  for (int i = 0; i < Q; ++i) low[i] = high[i] = vdupq_n_s32(0);
  for (uint32_t d = 0; d < args.head_dim; d += 8) {
    const int16x8_t key = vmovl_s8(vld1_s8(row.key + d));
#pragma GCC unroll 4
    for (int i = 0; i < Q; ++i) {
      const int16x8_t query = vld1q_s16(args.queries[from + static_cast<uint32_t>(i)] + d);
      low[i] = vmlal_s16(low[i], vget_low_s16(key), vget_low_s16(query));
      high[i] = vmlal_high_s16(high[i], key, query);
    }
  }
  for (uint32_t i = 0; i < Q; ++i) {
    const auto sum = static_cast<float>(vaddvq_s32(vaddq_s32(low[i], high[i])));
    const float scale = args.query_scales[from + i] * row_scale_value(row.scales[0]);
    args.scores[(from + i) * args.score_stride + entry] = __builtin_fmaf(sum, scale, args.query_biases[from + i]);
  }
}

/// Eight neighbouring dimensions.
struct Eight {
  float32x4_t low, high;
};

/// acc[i][dim..] += Σ weight · v in list order, for E times eight dimensions.
template <int Q, int E>
void add_values(const LookupRefineArgs& args, uint32_t from, uint32_t dim) {
  const uint64_t head_dim = args.head_dim;
  float* acc = args.acc_out + from * head_dim + dim;
  const float* weights = args.scores + from * args.score_stride;
  Eight sums[Q][E];
#pragma GCC unroll 16
  for (int i = 0; i < Q * E; ++i) sums[i / E][i % E] = {vdupq_n_f32(0.0f), vdupq_n_f32(0.0f)};
  for (uint32_t entry = 0; entry < args.n_selected; ++entry) {
    const LookupRow row = lookup_row(args.rows, args.selected[entry], args.head_dim);
    const float scale = row_scale_value(row.scales[1]);
    Eight value[E];
#pragma GCC unroll 4
    for (int e = 0; e < E; ++e) {
      const int16x8_t codes = vmovl_s8(vld1_s8(row.value + dim + 8 * e));
      value[e] = {vcvtq_f32_s32(vmovl_s16(vget_low_s16(codes))), vcvtq_f32_s32(vmovl_high_s16(codes))};
    }
#pragma GCC unroll 4
    for (int i = 0; i < Q; ++i) {
      const float weight = weights[static_cast<uint64_t>(i) * args.score_stride + entry] * scale;
#pragma GCC unroll 4
      for (int e = 0; e < E; ++e) {
        sums[i][e].low = vfmaq_n_f32(sums[i][e].low, value[e].low, weight);
        sums[i][e].high = vfmaq_n_f32(sums[i][e].high, value[e].high, weight);
      }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < Q * E; ++i) {
    vst1q_f32(acc + static_cast<uint64_t>(i / E) * head_dim + 8 * (i % E), sums[i / E][i % E].low);
    vst1q_f32(acc + static_cast<uint64_t>(i / E) * head_dim + 8 * (i % E) + 4, sums[i / E][i % E].high);
  }
}

template <int Q>
void refine_block(const LookupRefineArgs& args, uint32_t from) {
  for (uint32_t entry = 0; entry < args.n_selected; ++entry) score<Q>(args, from, entry);
  bool any[Q];
  for (int i = 0; i < Q; ++i) {
    const uint64_t query = from + static_cast<uint32_t>(i);
    any[i] =
        weigh(args.scores + query * args.score_stride, 0, args.n_selected, args.max_out + query, args.sum_out + query);
  }
  uint32_t dim = 0;
  for (; dim + 16 <= args.head_dim; dim += 16) add_values<Q, 2>(args, from, dim);
  for (; dim < args.head_dim; dim += 8) add_values<Q, 1>(args, from, dim);
  for (uint32_t i = 0; i < Q; ++i) {
    float* acc = args.acc_out + uint64_t{from + i} * args.head_dim;
    for (uint32_t d = 0; !any[i] && d < args.head_dim; d += 4) vst1q_f32(acc + d, vdupq_n_f32(0.0f));
  }
}

void refine(const LookupRefineArgs& args) noexcept {
  uint32_t from = 0;
  for (; args.n_queries - from >= kMaxBlock; from += kMaxBlock) refine_block<4>(args, from);
  switch (args.n_queries - from) {
    case 3: return refine_block<3>(args, from);
    case 2: return refine_block<2>(args, from);
    case 1: return refine_block<1>(args, from);
    default: return;
  }
}

}  // namespace

void fill_lookup_rows(KernelTable& table) noexcept { table.lookup.refine = refine; }

}  // namespace lutra::kernels::neon
