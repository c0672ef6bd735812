// The AVX2 + FMA + F16C path. These functions only take addresses, but they live in objects built with AVX2 flags:
// call them after base::isa_available(Isa::kAvx2) said yes.
#pragma once

#include "kernels/kernels.h"

namespace lutra::kernels::avx2 {

void fill_matmul(KernelTable& table) noexcept;         // table.matmul[]
void fill_columns(KernelTable& table) noexcept;        // columns[]
void fill_channels(KernelTable& table) noexcept;       // channels
void fill_lut_exact(KernelTable& table) noexcept;      // lut: exact tables
void fill_lut_int8(KernelTable& table) noexcept;       // lut: 8-bit tables
void fill_lut_products(KernelTable& table) noexcept;   // lut: products with codebooks
void fill_elementwise(KernelTable& table) noexcept;    // quantize_planes, rms_norm, add, scale, rope_*
void fill_activation(KernelTable& table) noexcept;     // silu_mul, gelu_mul
void fill_attention(KernelTable& table) noexcept;      // store_*[], attention_tile[], attention_merge
void fill_select(KernelTable& table) noexcept;         // log_sum_exp, top_k
void fill_lookup_values(KernelTable& table) noexcept;  // lookup.tile[]
void fill_lookup_rows(KernelTable& table) noexcept;    // lookup.pack[], refine
void fill_lookup_codes(KernelTable& table) noexcept;   // lookup.encode, tables
void fill_lookup_scan(KernelTable& table) noexcept;    // lookup.scan
void fill_lookup_select(KernelTable& table) noexcept;  // lookup.histogram, select
void fill_nibble_dot(KernelTable& table) noexcept;     // lookup.nibble_dot

}  // namespace lutra::kernels::avx2
