// The NEON path of 64-bit ARM with the 8-bit dot products of ARMv8.2 (FEAT_DotProd). These functions only take
// addresses, but they live in objects built with flags of their own: call them after
// base::isa_available(Isa::kNeon) said yes.
//
// Correctness is tested under emulation, bit for bit against scalar/; nothing here has been timed on ARM hardware, so
// tile sizes are chosen by counting registers.
#pragma once

#include "kernels/kernels.h"

namespace lutra::kernels::neon {

void fill_matmul_quantised(KernelTable& table) noexcept;  // table.matmul[] of block and super-block types
void fill_matmul_float(KernelTable& table) noexcept;      // table.matmul[] of F32 F16 BF16
void fill_columns(KernelTable& table) noexcept;           // columns[]
void fill_lut_exact(KernelTable& table) noexcept;         // lut: exact tables
void fill_lut_int8(KernelTable& table) noexcept;          // lut: 8-bit tables
void fill_lut_products(KernelTable& table) noexcept;      // lut: products with codebooks
void fill_elementwise(KernelTable& table) noexcept;       // quantize_planes, rms_norm, add, scale, rope_*
void fill_activation(KernelTable& table) noexcept;        // silu_mul, gelu_mul
void fill_attention(KernelTable& table) noexcept;     // of f16: store_*, attention_tile, lookup.tile; attention_merge
void fill_select(KernelTable& table) noexcept;        // log_sum_exp, top_k
void fill_lookup_codes(KernelTable& table) noexcept;  // lookup.encode, tables
void fill_lookup_scan(KernelTable& table) noexcept;   // lookup.scan, histogram, select, nibble_dot
void fill_lookup_rows(KernelTable& table) noexcept;   // lookup.refine

}  // namespace lutra::kernels::neon
