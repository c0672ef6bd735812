// Matmul of packed panels, reference twin. One policy per GGUF type says how a unit's codes become a scale, an offset
// and integers; matmul_tile.h has the loop and the order of float operations.
#include <bit>
#include <cstdint>
#include <cstring>

#include "kernels/scalar/matmul_tile.h"
#include "kernels/scalar/scalar.h"

namespace lutra::kernels::scalar {
namespace {

/// acc[r] = fma(sums[r], scale[r] · d_a, acc[r])
inline void add_products(const float* sums, const float* scale, float d_a, float* acc) {
  float factors[8];
  for (int r = 0; r < 8; ++r) factors[r] = scale[r] * d_a;
  fma8(sums, factors, acc);
}

/// acc[r] = fma(m[r], s, acc[r])
inline void add_offsets(const float* m, float s, float* acc) {
  const float eight[8] = {s, s, s, s, s, s, s, s};
  fma8(m, eight, acc);
}

/// Sub-scales 32 wide: float scale w and offset m per row and unit.
/// 256·H + L fits int32: at most 32 · 128 · (256·127 + 127) = 133.7e6 < 2^27 (int8 weights).
template <const PanelShape& kPanel, Codes kCodes, int kZero>
struct Wide {
  static constexpr const PanelShape& kShape = kPanel;
  static constexpr bool kHasMin = kPanel.min_offset != 0;
  static constexpr bool kHasOffset = kHasMin || kZero != 0;
  static constexpr int kRun = kCodes == Codes::kUnsigned ? 8 : 2;
  float d[8], super_min[8], w[8], m[8];
  UnitCodes codes;

  void begin(const uint8_t* super_block) {
    load_row_scales<kPanel.d>(super_block, d);
    if constexpr (kHasMin) load_halves(super_block + kPanel.min_offset, super_min);
  }

  void unit(const uint8_t* super_block, uint32_t u) {
    for (int r = 0; r < 8; ++r) {
      w[r] = d[r];
      if constexpr (kPanel.scale_offset != 0) {
        w[r] = d[r] * static_cast<float>(static_cast<int8_t>(super_block[kPanel.scale_offset + 8 * u + r]));
      }
      if constexpr (kPanel.mins_offset != 0) {
        m[r] = -(super_min[r] * static_cast<float>(super_block[kPanel.mins_offset + 8 * u + r]));
      } else if constexpr (kHasMin) {
        m[r] = super_min[r];
      } else {
        m[r] = static_cast<float>(-kZero) * d[r];  // exact: kZero is a power of two
      }
    }
    const uint8_t* bytes = super_block + kPanel.unit_offset + u * kPanel.unit_bytes;
    unpack_unit<kPanel.low, kPanel.high, kCodes>(bytes, codes);
  }

  void accumulate(const int8_t* planes, float d_a, float s_a, const float*, float* acc) const {
    int32_t high[8], low[8];
    float sums[8];
    dot<0, 8, kRun>(codes, planes, high);
    dot<0, 8, kRun>(codes, planes + kBlock, low);
    for (int r = 0; r < 8; ++r) sums[r] = static_cast<float>(256 * high[r] + low[r]);
    add_products(sums, w, d_a, acc);
    if constexpr (kHasOffset) add_offsets(m, s_a, acc);
  }
};

/// Split Q8_0: units are joined to bytes, then as Q8_0.
struct Split : Wide<kPanelQ8_0, Codes::kSignedByte, 0> {
  static constexpr const PanelShape& kShape = kPanelQ4_0;
  const uint8_t* low;

  void unit(const uint8_t* super_block, uint32_t) {
    const uint8_t* high = super_block + kPanelQ4_0.unit_offset;
    uint8_t bytes[8 * 32];
    for (int j = 0; j < 8; ++j) {
      for (int i = 0; i < 32; ++i) {
        const int at = 32 * (j % 4) + i, shift = 4 * (j / 4);
        const int code = 16 * ((high[at] >> shift) & 15) + ((low[at] >> shift) & 15);
        bytes[32 * j + i] = static_cast<uint8_t>(code ^ 128);  // as int8: code − 128
      }
    }
    low += kSplitLowUnit;
    for (int r = 0; r < 8; ++r) w[r] = d[r];
    unpack_unit<LowBits::kByte, HighBits::kNone, Codes::kSignedByte>(bytes, codes);
  }
};

/// Sub-scales 16 wide, kept as integers: a plane's sum is Σ_h sc_h · Σ code·a over the two halves of a unit, at most
/// 32 · 128 · 63 · 127 = 32.8e6 < 2^25. 256 times that leaves int32, so the planes meet in float. The zero point and
/// Q2_K's mins are float offsets m_h: −zero · (d·sc_h), −(dmin·mn_h).
template <const PanelShape& kPanel, int kZero>
struct Narrow {
  static constexpr const PanelShape& kShape = kPanel;
  static constexpr bool kHasMin = kPanel.min_offset != 0;
  float d[8], min[8], m[2][8];
  int32_t scales[2][8];
  UnitCodes codes;

  void begin(const uint8_t* super_block) {
    load_halves(super_block, d);
    if constexpr (kHasMin) load_halves(super_block + kPanel.min_offset, min);
  }

  void unit(const uint8_t* super_block, uint32_t u) {
    const uint8_t* bytes = super_block + kPanel.scale_offset + 16 * u;
    for (int i = 0; i < 16; ++i) {
      const int h = i / 8, r = i % 8;
      scales[h][r] = kHasMin ? bytes[i] & 15 : static_cast<int8_t>(bytes[i]);
      if constexpr (kHasMin) {
        m[h][r] = -(min[r] * static_cast<float>(bytes[i] >> 4));
      } else {
        m[h][r] = static_cast<float>(-kZero) * (d[r] * static_cast<float>(scales[h][r]));
      }
    }
    const uint8_t* unit_bytes = super_block + kPanel.unit_offset + u * kPanel.unit_bytes;
    unpack_unit<kPanel.low, kPanel.high, Codes::kUnsigned>(unit_bytes, codes);
  }

  /// Σ_h sc_h · Σ code·a of one plane.
  void scaled_dot(const int8_t* a, float* sums) const {
    int32_t first[8], second[8];
    dot<0, 4, 4>(codes, a, first);
    dot<4, 4, 4>(codes, a, second);
    for (int r = 0; r < 8; ++r) sums[r] = static_cast<float>(scales[0][r] * first[r] + scales[1][r] * second[r]);
  }

  void accumulate(const int8_t* planes, float d_a, float, const float* s16_a, float* acc) const {
    constexpr float kHighWeight[8] = {256, 256, 256, 256, 256, 256, 256, 256};
    float high[8], sums[8];
    scaled_dot(planes, high);
    scaled_dot(planes + kBlock, sums);
    fma8(high, kHighWeight, sums);
    add_products(sums, d, d_a, acc);
    add_offsets(m[0], s16_a[0], acc);
    add_offsets(m[1], s16_a[1], acc);
  }
};

struct FromF32 {
  using Element = float;
  static float value(float element) { return element; }
};
struct FromF16 {
  using Element = uint16_t;
  static float value(uint16_t element) { return f32_from_f16(element); }
};
struct FromBF16 {
  using Element = uint16_t;
  static float value(uint16_t element) { return std::bit_cast<float>(static_cast<uint32_t>(element) << 16); }
};

/// acc = fma(w[k], x[k], acc), ascending k.
template <typename From>
void matmul_floats(const MatmulArgs& args) noexcept {
  for (uint32_t p = args.panel_begin; p < args.panel_end; ++p) {
    const uint8_t* panel = args.panels + p * args.panel_bytes;
    for (uint32_t column = 0; column < args.n; column += kTileColumns) {
      const uint32_t n_columns = args.n - column < kTileColumns ? args.n - column : kTileColumns;
      float acc[kTileColumns][8] = {};
      for (uint64_t i = 0; i < args.k; ++i) {
        typename From::Element elements[8];
        float w[8];
        std::memcpy(elements, panel + i * sizeof elements, sizeof elements);
        for (int r = 0; r < 8; ++r) w[r] = From::value(elements[r]);
        for (uint32_t c = 0; c < n_columns; ++c) {
          const float x = args.x[static_cast<uint64_t>(column + c) * args.k + i];
          const float eight[8] = {x, x, x, x, x, x, x, x};
          fma8(w, eight, acc[c]);
        }
      }
      store_tile(args, p, column, n_columns, acc);
    }
  }
}

MatmulFn& entry(KernelTable& table, base::TensorType type) { return table.matmul[static_cast<uint32_t>(type)]; }

}  // namespace

void fill_matmul(KernelTable& table) noexcept {
  using base::TensorType;
  entry(table, TensorType::F32) = matmul_floats<FromF32>;
  entry(table, TensorType::F16) = matmul_floats<FromF16>;
  entry(table, TensorType::BF16) = matmul_floats<FromBF16>;
  entry(table, TensorType::Q4_0) = matmul_blocks<Wide<kPanelQ4_0, Codes::kUnsigned, 8>>;
  entry(table, TensorType::Q4_1) = matmul_blocks<Wide<kPanelQ4_1, Codes::kUnsigned, 0>>;
  entry(table, TensorType::Q5_0) = matmul_blocks<Wide<kPanelQ5_0, Codes::kUnsigned, 16>>;
  entry(table, TensorType::Q5_1) = matmul_blocks<Wide<kPanelQ5_1, Codes::kUnsigned, 0>>;
  entry(table, TensorType::Q8_0) = matmul_blocks<Wide<kPanelQ8_0, Codes::kSignedByte, 0>>;
  table.matmul_split = matmul_blocks<Split>;
  entry(table, TensorType::IQ4_NL) = matmul_blocks<Wide<kPanelIQ4_NL, Codes::kIq4, 0>>;
  entry(table, TensorType::IQ4_XS) = matmul_blocks<Wide<kPanelIQ4_XS, Codes::kIq4, 0>>;
  entry(table, TensorType::MXFP4) = matmul_blocks<Wide<kPanelMXFP4, Codes::kE2M1, 0>>;
  entry(table, TensorType::TQ1_0) = matmul_blocks<Wide<kPanelTernary, Codes::kUnsigned, 1>>;
  entry(table, TensorType::TQ2_0) = matmul_blocks<Wide<kPanelTernary, Codes::kUnsigned, 1>>;
  entry(table, TensorType::Q4_K) = matmul_blocks<Wide<kPanelQ4_K, Codes::kUnsigned, 0>>;
  entry(table, TensorType::Q5_K) = matmul_blocks<Wide<kPanelQ5_K, Codes::kUnsigned, 0>>;
  entry(table, TensorType::Q2_K) = matmul_blocks<Narrow<kPanelQ2_K, 0>>;
  entry(table, TensorType::Q3_K) = matmul_blocks<Narrow<kPanelQ3_K, 4>>;
  entry(table, TensorType::Q6_K) = matmul_blocks<Narrow<kPanelQ6_K, 32>>;
}

}  // namespace lutra::kernels::scalar
