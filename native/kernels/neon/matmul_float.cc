// Matmul of F32, F16 and BF16 panels (element[k][8]): acc = fma(w[k], x[k], acc), ascending k, one lane per output.
// An output is one chain of dependent fused multiply-adds, so a tile keeps 8 or more accumulators going: few columns
// take several panels at once. Scalar twin: scalar/matmul.cc, equal bit for bit.
#include <arm_neon.h>

#include <cstdint>

#include "kernels/neon/matmul_sweep.h"
#include "kernels/neon/neon.h"

namespace lutra::kernels::neon {
namespace {

/// load: four neighbouring rows' elements of one k.
struct FromF32 {
  static constexpr uint32_t kElementBytes = 4;
  static LUTRA_INLINE float32x4_t load(const uint8_t* bytes) { return vreinterpretq_f32_u8(vld1q_u8(bytes)); }
};
struct FromF16 {
  static constexpr uint32_t kElementBytes = 2;
  static LUTRA_INLINE float32x4_t load(const uint8_t* bytes) { return load_halves(bytes); }
};
struct FromBF16 {
  static constexpr uint32_t kElementBytes = 2;
  static LUTRA_INLINE float32x4_t load(const uint8_t* bytes) {
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(bytes)), 16));
  }
};

template <typename From, int kPanels, int kColumns>
void float_tile(const MatmulArgs& args, uint32_t panel, uint32_t column) {
  constexpr uint32_t kRowGroupBytes = kPanelRows * From::kElementBytes;
  const uint8_t* weights = args.panels + panel * args.panel_bytes;
  const uint64_t k = args.k;
  const float* x = args.x + column * k;
  float32x4_t acc[2 * kPanels][kColumns];
#pragma GCC unroll 16
  for (int i = 0; i < 2 * kPanels * kColumns; ++i) acc[i / kColumns][i % kColumns] = vdupq_n_f32(0.0f);
  for (uint64_t i = 0; i < k; ++i, weights += kRowGroupBytes, ++x) {
#pragma GCC unroll 8
    for (int half = 0; half < 2 * kPanels; ++half) {
      const uint8_t* bytes = weights + (half / 2) * args.panel_bytes + (half % 2) * (kRowGroupBytes / 2);
      const float32x4_t w = From::load(bytes);
#pragma GCC unroll 8
      for (int c = 0; c < kColumns; ++c) acc[half][c] = vfmaq_n_f32(acc[half][c], w, x[c * k]);
    }
  }
#pragma GCC unroll 8
  for (int p = 0; p < kPanels; ++p) {
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) {
      store_rows(args, panel + static_cast<uint32_t>(p), column + static_cast<uint32_t>(c), acc[2 * p][c],
                 acc[2 * p + 1][c]);
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

}  // namespace lutra::kernels::neon
