// Types whose scale the format all but fixes: ternary weights under the largest magnitude, and MXFP4, whose scales are
// powers of two.
#include "kernels/panel_layout.h"
#include "quant/encode/encoders.h"
#include "quant/encode/fit.h"
#include "quant/encode/to_half.h"

namespace lutra::quant {

namespace {

struct E2M1Values {
  static constexpr int8_t kSorted[15] = {-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12};
};
constexpr TableLevels<E2M1Values> kE2M1;

uint8_t e2m1_code(float level) {
  uint8_t code = 0;
  while (static_cast<float>(kernels::kE2M1Values[code]) != std::fabs(level)) ++code;
  return level < 0 ? code | 8 : code;
}

}  // namespace

void encode_ternary_block(base::TensorType, const float* x, BlockCodes& out) {
  out.d = scale_to_half(largest_magnitude<256>(x));
  const float half_way = half_to_float(out.d) * 0.5f;
  for (int i = 0; i < 256; ++i) out.codes[i] = x[i] >= half_way ? 2 : x[i] <= -half_way ? 0 : 1;
}

void encode_mxfp4_block(base::TensorType, const float* x, BlockCodes& out) {
  // The exponent that takes the largest element to 8 … 16 of the table's up to 12, and its neighbours.
  const int near = static_cast<int>(float_bits(largest_magnitude<32>(x)) >> 23) - 127 - 3 + 128;
  float least = INFINITY;
  out.d = 0;
  for (int e = near - 1; e <= near + 1; ++e) {
    if (e < 0) continue;
    const float error = squared_error<32>(x, exponent_to_float(static_cast<uint32_t>(e)), 0.0f, kE2M1);
    if (!(error < least)) continue;
    least = error;
    out.d = static_cast<uint16_t>(e);
  }
  const float inverse = inverse_of(exponent_to_float(out.d));
  for (int i = 0; i < 32; ++i) out.codes[i] = e2m1_code(kE2M1.nearest(x[i] * inverse));
}

}  // namespace lutra::quant
