// Products with column strips. Scalar twin: scalar/columns.cc, equal bit for bit.
//
// The codes of a quad's channels are interleaved, bytes and then pairs of bytes, so that a 32-bit lane holds a row's
// four: what sdot takes, with the quad's four activations of a plane as its other operand. Codes stay below 128, and
// those of Q8_0 are taken back to int8 (its sums of activations are not needed then), so bytes are signed.
// A plane's sum is at most 32·128·127 < 2^19, joined 256·high + low < 2^27; times sub-scales 32·63·127·128 < 2^25.
// Units are outermost and a unit's strips follow: a channel's runs of a group are side by side.
#include <arm_neon.h>

#include <cstdint>
#include <cstring>

#include "kernels/column_kernels.h"
#include "kernels/neon/matmul_codes.h"
#include "kernels/neon/neon.h"

namespace lutra::kernels::neon {
namespace {

/// A run in registers' worth of 16 rows: piece p is of half p / 2.
constexpr int kRunPieces = 4;

/// The first row of the four whose sums are vector i of a piece.
constexpr uint32_t piece_row(uint32_t piece, uint32_t i) { return 32 * (piece / 2) + 4 * (piece % 2) + 8 * i; }
// column_layout.h's functions are for constants only: of one that runs, the linker might keep this path's code.
static_assert(piece_row(1, 3) == column_row(16 + 4 * 3) && piece_row(2, 1) == kStripRows / 2 + column_row(4));

template <const ColumnShape& kShape, int kPiece>
LUTRA_INLINE uint8x16_t load_piece(const uint8_t* run) {
  if constexpr (kShape.high == ColumnHigh::kWhole) return veorq_u8(vld1q_u8(run + 16 * kPiece), vdupq_n_u8(128));
  uint8x16_t codes = vld1q_u8(run + 16 * (kPiece % 2));
  codes = kPiece < 2 ? vandq_u8(codes, vdupq_n_u8(15)) : vshrq_n_u8(codes, 4);
  if constexpr (kShape.high == ColumnHigh::kFifthBit) {
    // Of the run's eight bytes of bits, the piece's two, each for the eight codes whose bits it holds.
    const uint8x16_t bytes = vcombine_u8(vdup_n_u8(2 * kPiece), vdup_n_u8(2 * kPiece + 1));
    const uint8x16_t bits = vqtbl1q_u8(vcombine_u8(vld1_u8(run + 32), vdup_n_u8(0)), bytes);
    const uint8x16_t set = vtstq_u8(bits, vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201)));
    codes = vorrq_u8(codes, vandq_u8(set, vdupq_n_u8(16)));
  }
  if constexpr (kShape.high == ColumnHigh::kTwoBits) {
    codes = vorrq_u8(codes, vandq_u8(shifted<4 - 2 * kPiece>(vld1q_u8(run + 32)), vdupq_n_u8(48)));
  }
  return codes;
}

/// Four rows a vector, four channels a row.
struct QuadCodes {
  int8x16_t rows[4];

  LUTRA_INLINE QuadCodes(uint8x16_t a, uint8x16_t b, uint8x16_t c, uint8x16_t d) {
    const uint16x8_t ab[2] = {vreinterpretq_u16_u8(vzip1q_u8(a, b)), vreinterpretq_u16_u8(vzip2q_u8(a, b))};
    const uint16x8_t cd[2] = {vreinterpretq_u16_u8(vzip1q_u8(c, d)), vreinterpretq_u16_u8(vzip2q_u8(c, d))};
    for (int i = 0; i < 2; ++i) {
      rows[2 * i] = vreinterpretq_s8_u16(vzip1q_u16(ab[i], cd[i]));
      rows[2 * i + 1] = vreinterpretq_s8_u16(vzip2q_u16(ab[i], cd[i]));
    }
  }
};

/// Where a strip's parts of a super-block and one of its units stand.
template <const ColumnShape& kShape>
struct Place {
  uint64_t rows;  ///< of the group
  const uint8_t* d;
  const uint8_t* m;
  const uint8_t* runs;
  const uint8_t* scales;
  const uint8_t* mins;

  LUTRA_INLINE Place(const ColumnsArgs& args, uint32_t unit, uint32_t strip)
      : rows(uint64_t{kStripRows} * args.strips) {
    constexpr uint32_t kUnits = kShape.elements / 32;
    constexpr uint64_t kRowBytes = kShape.row_bytes();
    const uint8_t* super_block = args.group + unit / kUnits * kShape.block_bytes(args.strips);
    const uint64_t row = uint64_t{kStripRows} * strip;
    d = super_block + 2 * row;
    m = d + 2 * rows;
    const uint8_t* start = super_block + kRowBytes * rows + unit % kUnits * kShape.unit_bytes(args.strips);
    runs = start + strip * kShape.run_bytes;
    scales = start + 32 * kShape.channel_stride(args.strips) + row;
    mins = scales + kShape.scale_halves * rows;
  }
};

/// Σ code · plane of kPieces pieces from kFirst on, of kTokens activation rows: with both planes 16 registers.
template <const ColumnShape& kShape, int kTokens, int kFirst, int kPieces>
struct Sums {
  int32x4_t high[kTokens][4 * kPieces], low[kTokens][4 * kPieces];

  /// Over the quads [begin, end) and the activation rows from t on.
  LUTRA_INLINE Sums(const ColumnsArgs& args, uint32_t begin, uint32_t end, uint32_t t, const uint8_t* runs) {
    for (int c = 0; c < kTokens; ++c) {
      for (int i = 0; i < 4 * kPieces; ++i) high[c][i] = low[c][i] = vdupq_n_s32(0);
    }
    const uint64_t pitch = kShape.channel_stride(args.strips);
    const int8_t* planes = args.channels.planes + t * args.channels.stride;
    for (uint64_t quad = begin; quad < end; ++quad) {
      const uint8_t* channels = args.channels.channels + quad * kChannelQuad;
      const uint8_t* const run[] = {runs + channels[0] * pitch, runs + channels[1] * pitch, runs + channels[2] * pitch,
                                    runs + channels[3] * pitch};
      int8x8_t x[kTokens];
      for (int c = 0; c < kTokens; ++c) x[c] = vld1_s8(planes + c * args.channels.stride + quad * 8);
      add<0>(run, x);
      if constexpr (kPieces == 2) add<1>(run, x);
    }
  }

 private:
  template <int kAt>
  LUTRA_INLINE void add(const uint8_t* const* run, const int8x8_t* x) {
    constexpr int kPiece = kFirst + kAt;
    const QuadCodes codes(load_piece<kShape, kPiece>(run[0]), load_piece<kShape, kPiece>(run[1]),
                          load_piece<kShape, kPiece>(run[2]), load_piece<kShape, kPiece>(run[3]));
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      for (int c = 0; c < kTokens; ++c) {
        int32x4_t &h = high[c][4 * kAt + i], &l = low[c][4 * kAt + i];
        h = vdotq_lane_s32(h, codes.rows[i], x[c], 0);
        l = vdotq_lane_s32(l, codes.rows[i], x[c], 1);
      }
    }
  }
};

/// One scale a unit: see matmul_wide.h. `acc` is of the first of the activation rows, the next `stride` floats on.
template <const ColumnShape& kShape, int kTokens, int kFirst, int kPieces>
LUTRA_INLINE void add_wide(const ColumnsArgs& args, const Place<kShape>& at, uint32_t unit, uint32_t t, float* acc,
                           uint64_t stride) {
  constexpr bool kHasOffset = kShape.has_min || kShape.high != ColumnHigh::kWhole;
  const uint32_t begin = unit == 0 ? 0 : args.channels.ends[unit - 1];
  const Sums<kShape, kTokens, kFirst, kPieces> sums(args, begin, args.channels.ends[unit], t, at.runs);
  for (int i = 0; i < 4 * kPieces; ++i) {
    const uint32_t row = piece_row(kFirst + i / 4, i % 4);
    const float32x4_t d = load_halves(at.d + 2 * row);
    float32x4_t w = d, m = vmulq_n_f32(d, static_cast<float>(-kShape.zero));
    if constexpr (kShape.scale_halves != 0) w = vmulq_f32(d, vcvtq_f32_s32(load_signed(at.scales + row)));
    if constexpr (kShape.has_min) m = load_halves(at.m + 2 * row);
    if constexpr (kShape.has_mins) m = vnegq_f32(vmulq_f32(m, vcvtq_f32_s32(load_unsigned(at.mins + row))));
    for (int c = 0; c < kTokens; ++c) {
      const uint64_t block = uint64_t{t + static_cast<uint32_t>(c)} * (args.k / 32) + unit;
      float* out = acc + c * stride + row;
      const int32x4_t sum = vaddq_s32(vshlq_n_s32(sums.high[c][i], 8), sums.low[c][i]);
      float32x4_t total = vfmaq_f32(vld1q_f32(out), vcvtq_f32_s32(sum), vmulq_n_f32(w, args.d[block]));
      if constexpr (kHasOffset) total = vfmaq_n_f32(total, m, args.s[block]);
      vst1q_f32(out, total);
    }
  }
}

/// A scale for each half of a unit: see matmul_narrow.h.
template <const ColumnShape& kShape, int kTokens, int kFirst, int kPieces>
LUTRA_INLINE void add_narrow(const ColumnsArgs& args, const Place<kShape>& at, uint32_t unit, uint32_t t, float* acc,
                             uint64_t stride) {
  using HalfSums = Sums<kShape, kTokens, kFirst, kPieces>;
  const uint32_t begin = unit == 0 ? 0 : args.channels.ends[2 * unit - 1], middle = args.channels.ends[2 * unit];
  const HalfSums first(args, begin, middle, t, at.runs);
  const HalfSums second(args, middle, args.channels.ends[2 * unit + 1], t, at.runs);
  for (int i = 0; i < 4 * kPieces; ++i) {
    const uint32_t row = piece_row(kFirst + i / 4, i % 4);
    const float32x4_t d = load_halves(at.d + 2 * row);
    const int32x4_t scales[] = {load_signed(at.scales + row), load_signed(at.scales + at.rows + row)};
    const auto offset = [&](int32x4_t scale) {
      return vmulq_n_f32(vmulq_f32(d, vcvtq_f32_s32(scale)), static_cast<float>(-kShape.zero));
    };
    for (int c = 0; c < kTokens; ++c) {
      const uint64_t block = uint64_t{t + static_cast<uint32_t>(c)} * (args.k / 32) + unit;
      float* out = acc + c * stride + row;
      const int32x4_t high = vmlaq_s32(vmulq_s32(first.high[c][i], scales[0]), second.high[c][i], scales[1]);
      const int32x4_t low = vmlaq_s32(vmulq_s32(first.low[c][i], scales[0]), second.low[c][i], scales[1]);
      const float32x4_t sum = vfmaq_n_f32(vcvtq_f32_s32(low), vcvtq_f32_s32(high), 256.0f);
      float32x4_t total = vfmaq_f32(vld1q_f32(out), sum, vmulq_n_f32(d, args.d[block]));
      total = vfmaq_n_f32(total, offset(scales[0]), args.s16[2 * block]);
      vst1q_f32(out, vfmaq_n_f32(total, offset(scales[1]), args.s16[2 * block + 1]));
    }
  }
}

/// A unit of one strip with one or two activation rows. With one, twice the rows of the strip at a time; not where
/// codes have high bits: GCC 12 then works on both pieces' codes at once and spills the sums.
template <const ColumnShape& kShape, int kTokens, int kFirst = 0>
void add_unit(const ColumnsArgs& args, const Place<kShape>& at, uint32_t unit, uint32_t t, float* acc,
              uint64_t stride) {
  constexpr bool kHighBits = kShape.high == ColumnHigh::kFifthBit || kShape.high == ColumnHigh::kTwoBits;
  constexpr int kPieces = kTokens == 1 && !kHighBits ? 2 : 1;
  if constexpr (kShape.scale_halves == 2) {
    add_narrow<kShape, kTokens, kFirst, kPieces>(args, at, unit, t, acc, stride);
  } else {
    add_wide<kShape, kTokens, kFirst, kPieces>(args, at, unit, t, acc, stride);
  }
  if constexpr (kFirst + kPieces < kRunPieces) {
    add_unit<kShape, kTokens, kFirst + kPieces>(args, at, unit, t, acc, stride);
  }
}

template <const ColumnShape& kShape>
void columns(const ColumnsArgs& args) noexcept {
  constexpr uint32_t kGranules = kShape.scale_halves == 2 ? 2 : 1;
  const uint64_t stride = uint64_t{kStripRows} * (args.strip_end - args.strip_begin);
  float acc[kColumnTokens * kMaxGroupStrips * kStripRows];
  std::memset(acc, 0, args.n * stride * sizeof *acc);
  for (uint32_t unit = 0; unit < args.k / 32; ++unit) {
    const uint32_t begin = unit == 0 ? 0 : args.channels.ends[kGranules * unit - 1];
    if (begin == args.channels.ends[kGranules * unit + kGranules - 1]) continue;
    for (uint32_t strip = args.strip_begin; strip < args.strip_end; ++strip) {
      const Place<kShape> at(args, unit, strip);
      float* strip_acc = acc + uint64_t{kStripRows} * (strip - args.strip_begin);
      uint32_t t = 0;
      for (; t + 2 <= args.n; t += 2) add_unit<kShape, 2>(args, at, unit, t, strip_acc + t * stride, stride);
      if (t < args.n) add_unit<kShape, 1>(args, at, unit, t, strip_acc + t * stride, stride);
    }
  }
  for (uint32_t t = 0; t < args.n; ++t) {
    std::memcpy(args.out + t * args.out_stride, acc + t * stride, args.rows * sizeof *acc);
  }
}

}  // namespace

void fill_columns(KernelTable& table) noexcept {
  using base::TensorType;
  const auto set = [&](TensorType type, ColumnsFn function) { table.columns[static_cast<uint32_t>(type)] = function; };
  set(TensorType::Q4_0, columns<kColumnsQ4_0>);
  set(TensorType::Q4_1, columns<kColumnsQ4_1>);
  set(TensorType::Q5_0, columns<kColumnsQ5_0>);
  set(TensorType::Q8_0, columns<kColumnsQ8_0>);
  set(TensorType::Q4_K, columns<kColumnsQ4_K>);
  set(TensorType::Q6_K, columns<kColumnsQ6_K>);
}

}  // namespace lutra::kernels::neon
