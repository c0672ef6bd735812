// Products with column strips, reference twin: one code at a time.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/column_kernels.h"
#include "kernels/kernels.h"
#include "kernels/scalar/float_math.h"
#include "kernels/scalar/scalar.h"

namespace lutra::kernels::scalar {
namespace {

constexpr uint32_t kHalfRows = kStripRows / 2;

/// The codes of a run, in the order of rows.
template <const ColumnShape& kShape>
void read_run(const uint8_t* run, int32_t* codes) {
  for (uint32_t half = 0; half < 2; ++half) {
    for (uint32_t j = 0; j < kHalfRows; ++j) {
      int32_t code;
      if constexpr (kShape.high == ColumnHigh::kWhole) {
        code = run[kHalfRows * half + j];
      } else {
        code = run[j] >> (4 * half) & 15;
        if constexpr (kShape.high == ColumnHigh::kFifthBit) code |= (run[32 + 4 * half + j / 8] >> j % 8 & 1) << 4;
        if constexpr (kShape.high == ColumnHigh::kTwoBits)
          code |= (run[32 + j % 16] >> 2 * (2 * half + j / 16) & 3) << 4;
      }
      codes[kHalfRows * half + column_row(j)] = code;
    }
  }
}

float half_at(const uint8_t* bytes) {
  uint16_t half;
  std::memcpy(&half, bytes, sizeof half);
  return f32_from_f16(half);
}

/// Σ code · plane of one strip's rows, over the quads [begin, end).
template <const ColumnShape& kShape>
void dot(const ColumnsArgs& args, uint32_t begin, uint32_t end, uint32_t t, const uint8_t* runs, int32_t* high,
         int32_t* low) {
  std::memset(high, 0, kStripRows * sizeof *high);
  std::memset(low, 0, kStripRows * sizeof *low);
  const int8_t* planes = args.channels.planes + t * args.channels.stride;
  for (uint32_t i = begin * kChannelQuad; i < end * kChannelQuad; ++i) {
    const int8_t* quad = planes + i / kChannelQuad * 8;
    int32_t codes[kStripRows];
    read_run<kShape>(runs + args.channels.channels[i] * kShape.channel_stride(args.strips), codes);
    for (uint32_t r = 0; r < kStripRows; ++r) {
      high[r] += codes[r] * quad[i % kChannelQuad];
      low[r] += codes[r] * quad[kChannelQuad + i % kChannelQuad];
    }
  }
}

/// Where a strip's parts of a super-block and one of its units stand.
template <const ColumnShape& kShape>
struct Place {
  const uint8_t* d;
  const uint8_t* m;
  const uint8_t* runs;
  const uint8_t* scales;
  const uint8_t* mins;

  Place(const ColumnsArgs& args, const uint8_t* super_block, uint32_t unit, uint32_t strip) {
    const uint64_t row = uint64_t{kStripRows} * strip, rows = uint64_t{kStripRows} * args.strips;
    d = super_block + 2 * row;
    m = d + 2 * rows;
    const uint8_t* start = super_block + kShape.row_bytes() * rows + unit * kShape.unit_bytes(args.strips);
    runs = start + strip * kShape.run_bytes;
    scales = start + 32 * kShape.channel_stride(args.strips) + row;
    mins = scales + kShape.scale_halves * rows;
  }
};

/// One scale a unit: see Wide of matmul.cc. |256 H + L| ≤ 32 · 255 · 32639 < 2^28.
template <const ColumnShape& kShape>
void add_wide(const ColumnsArgs& args, const Place<kShape>& at, uint32_t unit, uint32_t t, float* acc) {
  const uint32_t begin = unit == 0 ? 0 : args.channels.ends[unit - 1], end = args.channels.ends[unit];
  if (begin == end) return;
  const uint64_t block = uint64_t{t} * (args.k / 32) + unit;
  int32_t high[kStripRows], low[kStripRows];
  dot<kShape>(args, begin, end, t, at.runs, high, low);
  for (uint32_t r = 0; r < kStripRows; ++r) {
    const float d = half_at(at.d + 2 * r);
    const float w = kShape.scale_halves == 0 ? d : d * static_cast<float>(static_cast<int8_t>(at.scales[r]));
    int32_t sum = 256 * high[r] + low[r];
    if constexpr (kShape.high == ColumnHigh::kWhole) sum -= kShape.zero * args.sums[block];
    acc[r] = std::fma(static_cast<float>(sum), w * args.d[block], acc[r]);
    if constexpr (kShape.has_mins) {
      acc[r] = std::fma(-(half_at(at.m + 2 * r) * static_cast<float>(at.mins[r])), args.s[block], acc[r]);
    } else if constexpr (kShape.has_min) {
      acc[r] = std::fma(half_at(at.m + 2 * r), args.s[block], acc[r]);
    } else if constexpr (kShape.high != ColumnHigh::kWhole) {
      acc[r] = std::fma(static_cast<float>(-kShape.zero) * d, args.s[block], acc[r]);
    }
  }
}

/// A scale for each half of a unit: see Narrow of matmul.cc.
template <const ColumnShape& kShape>
void add_narrow(const ColumnsArgs& args, const Place<kShape>& at, uint32_t unit, uint32_t t, float* acc) {
  const uint32_t begin = unit == 0 ? 0 : args.channels.ends[2 * unit - 1];
  const uint32_t middle = args.channels.ends[2 * unit], end = args.channels.ends[2 * unit + 1];
  if (begin == end) return;
  const uint64_t block = uint64_t{t} * (args.k / 32) + unit;
  const uint64_t rows = uint64_t{kStripRows} * args.strips;
  int32_t high[2][kStripRows], low[2][kStripRows];
  dot<kShape>(args, begin, middle, t, at.runs, high[0], low[0]);
  dot<kShape>(args, middle, end, t, at.runs, high[1], low[1]);
  for (uint32_t r = 0; r < kStripRows; ++r) {
    const float d = half_at(at.d + 2 * r);
    const int32_t scales[2] = {static_cast<int8_t>(at.scales[r]), static_cast<int8_t>(at.scales[rows + r])};
    const auto scaled = [&](const int32_t(&sums)[2][kStripRows]) {
      return static_cast<float>(scales[0] * sums[0][r] + scales[1] * sums[1][r]);
    };
    acc[r] = std::fma(std::fma(scaled(high), 256.0f, scaled(low)), d * args.d[block], acc[r]);
    for (uint32_t h = 0; h < 2; ++h) {
      const float m = static_cast<float>(-kShape.zero) * (d * static_cast<float>(scales[h]));
      acc[r] = std::fma(m, args.s16[2 * block + h], acc[r]);
    }
  }
}

template <const ColumnShape& kShape>
void columns(const ColumnsArgs& args) noexcept {
  constexpr uint32_t kUnits = kShape.elements / 32;
  const uint64_t block_bytes = kShape.block_bytes(args.strips);
  for (uint32_t strip = args.strip_begin; strip < args.strip_end; ++strip) {
    const uint32_t row = (strip - args.strip_begin) * kStripRows;
    for (uint32_t t = 0; t < args.n; ++t) {
      float acc[kStripRows] = {};
      for (uint32_t unit = 0; unit < args.k / 32; ++unit) {
        const Place<kShape> at(args, args.group + unit / kUnits * block_bytes, unit % kUnits, strip);
        if constexpr (kShape.scale_halves == 2) {
          add_narrow<kShape>(args, at, unit, t, acc);
        } else {
          add_wide<kShape>(args, at, unit, t, acc);
        }
      }
      for (uint32_t r = 0; r < kStripRows && row + r < args.rows; ++r) args.out[t * args.out_stride + row + r] = acc[r];
    }
  }
}

}  // namespace

void fill_columns(KernelTable& table) noexcept {
  const auto set = [&](base::TensorType type, ColumnsFn function) {
    table.columns[static_cast<uint32_t>(type)] = function;
  };
  using base::TensorType;
  set(TensorType::Q4_0, columns<kColumnsQ4_0>);
  set(TensorType::Q4_1, columns<kColumnsQ4_1>);
  set(TensorType::Q5_0, columns<kColumnsQ5_0>);
  set(TensorType::Q8_0, columns<kColumnsQ8_0>);
  set(TensorType::Q4_K, columns<kColumnsQ4_K>);
  set(TensorType::Q6_K, columns<kColumnsQ6_K>);
}

}  // namespace lutra::kernels::scalar
