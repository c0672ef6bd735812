// Picks a kernel table. Tables are filled once, by the first caller (a function-local static, so by one thread).
#include "kernels/kernels.h"
#include "kernels/scalar/scalar.h"
#if defined(__x86_64__)
#include "kernels/avx2/avx2.h"
#include "kernels/avx512/avx512.h"
#endif
#if defined(__aarch64__)
#include "kernels/neon/neon.h"
#endif

namespace lutra::kernels {
namespace {

KernelTable make_scalar_table() {
  KernelTable table{};
  table.isa = base::Isa::kScalar;
  scalar::fill_matmul(table);
  scalar::fill_columns(table);
  scalar::fill_channels(table);
  scalar::fill_lut(table);
  scalar::fill_lut_products(table);
  scalar::fill_elementwise(table);
  scalar::fill_activation(table);
  scalar::fill_attention(table);
  scalar::fill_select(table);
  scalar::fill_screen(table);
  scalar::fill_lookup_keys(table);
  scalar::fill_lookup_scan(table);
  scalar::fill_lookup_values(table);
  scalar::fill_lookup_rows(table);
  return table;
}

#if defined(__x86_64__)
KernelTable make_avx2_table() {
  KernelTable table{};
  table.isa = base::Isa::kAvx2;
  scalar::fill_lookup_keys(table);
  scalar::fill_lookup_scan(table);
  avx2::fill_matmul(table);
  avx2::fill_columns(table);
  avx2::fill_channels(table);
  avx2::fill_lut_exact(table);
  avx2::fill_lut_int8(table);
  avx2::fill_lut_products(table);
  avx2::fill_elementwise(table);
  avx2::fill_activation(table);
  avx2::fill_attention(table);
  avx2::fill_select(table);
  avx2::fill_lookup_values(table);
  avx2::fill_lookup_rows(table);
  avx2::fill_lookup_codes(table);
  avx2::fill_lookup_scan(table);
  avx2::fill_lookup_select(table);
  avx2::fill_nibble_dot(table);
  return table;
}

/// What AVX-512 does not do faster stays AVX2's function.
KernelTable make_avx512_table() {
  KernelTable table = make_avx2_table();
  table.isa = base::Isa::kAvx512;
  avx512::fill_matmul(table);
  avx512::fill_columns(table);
  avx512::fill_channels(table);
  avx512::fill_lut_exact(table);
  avx512::fill_lut_int8(table);
  if (base::has_avx512_vbmi()) avx512::fill_lut_products(table);
  avx512::fill_elementwise(table);
  avx512::fill_attention(table);
  avx512::fill_lookup_values(table);
  avx512::fill_lookup_rows(table);
  avx512::fill_lookup_scan(table);
  avx512::fill_lookup_select(table);
  return table;
}
#endif

#if defined(__aarch64__)
/// What NEON does not do yet stays the scalar function.
KernelTable make_neon_table() {
  KernelTable table = make_scalar_table();
  table.isa = base::Isa::kNeon;
  neon::fill_matmul_quantised(table);
  neon::fill_matmul_float(table);
  neon::fill_columns(table);
  neon::fill_lut_exact(table);
  neon::fill_lut_int8(table);
  neon::fill_lut_products(table);
  neon::fill_elementwise(table);
  neon::fill_activation(table);
  neon::fill_attention(table);
  neon::fill_select(table);
  neon::fill_lookup_codes(table);
  neon::fill_lookup_scan(table);
  neon::fill_lookup_rows(table);
  return table;
}
#endif

}  // namespace

const KernelTable* kernel_table(base::Isa isa) {
  if (!base::isa_available(isa)) return nullptr;
  switch (isa) {
    case base::Isa::kScalar: {
      static const KernelTable table = make_scalar_table();
      return &table;
    }
    case base::Isa::kAvx2: {
#if defined(__x86_64__)
      static const KernelTable table = make_avx2_table();
      return &table;
#else
      return nullptr;
#endif
    }
    case base::Isa::kAvx512: {
#if defined(__x86_64__)
      static const KernelTable table = make_avx512_table();
      return &table;
#else
      return nullptr;
#endif
    }
    case base::Isa::kNeon: {
#if defined(__aarch64__)
      static const KernelTable table = make_neon_table();
      return &table;
#else
      return nullptr;
#endif
    }
    default: return nullptr;
  }
}

}  // namespace lutra::kernels
