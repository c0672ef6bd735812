// The families of weight types; matmul.cc calls each. One translation unit per family keeps compile times apart.
#pragma once

#include "kernels/kernels.h"

namespace lutra::kernels::avx512 {

void fill_matmul_legacy(KernelTable& table) noexcept;  // Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 IQ4_NL MXFP4
void fill_matmul_k(KernelTable& table) noexcept;       // Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_XS TQ1_0 TQ2_0

}  // namespace lutra::kernels::avx512
