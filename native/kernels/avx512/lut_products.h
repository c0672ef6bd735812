// 512-bit vectors of the products with codebooks (lut/product_tile.h). They need AVX-512 VBMI, which the path's flags
// leave out, as not every CPU of the path has it: hence its two instructions by name.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/avx512/lut_lanes.h"

namespace lutra::kernels::avx512 {
namespace {

struct ProductLanes : LutLanes {
  static constexpr int kStep = 4;
  /// 16 rows each: byte 4r + t is row r at element t of the four.
  struct Packed {
    __m512i rows[2];
  };
  /// Indices of the 64 entries of four neighbouring tables.
  using Indices = Packed;
  struct RowSums {
    __m512i rows[2];
  };

  static constexpr int columns_at_once(int n_digits, int n_parts) { return n_digits * n_parts <= 2 ? 4 : 2; }

  static LUTRA_INLINE Packed load_packed(const uint8_t* codes) {
    const __m512i first = load(codes), second = load(codes + 64);
    // Byte 4r + t comes from byte 32t + r of the two vectors' 128.
    const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i from =
        _mm512_add_epi32(_mm512_mullo_epi32(lane, _mm512_set1_epi32(0x01010101)), _mm512_set1_epi32(0x60402000));
    return {{picked(first, from, second), picked(first, _mm512_add_epi8(from, _mm512_set1_epi8(16)), second)}};
  }
  template <int kHalf>
  static LUTRA_INLINE Indices indices(const Packed& codes) {
    return {{indices<kHalf>(codes.rows[0]), indices<kHalf>(codes.rows[1])}};
  }
  static LUTRA_INLINE void clear(RowSums& sums) { sums.rows[0] = sums.rows[1] = _mm512_setzero_si512(); }
  static LUTRA_INLINE void add_found(const uint8_t* entries, const Indices& index, RowSums& sums) {
    const __m512i tables = load(entries);
    sums.rows[0] = _mm512_dpbusd_epi32(sums.rows[0], entry(tables, index.rows[0]), _mm512_set1_epi8(1));
    sums.rows[1] = _mm512_dpbusd_epi32(sums.rows[1], entry(tables, index.rows[1]), _mm512_set1_epi8(1));
  }
  static LUTRA_INLINE Ints slice(const RowSums& sums, int i) { return sums.rows[i]; }

  static LUTRA_INLINE Ints load_signed(const uint8_t* bytes) {
    return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
  }
  static LUTRA_INLINE Floats load_exponents(const uint8_t* bytes) {
    const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
    const __m512i bits = _mm512_slli_epi32(_mm512_cvtepu8_epi32(codes), 23);
    const __m512i exponents = _mm512_max_epu32(bits, _mm512_set1_epi32(kExponentZero));
    return _mm512_mul_ps(_mm512_castsi512_ps(exponents), _mm512_set1_ps(0.5f));
  }

 private:
  template <int kHalf>
  static LUTRA_INLINE __m512i indices(__m512i codes) {
    constexpr int kMaskedOr = 0xEA;  // (a & b) | c
    const __m512i shifted = kHalf == 0 ? codes : _mm512_srli_epi16(codes, 4);
    return _mm512_ternarylogic_epi32(shifted, _mm512_set1_epi8(15), _mm512_set1_epi32(0x30201000), kMaskedOr);
  }
  /// Bytes `from` of a and b, one behind the other.
  static LUTRA_INLINE __m512i picked(__m512i a, __m512i from, __m512i b) {
    __asm__("vpermi2b %2, %1, %0" : "+v"(from) : "v"(a), "vm"(b));
    return from;
  }
  static LUTRA_INLINE __m512i entry(__m512i tables, __m512i index) {
    __m512i found;
    __asm__("vpermb %1, %2, %0" : "=v"(found) : "vm"(tables), "v"(index));
    return found;
  }
};

}  // namespace
}  // namespace lutra::kernels::avx512
