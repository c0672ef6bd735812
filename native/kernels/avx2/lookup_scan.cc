// AVX2 scores of lookup attention; see lookup_tile.h.
#include "kernels/avx2/avx2.h"
#include "kernels/avx2/lookup_tile.h"

namespace lutra::kernels::avx2 {
namespace {

/// Two rows a vector: one in each half.
struct Rows2 {
  using Vector = __m256i;
  static constexpr uint32_t kRows = 2;
  static constexpr int kMaxQueries = 3;

  static Vector zero() { return _mm256_setzero_si256(); }
  static Vector load(const uint8_t* rows, uint32_t) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows));
  }
  /// The low nibbles of rows of codes, or the high ones.
  static Vector nibbles(int high, Vector codes) {
    return _mm256_and_si256(high ? _mm256_srli_epi16(codes, 4) : codes, _mm256_set1_epi8(15));
  }
  static Vector pick(Vector tables, Vector nibbles) { return _mm256_shuffle_epi8(tables, nibbles); }
  static Vector add_bytes(Vector a, Vector b) { return _mm256_add_epi8(a, b); }
  static Vector add(Vector a, Vector b) { return _mm256_add_epi16(a, b); }
  static Vector odd_bytes(Vector bytes) { return _mm256_srli_epi16(bytes, 8); }
  /// Adds the rows up: the first vector's into the low half, the second's into the high one.
  static __m256i fold(Vector low, Vector high) {
    return _mm256_add_epi16(_mm256_blend_epi32(low, high, 0xf0), _mm256_permute2x128_si256(low, high, 0x21));
  }
};

}  // namespace

void fill_lookup_scan(KernelTable& table) noexcept { table.lookup.scan = lookup_scan<Rows2>; }

}  // namespace lutra::kernels::avx2
