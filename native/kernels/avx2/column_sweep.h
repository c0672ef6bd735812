// How a product with column strips walks a group, and its float arithmetic, for every type and both x86 paths: unit by
// unit, all strips of a unit before the next unit, since a channel's runs of a group stand side by side in memory and
// come from it together. The rows' partial sums stay on the stack. Scalar twin: scalar/columns.cc, equal bit for bit.
//
// A Path gives the integer sums of a strip's part (column_codes.h) and a quad list, over kTokens rows of activations:
//   kMaxTokens, vectors(shape, tokens)
//   joined<kShape, kTokens, kVectors, kPart>(quads, runs, sums)                     Σ code·(256·high + low)
//   scaled<kShape, kTokens, kVectors, kPart>(quads[2], runs, scales[2], high, low)  Σ scale·code·plane, planes apart
//   add_fifth(codes, word)
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/avx2/column_codes.h"
#include "kernels/avx2/column_units.h"
#include "kernels/column_kernels.h"
#include "kernels/kernels.h"

namespace lutra::kernels::avx2 {
namespace {

template <typename Path, const ColumnShape& kShape, int kN>
class ColumnSweep : ColumnUnits<kShape> {
 public:
  LUTRA_INLINE explicit ColumnSweep(const ColumnsArgs& args) : Units(args) {
    for (int t = 0; t < kN; ++t) std::memset(acc_[t], 0, sizeof(float) * kStripRows * width_);
  }

  LUTRA_INLINE void run() {
    this->begin_fetch(0);
    for (uint32_t unit = 0; unit < kBlockUnits; ++unit) {
      for (uint32_t i = 0; i < width_; ++i) this->fetch(unit, i);
    }
    for (uint32_t unit = 0; unit < units_; ++unit) {
      if (unit % kBlockUnits == 0) this->begin_fetch(unit + kBlockUnits);
      const uint32_t n = first_quad(unit + 1) - first_quad(unit);
      if constexpr (kN == 1 && !kNarrow) {
        switch (n) {
          case 1: add_strips<1>(unit); break;
          case 2: add_strips<2>(unit); break;
          case 3: add_strips<3>(unit); break;
          case 4: add_strips<4>(unit); break;
          case 5: add_strips<5>(unit); break;
          case 6: add_strips<6>(unit); break;
          case 7: add_strips<7>(unit); break;
          case 8: add_strips<8>(unit); break;
          default: add_strips<0>(unit);
        }
      } else {
        for (uint32_t i = 0; i < width_; ++i) {
          this->fetch(unit + kBlockUnits, i);
          if (n != 0) add_tokens<0>(place(unit, i), unit);
        }
      }
    }
    for (int t = 0; t < kN; ++t) {
      float* out = args_.out + static_cast<uint64_t>(t) * args_.out_stride;
      std::memcpy(out, acc_[t], sizeof(float) * args_.rows);
    }
  }

 private:
  using Units = ColumnUnits<kShape>;
  using Units::args_, Units::units_, Units::rows_, Units::width_, Units::listed_;
  using Units::first_quad, Units::kGranules, Units::kListed, Units::kNarrow;

  /// A strip's parts, and its rows' partial sums.
  struct Place : Units::Place {
    float* acc;
  };

  LUTRA_INLINE Place place(uint32_t unit, uint32_t i) {
    return {Units::place(unit, args_.strip_begin + i), acc_[0] + kStripRows * i};
  }

  /// A unit of kQuads quads: a loop of its own for each number, so that its length is no guess.
  template <uint32_t kQuads>
  LUTRA_INLINE void add_strips(uint32_t unit) {
    for (uint32_t i = 0; i < width_; ++i) {
      this->fetch(unit + kBlockUnits, i);
      if constexpr (kQuads != 0) {
        const ColumnQuads quads = {listed_[unit % kListed].offsets, args_.channels.planes + 8ull * first_quad(unit), 0,
                                   kQuads};
        add_parts<0, 1, 0>(&quads, place(unit, i), unit);
      }
    }
  }

  /// Rows of activations in turns of what a path has room for, as even as can be.
  template <int kFirst>
  LUTRA_INLINE void add_tokens(const Place& at, uint32_t unit) {
    constexpr int kTurns = (kN + Path::kMaxTokens - 1) / Path::kMaxTokens;
    constexpr int kTokens = kN / kTurns;
    static_assert(kTokens * kTurns == kN);
    const ChannelQuads& channels = args_.channels;
    const uint32_t* offsets = listed_[unit % kListed].offsets;
    uint32_t begin = first_quad(unit);
    ColumnQuads quads[kGranules];
#pragma GCC unroll 2
    for (uint32_t g = 0; g < kGranules; ++g) {
      const uint32_t end = channels.ends[unit * kGranules + g];
      quads[g] = {offsets, channels.planes + kFirst * channels.stride + 8ull * begin, channels.stride, end - begin};
      offsets += 4 * (end - begin);
      begin = end;
    }
    add_parts<kFirst, kTokens, 0>(quads, at, unit);
    if constexpr (kFirst + kTokens < kN) add_tokens<kFirst + kTokens>(at, unit);
  }

  template <int kFirst, int kTokens, int kPart>
  LUTRA_INLINE void add_parts(const ColumnQuads* quads, const Place& at, uint32_t unit) {
    constexpr int kVectors = Path::vectors(kShape, kTokens);
    if constexpr (kNarrow) {
      add_narrow<kFirst, kTokens, kVectors, kPart>(quads, at, unit);
    } else {
      add_wide<kFirst, kTokens, kVectors, kPart>(quads, at, unit);
    }
    if constexpr (kPart + 1 < 8 / kVectors) add_parts<kFirst, kTokens, kPart + 1>(quads, at, unit);
  }

  template <int kFirst, int kTokens, int kVectors, int kPart>
  LUTRA_INLINE void add_wide(const ColumnQuads* quads, const Place& at, uint32_t unit) {
    __m256i sums[kTokens * kVectors];
    Path::template joined<kShape, kTokens, kVectors, kPart>(quads[0], at.runs, sums);
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) {
      const int row = column_vector_row<kShape, kVectors>(kPart, i);
      const __m256 d = load_halves(at.d + 2 * row);
      const __m256 w = scale(at, row, d), m = offset(at, row, d);
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; ++t) {
        const uint64_t block = static_cast<uint64_t>(kFirst + t) * units_ + unit;
        __m256i sum = sums[t * kVectors + i];
        if constexpr (kShape.high == ColumnHigh::kWhole) {
          sum = _mm256_sub_epi32(sum, _mm256_set1_epi32(kShape.zero * args_.sums[block]));
        }
        float* place = at.acc + (kFirst + t) * kAccRows + row;
        __m256 acc = _mm256_load_ps(place);
        acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_mul_ps(w, _mm256_broadcast_ss(args_.d + block)), acc);
        if constexpr (kShape.high != ColumnHigh::kWhole) {
          acc = _mm256_fmadd_ps(m, _mm256_broadcast_ss(args_.s + block), acc);
        }
        _mm256_store_ps(place, acc);
      }
    }
  }

  template <int kFirst, int kTokens, int kVectors, int kPart>
  LUTRA_INLINE void add_narrow(const ColumnQuads* quads, const Place& at, uint32_t unit) {
    __m256i high[kTokens * kVectors], low[kTokens * kVectors], scales[2 * kVectors];
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) {
      const uint8_t* place = at.scales + column_vector_row<kShape, kVectors>(kPart, i);
      scales[i] = _mm256_cvtepi8_epi32(load_eight_bytes(place));
      scales[kVectors + i] = _mm256_cvtepi8_epi32(load_eight_bytes(place + rows_));
    }
    Path::template scaled<kShape, kTokens, kVectors, kPart>(quads, at.runs, scales, high, low);
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) {
      const int row = column_vector_row<kShape, kVectors>(kPart, i);
      const __m256 d = load_halves(at.d + 2 * row), zero = _mm256_set1_ps(static_cast<float>(-kShape.zero));
      const __m256 first = _mm256_mul_ps(zero, _mm256_mul_ps(d, _mm256_cvtepi32_ps(scales[i])));
      const __m256 second = _mm256_mul_ps(zero, _mm256_mul_ps(d, _mm256_cvtepi32_ps(scales[kVectors + i])));
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; ++t) {
        const uint64_t block = static_cast<uint64_t>(kFirst + t) * units_ + unit;
        const __m256 sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(high[t * kVectors + i]), _mm256_set1_ps(256.0f),
                                           _mm256_cvtepi32_ps(low[t * kVectors + i]));
        float* place = at.acc + (kFirst + t) * kAccRows + row;
        __m256 acc = _mm256_load_ps(place);
        acc = _mm256_fmadd_ps(sum, _mm256_mul_ps(d, _mm256_broadcast_ss(args_.d + block)), acc);
        acc = _mm256_fmadd_ps(first, _mm256_broadcast_ss(args_.s16 + 2 * block), acc);
        acc = _mm256_fmadd_ps(second, _mm256_broadcast_ss(args_.s16 + 2 * block + 1), acc);
        _mm256_store_ps(place, acc);
      }
    }
  }

  static LUTRA_INLINE __m256 scale(const Place& at, int row, __m256 d) {
    if constexpr (kShape.scale_halves == 0) return d;
    return _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(load_eight_bytes(at.scales + row))));
  }

  static LUTRA_INLINE __m256 offset(const Place& at, int row, __m256 d) {
    if constexpr (kShape.has_mins) {
      const __m256 codes = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(load_eight_bytes(at.mins + row)));
      return _mm256_xor_ps(_mm256_mul_ps(load_halves(at.m + 2 * row), codes), _mm256_set1_ps(-0.0f));
    }
    if constexpr (kShape.has_min) return load_halves(at.m + 2 * row);
    return _mm256_mul_ps(_mm256_set1_ps(static_cast<float>(-kShape.zero)), d);
  }

  static constexpr uint32_t kAccRows = kMaxGroupStrips * kStripRows;

  alignas(32) float acc_[kN][kAccRows];
};

template <typename Path, const ColumnShape& kShape>
void columns(const ColumnsArgs& args) noexcept {
  if (args.strip_begin >= args.strip_end) return;
  static_assert(kColumnTokens == 4);
  switch (args.n) {
    case 1: return ColumnSweep<Path, kShape, 1>(args).run();
    case 2: return ColumnSweep<Path, kShape, 2>(args).run();
    case 3: return ColumnSweep<Path, kShape, 3>(args).run();
    case 4: return ColumnSweep<Path, kShape, 4>(args).run();
    default: return;
  }
}

template <typename Path>
void set_columns(KernelTable& table) noexcept {
  const auto set = [&](base::TensorType type, ColumnsFn function) {
    table.columns[static_cast<uint32_t>(type)] = function;
  };
  using base::TensorType;
  set(TensorType::Q4_0, columns<Path, kColumnsQ4_0>);
  set(TensorType::Q4_1, columns<Path, kColumnsQ4_1>);
  set(TensorType::Q5_0, columns<Path, kColumnsQ5_0>);
  set(TensorType::Q8_0, columns<Path, kColumnsQ8_0>);
  set(TensorType::Q4_K, columns<Path, kColumnsQ4_K>);
  set(TensorType::Q6_K, columns<Path, kColumnsQ6_K>);
}

}  // namespace
}  // namespace lutra::kernels::avx2
