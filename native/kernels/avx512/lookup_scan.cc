// AVX-512 scores of lookup attention: avx2/lookup_tile.h with four rows a vector and more queries to a page.
#include "kernels/avx2/lookup_tile.h"
#include "kernels/avx512/avx512.h"

namespace lutra::kernels::avx512 {
namespace {

struct Rows4 {
  using Vector = __m512i;
  static constexpr uint32_t kRows = 4;
  static constexpr int kMaxQueries = 6;

  static Vector zero() { return _mm512_setzero_si512(); }
  /// Four rows, or two and zeros, which add nothing: a table of zeros.
  static Vector load(const uint8_t* rows, uint32_t n_rows) {
    if (n_rows == kRows) return _mm512_loadu_si512(rows);
    return _mm512_maskz_loadu_epi64(0x0f, rows);
  }
  static Vector nibbles(int high, Vector codes) {
    return _mm512_and_si512(high ? _mm512_srli_epi16(codes, 4) : codes, _mm512_set1_epi8(15));
  }
  static Vector pick(Vector tables, Vector nibbles) { return _mm512_shuffle_epi8(tables, nibbles); }
  static Vector add_bytes(Vector a, Vector b) { return _mm512_add_epi8(a, b); }
  static Vector add(Vector a, Vector b) { return _mm512_add_epi16(a, b); }
  static Vector odd_bytes(Vector bytes) { return _mm512_srli_epi16(bytes, 8); }
  static __m256i fold(Vector low, Vector high) {
    const __m256i a = _mm256_add_epi16(_mm512_castsi512_si256(low), _mm512_extracti64x4_epi64(low, 1));
    const __m256i b = _mm256_add_epi16(_mm512_castsi512_si256(high), _mm512_extracti64x4_epi64(high, 1));
    return _mm256_add_epi16(_mm256_blend_epi32(a, b, 0xf0), _mm256_permute2x128_si256(a, b, 0x21));
  }
};

}  // namespace

void fill_lookup_scan(KernelTable& table) noexcept { table.lookup.scan = avx2::lookup_scan<Rows4>; }

}  // namespace lutra::kernels::avx512
