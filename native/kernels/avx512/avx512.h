// The AVX-512 path: AVX2's table with the matmul of quantised types and attention's tiles and lists replaced. These
// functions only take addresses, but they live in objects built with AVX-512 flags: call them after
// base::isa_available(Isa::kAvx512) said yes.
#pragma once

#include "kernels/kernels.h"

namespace lutra::kernels::avx512 {

void fill_matmul(KernelTable& table) noexcept;     // table.matmul[] of the quantised types
void fill_columns(KernelTable& table) noexcept;    // columns[]
void fill_channels(KernelTable& table) noexcept;   // channels but its lists
void fill_lut_exact(KernelTable& table) noexcept;  // lut: exact tables
void fill_lut_int8(KernelTable& table) noexcept;   // lut: 8-bit tables
void fill_lut_products(
    KernelTable& table) noexcept;  // lut: products with codebooks; call it after base::has_avx512_vbmi()
void fill_elementwise(KernelTable& table) noexcept;    // quantize_planes
void fill_attention(KernelTable& table) noexcept;      // attention_tile[]
void fill_lookup_values(KernelTable& table) noexcept;  // lookup.tile[]
void fill_lookup_rows(KernelTable& table) noexcept;    // lookup.pack[], refine
void fill_lookup_scan(KernelTable& table) noexcept;    // lookup.scan
void fill_lookup_select(KernelTable& table) noexcept;  // lookup.select

}  // namespace lutra::kernels::avx512
