// AVX-512 selection of lookup attention: a page's scores are one vector, and what is selected of it a mask.
#include <immintrin.h>

#include "kernels/avx512/avx512.h"

namespace lutra::kernels::avx512 {
namespace {

class Selection {
 public:
  explicit Selection(const LookupSelectArgs& args) : args_(args) {
    for (uint32_t i = 0; i < args.n_queries; ++i) {
      thresholds_[i] = _mm512_set1_epi16(static_cast<int16_t>(args.thresholds[i]));
    }
  }

  void run() {
    for (uint32_t begin = 0; begin < args_.n_pages; begin += 32) {
      const uint32_t left = args_.n_pages - begin;
      const __mmask32 there = left < 32 ? (1u << left) - 1 : 0xffffffffu;
      __mmask32 any = 0;
      for (uint32_t i = 0; i < args_.n_queries; ++i) {
        const __m512i max = _mm512_maskz_loadu_epi16(there, args_.page_max + i * args_.max_stride + begin);
        any |= _mm512_mask_cmpge_epu16_mask(there, max, thresholds_[i]);
      }
      for (uint32_t pages = any; pages != 0; pages &= pages - 1) {
        select_page(begin + static_cast<uint32_t>(__builtin_ctz(pages)));
      }
    }
    *args_.n_selected = n_;
  }

 private:
  /// Whole vectors are written: as not more were selected before than there are positions, that stays inside the array.
  void select_page(uint32_t page) {
    const uint32_t begin = page * kPagePositions;
    __mmask32 chosen = 0;
    for (uint32_t i = 0; i < args_.n_queries; ++i) {
      const __m512i scores = _mm512_loadu_si512(args_.scores + i * args_.score_stride + begin);
      chosen |= _mm512_cmpge_epu16_mask(scores, thresholds_[i]);
    }
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (uint32_t half = 0; half < 2; ++half) {
      const auto bits = static_cast<__mmask16>(chosen >> 16 * half);
      const __m512i positions = _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(begin + 16 * half)), lanes);
      _mm512_storeu_si512(args_.selected + n_, _mm512_maskz_compress_epi32(bits, positions));
      n_ += static_cast<uint32_t>(__builtin_popcount(bits));
    }
  }

  const LookupSelectArgs& args_;
  uint32_t n_ = 0;
  __m512i thresholds_[kLookupQueries];
};

void select(const LookupSelectArgs& args) noexcept { Selection(args).run(); }

}  // namespace

void fill_lookup_select(KernelTable& table) noexcept { table.lookup.select = select; }

}  // namespace lutra::kernels::avx512
