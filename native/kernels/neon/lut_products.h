// 128-bit vectors of the products with codebooks (lut/product_tile.h).
#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "kernels/neon/lut_lanes.h"

namespace lutra::kernels::neon {
namespace {

struct ProductLanes : LutLanes {
  static constexpr int kStep = 1;
  using Packed = Rows;
  using Indices = Rows;
  struct RowSums {
    uint16x8_t rows[4];
  };

  static constexpr int columns_at_once(int n_digits, int n_parts) { return n_digits * n_parts <= 2 ? 2 : 1; }

  static LUTRA_INLINE Packed load_packed(const uint8_t* codes) { return load_rows(codes); }
  template <int kHalf>
  static LUTRA_INLINE Indices indices(const Packed& codes) {
    return row_nibbles<kHalf>(codes);
  }
  static LUTRA_INLINE void clear(RowSums& sums) {
    for (int i = 0; i < 4; ++i) sums.rows[i] = vdupq_n_u16(0);
  }
  static LUTRA_INLINE void add_found(const uint8_t* entries, const Indices& index, RowSums& sums) {
    const Rows found = lookup_rows(entries, index);
    for (int i = 0; i < 2; ++i) {
      sums.rows[2 * i] = vaddw_u8(sums.rows[2 * i], vget_low_u8(found.val[i]));
      sums.rows[2 * i + 1] = vaddw_high_u8(sums.rows[2 * i + 1], found.val[i]);
    }
  }
  static LUTRA_INLINE Ints slice(const RowSums& sums, int i) {
    const uint16x8_t rows = sums.rows[i / 2];
    return vreinterpretq_s32_u32(vmovl_u16(i % 2 == 0 ? vget_low_u16(rows) : vget_high_u16(rows)));
  }

  static LUTRA_INLINE Ints load_signed(const uint8_t* bytes) { return neon::load_signed(bytes); }
  static LUTRA_INLINE Floats load_exponents(const uint8_t* bytes) {
    return load_row_scales<RowScale::kExponent>(bytes, 0);
  }
};

}  // namespace
}  // namespace lutra::kernels::neon
