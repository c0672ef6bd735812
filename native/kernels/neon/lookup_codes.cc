// NEON codes of keys and tables of queries; bit-equal to scalar/lookup_scan.cc.
#include <arm_neon.h>

#include "kernels/lookup_scale.h"
#include "kernels/neon/neon.h"

namespace lutra::kernels::neon {
namespace {

/// Low bytes of 16 lanes, in order.
uint8x16_t pack_bytes(const uint32x4_t (&lanes)[4]) {
  const uint16x8_t low = vcombine_u16(vmovn_u32(lanes[0]), vmovn_u32(lanes[1]));
  const uint16x8_t high = vcombine_u16(vmovn_u32(lanes[2]), vmovn_u32(lanes[3]));
  return vcombine_u8(vmovn_u16(low), vmovn_u16(high));
}

/// The nearest centroids of four positions, a code in each lane. A NaN distance is below nothing.
template <uint32_t kSub>
uint32x4_t nearest(const float* keys, const float* centroids) {
  float32x4_t best = vdupq_n_f32(__builtin_inff());
  uint32x4_t codes = vdupq_n_u32(0);
  for (uint32_t c = 0; c < kCentroids; ++c) {
    float32x4_t distance = vdupq_n_f32(0.0f);
    for (uint32_t j = 0; j < kSub; ++j) {
      const float32x4_t key = vld1q_f32(keys + j * kPagePositions);
      const float32x4_t difference = vsubq_f32(key, vdupq_n_f32(centroids[j * kCentroids + c]));
      distance = vfmaq_f32(distance, difference, difference);
    }
    const uint32x4_t nearer = vcltq_f32(distance, best);
    codes = vbslq_u32(nearer, vdupq_n_u32(c), codes);
    best = vbslq_f32(nearer, distance, best);
  }
  return codes;
}

template <uint32_t kSub>
void encode_rows(const LookupEncodeArgs& args) {
  for (uint32_t s = 0; s < args.n_subs; ++s) {
    const float* keys = args.keys + uint64_t{s} * kSub * kPagePositions;
    const float* centroids = args.centroids + uint64_t{s} * kSub * kCentroids;
    uint32x4_t codes[4];
    for (uint32_t i = 0; i < 4; ++i) {
      const uint32x4_t high = nearest<kSub>(keys + 16 + 4 * i, centroids);
      codes[i] = vorrq_u32(nearest<kSub>(keys + 4 * i, centroids), vshlq_n_u32(high, 4));
    }
    vst1q_u8(args.codes + uint64_t{s} * 16, pack_bytes(codes));
  }
}

/// Codes of four outliers of one dimension. FMIN and FMAX let NaN pass, and the conversion gives 0 for it.
uint32x4_t outlier_codes(const float* keys, float scale) {
  const float32x4_t ratio = vdivq_f32(vld1q_f32(keys), vdupq_n_f32(scale));
  const float32x4_t kept = vmaxq_f32(vminq_f32(ratio, vdupq_n_f32(127.0f)), vdupq_n_f32(-127.0f));
  return scale == 0.0f ? vdupq_n_u32(0) : vreinterpretq_u32_s32(vcvtnq_s32_f32(kept));
}

void encode_outliers(const LookupEncodeArgs& args) {
  uint8_t* out = args.codes + uint64_t{args.n_subs} * 16;
  for (uint32_t i = 0; i < args.n_outliers * kPagePositions; i += 16) {
    uint32x4_t codes[4];
    for (uint32_t j = 0; j < 4; ++j) {
      codes[j] = outlier_codes(args.outliers + i + 4 * j, args.outlier_scales[i / kPagePositions]);
    }
    vst1q_u8(out + i, pack_bytes(codes));
  }
}

void encode(const LookupEncodeArgs& args) noexcept {
  switch (args.d_sub) {
    case 1: encode_rows<1>(args); break;
    case 2: encode_rows<2>(args); break;
    default: encode_rows<4>(args); break;
  }
  encode_outliers(args);
}

/// The products of sub-vectors with their centroids, kept between the two passes over them.
class Products {
 public:
  /// Which zero a minimum is, where there are both, is not seen: it is added to others and taken off before rounding.
  TableSpans fill(const LookupTablesArgs& args) {
    TableSpans spans;
    uint32x4_t infinite = vdupq_n_u32(0);
    for (uint32_t s = 0; s < args.n_subs; ++s) {
      const float* query = args.query + uint64_t{s} * args.d_sub;
      const float* centroids = args.centroids + uint64_t{s} * args.d_sub * kCentroids;
      float32x4_t min = vdupq_n_f32(__builtin_inff()), max = vnegq_f32(min);
      for (uint32_t c = 0; c < kCentroids; c += 4) {
        float32x4_t entry = vdupq_n_f32(0.0f);
        for (uint32_t j = 0; j < args.d_sub; ++j) {
          entry = vfmaq_n_f32(entry, vld1q_f32(centroids + j * kCentroids + c), query[j]);
        }
        vst1q_f32(entries_[s] + c, entry);
        infinite = vorrq_u32(infinite, vmvnq_u32(vcaltq_f32(entry, vdupq_n_f32(__builtin_inff()))));
        min = vminq_f32(min, entry);
        max = vmaxq_f32(max, entry);
      }
      min_[s] = vminvq_f32(min);
      spans.add(min_[s], vmaxvq_f32(max));
    }
    spans.finite = vmaxvq_u32(infinite) == 0;
    return spans;
  }

  /// Entries of a row as bytes. Those that are not finite come with a scale of 0; what that gives, a NaN, converts to
  /// 0.
  uint8x16_t bytes(uint32_t s, float scale, uint32_t levels) const {
    uint32x4_t rounded[4];
    for (uint32_t i = 0; i < 4; ++i) {
      const float32x4_t above = vsubq_f32(vld1q_f32(entries_[s] + 4 * i), vdupq_n_f32(min_[s]));
      rounded[i] = vminq_u32(vcvtnq_u32_f32(vmulq_n_f32(above, scale)), vdupq_n_u32(levels));
    }
    return pack_bytes(rounded);
  }

 private:
  alignas(16) float entries_[kMaxSubVectors][kCentroids];
  float min_[kMaxSubVectors];
};

void tables(const LookupTablesArgs& args) noexcept {
  Products products;
  const float scale = table_scale(args, products.fill(args));
  for (uint32_t s = 0; s < args.n_subs; ++s) {
    vst1q_u8(args.tables + uint64_t{s} * kCentroids, products.bytes(s, scale, args.levels));
  }
}

}  // namespace

void fill_lookup_codes(KernelTable& table) noexcept {
  table.lookup.encode = encode;
  table.lookup.tables = tables;
}

}  // namespace lutra::kernels::neon
