// Matmul of F32, F16 and BF16 panels (element[k][8]): acc = fma(w[k], x[k], acc), ascending k, one lane per output.
// The FMA chain of one output has 4 cycles of latency, so a tile keeps up to 8 accumulators going: few columns take
// several panels at once, more columns fewer. Scalar twin: scalar/matmul.cc, equal bit for bit.
#include <immintrin.h>

#include <cstdint>

#include "kernels/avx2/matmul_families.h"
#include "kernels/avx2/matmul_sweep.h"

namespace lutra::kernels::avx2 {
namespace {

struct FromF32 {
  static constexpr uint32_t kRowGroupBytes = 32;
  static inline __m256 load(const uint8_t* bytes) { return _mm256_loadu_ps(reinterpret_cast<const float*>(bytes)); }
};
struct FromF16 {
  static constexpr uint32_t kRowGroupBytes = 16;
  static inline __m256 load(const uint8_t* bytes) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
  }
};
struct FromBF16 {
  static constexpr uint32_t kRowGroupBytes = 16;
  static inline __m256 load(const uint8_t* bytes) {
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
  }
};

template <typename From, int kPanels, int kColumns>
void float_tile(const MatmulArgs& args, uint32_t panel, uint32_t column) {
  const uint8_t* weights = args.panels + panel * args.panel_bytes;
  const uint64_t k = args.k;
  const float* x = args.x + column * k;
  __m256 acc[kPanels][kColumns];
#pragma GCC unroll 8
  for (int i = 0; i < kPanels * kColumns; ++i) acc[i / kColumns][i % kColumns] = _mm256_setzero_ps();
  for (uint64_t i = 0; i < k; ++i, weights += From::kRowGroupBytes, ++x) {
    __m256 w[kPanels];
#pragma GCC unroll 8
    for (int p = 0; p < kPanels; ++p) w[p] = From::load(weights + p * args.panel_bytes);
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) {
      const __m256 factor = _mm256_broadcast_ss(x + c * k);
#pragma GCC unroll 8
      for (int p = 0; p < kPanels; ++p) acc[p][c] = _mm256_fmadd_ps(w[p], factor, acc[p][c]);
    }
  }
#pragma GCC unroll 8
  for (int p = 0; p < kPanels; ++p) {
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) {
      store_rows(args, panel + static_cast<uint32_t>(p), column + static_cast<uint32_t>(c), acc[p][c]);
    }
  }
}

template <typename From, int kPanels>
void columns_tile(const MatmulArgs& args, uint32_t panel, uint32_t column, uint32_t n_columns) {
  switch (n_columns) {
    case 1: return float_tile<From, kPanels, 1>(args, panel, column);
    case 2: return float_tile<From, kPanels, 2>(args, panel, column);
    case 3: return float_tile<From, kPanels, 3>(args, panel, column);
    default: return float_tile<From, kPanels, 4>(args, panel, column);
  }
}

template <typename From>
void matmul_floats(const MatmulArgs& args) noexcept {
  const Split tiles = split_evenly(args.n, 4);
  const uint32_t wide = args.n <= 2 ? 4 : 2;
  uint32_t panel = args.panel_begin;
  while (panel < args.panel_end) {
    const uint32_t left = args.panel_end - panel;
    const uint32_t n_panels = left < wide ? left : wide;
    uint32_t column = 0;
    for (uint32_t tile = 0; tile < tiles.parts; ++tile) {
      const uint32_t n_columns = tiles.size + (tile < tiles.larger ? 1 : 0);
      if (n_panels == 4) columns_tile<From, 4>(args, panel, column, n_columns);
      if (n_panels == 3) columns_tile<From, 3>(args, panel, column, n_columns);
      if (n_panels == 2) columns_tile<From, 2>(args, panel, column, n_columns);
      if (n_panels == 1) columns_tile<From, 1>(args, panel, column, n_columns);
      column += n_columns;
    }
    panel += n_panels;
  }
}

}  // namespace

void fill_matmul_float(KernelTable& table) noexcept {
  using base::TensorType;
  table.matmul[static_cast<uint32_t>(TensorType::F32)] = matmul_floats<FromF32>;
  table.matmul[static_cast<uint32_t>(TensorType::F16)] = matmul_floats<FromF16>;
  table.matmul[static_cast<uint32_t>(TensorType::BF16)] = matmul_floats<FromBF16>;
}

}  // namespace lutra::kernels::avx2
