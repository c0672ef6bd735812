// The reference twin of every kernel: plain C++, any CPU. Each function fills the members of the table it owns.
#pragma once

#include "kernels/kernels.h"

namespace lutra::kernels::scalar {

void fill_matmul(KernelTable& table) noexcept;         // table.matmul[]
void fill_columns(KernelTable& table) noexcept;        // columns[]
void fill_channels(KernelTable& table) noexcept;       // channels
void fill_elementwise(KernelTable& table) noexcept;    // quantize_planes, rms_norm, add, scale, rope_*
void fill_activation(KernelTable& table) noexcept;     // silu_mul, gelu_mul
void fill_attention(KernelTable& table) noexcept;      // store_*_f16, attention_tile_f16, attention_merge
void fill_select(KernelTable& table) noexcept;         // log_sum_exp, top_k
void fill_lut(KernelTable& table) noexcept;            // lut: bit planes
void fill_lut_products(KernelTable& table) noexcept;   // lut: products with codebooks
void fill_screen(KernelTable& table) noexcept;         // screen
void fill_lookup_keys(KernelTable& table) noexcept;    // lookup.unpack_keys[]
void fill_lookup_scan(KernelTable& table) noexcept;    // lookup.encode, tables, scan, histogram, select, nibble_dot
void fill_lookup_values(KernelTable& table) noexcept;  // lookup.tile[]
void fill_lookup_rows(KernelTable& table) noexcept;    // lookup.pack[], refine

}  // namespace lutra::kernels::scalar
