// Matmul of the block and super-block types. Scalar twin: scalar/matmul.cc, equal bit for bit.
#include <cstdint>

#include "kernels/neon/matmul_narrow.h"
#include "kernels/neon/matmul_units.h"
#include "kernels/neon/matmul_wide.h"
#include "kernels/neon/neon.h"

namespace lutra::kernels::neon {
namespace {

template <const PanelShape& kPanel, Codes kCodes, int kZero>
constexpr MatmulFn kWide = sweep<WideTile<SdotDots, kPanel, kCodes, kZero>>;
template <const PanelShape& kPanel, int kZero>
constexpr MatmulFn kNarrow = sweep<NarrowTile<SdotDots, kPanel, kZero>>;

}  // namespace

void fill_matmul_quantised(KernelTable& table) noexcept {
  using base::TensorType;
  const auto set = [&table](TensorType type, MatmulFn matmul) { table.matmul[static_cast<uint32_t>(type)] = matmul; };
  set(TensorType::Q4_0, kWide<kPanelQ4_0, Codes::kUnsigned, 8>);
  set(TensorType::Q4_1, kWide<kPanelQ4_1, Codes::kUnsigned, 0>);
  set(TensorType::Q5_0, kWide<kPanelQ5_0, Codes::kUnsigned, 16>);
  set(TensorType::Q5_1, kWide<kPanelQ5_1, Codes::kUnsigned, 0>);
  set(TensorType::Q8_0, kWide<kPanelQ8_0, Codes::kSignedByte, 0>);
  set(TensorType::IQ4_NL, kWide<kPanelIQ4_NL, Codes::kIq4, 0>);
  set(TensorType::IQ4_XS, kWide<kPanelIQ4_XS, Codes::kIq4, 0>);
  set(TensorType::MXFP4, kWide<kPanelMXFP4, Codes::kE2M1, 0>);
  set(TensorType::TQ1_0, kWide<kPanelTernary, Codes::kUnsigned, 1>);
  set(TensorType::TQ2_0, kWide<kPanelTernary, Codes::kUnsigned, 1>);
  set(TensorType::Q4_K, kWide<kPanelQ4_K, Codes::kUnsigned, 0>);
  set(TensorType::Q5_K, kWide<kPanelQ5_K, Codes::kUnsigned, 0>);
  set(TensorType::Q2_K, kNarrow<kPanelQ2_K, 0>);
  set(TensorType::Q3_K, kNarrow<kPanelQ3_K, 4>);
  set(TensorType::Q6_K, kNarrow<kPanelQ6_K, 32>);
}

}  // namespace lutra::kernels::neon
