// AVX2 histogram and selection of lookup attention; equal to scalar/lookup_scan.cc.
#include <immintrin.h>

#include "kernels/avx2/avx2.h"

namespace lutra::kernels::avx2 {
namespace {

__m256i load(const uint16_t* values) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values)); }

/// Counts of the pairs (bin of position t, bin of position t + 1): half as many increments, which are what a histogram
/// costs, as there are positions. Pairs wait in a row first: an increment at once, from vector to address, costs half
/// as much again.
class PairCounts {
 public:
  /// Pages counted by one object: 16-bit counters and their sums then stay below 2^15.
  static constexpr uint32_t kMaxPages = 32767 / (kPagePositions / 2);

  PairCounts() {
    for (uint32_t i = 0; i < kPairs + kLast; i += 16) store(counts_ + i, _mm256_setzero_si256());
  }

  /// Takes 32 bins, a byte each.
  void add(__m256i bins) {
    const __m256i pairs = _mm256_maddubs_epi16(bins, _mm256_set1_epi16(1 | kScoreBins << 8));
    // Pairs of last bins, the most frequent where attention is sharp, are spread over counters of their own: an
    // increment that follows another of the same counter waits for it.
    const __m256i both_last = _mm256_cmpeq_epi16(pairs, _mm256_set1_epi16(kPairs - 1));
    const __m256i lanes = _mm256_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    store(waiting_ + n_waiting_, _mm256_add_epi16(pairs, _mm256_and_si256(both_last, lanes)));
    n_waiting_ += 16;
    if (n_waiting_ == kWaiting) count();
  }

  /// Adds what was counted to counts[kScoreBins].
  void add_to(uint32_t* counts) {
    count();
    for (uint32_t i = 1; i < kLast; ++i) counts_[kPairs - 1] += counts_[kPairs - 1 + i];
    __m256i columns[kScoreBins / 16] = {};
    for (uint32_t row = 0; row < kScoreBins; row += 4) {
      const __m256i a = row_sums(row, columns), b = row_sums(row + 1, columns);
      const __m256i c = row_sums(row + 2, columns), d = row_sums(row + 3, columns);
      const __m256i sums = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
      auto* four = reinterpret_cast<__m128i*>(counts + row);
      const __m128i both = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
      _mm_storeu_si128(four, _mm_add_epi32(_mm_loadu_si128(four), both));
    }
    alignas(32) uint16_t column_sums[kScoreBins];
    for (uint32_t i = 0; i < kScoreBins / 16; ++i) store(column_sums + 16 * i, columns[i]);
    for (uint32_t i = 0; i < kScoreBins; ++i) counts[i] += column_sums[i];
  }

 private:
  static constexpr uint32_t kPairs = kScoreBins * kScoreBins;
  static constexpr uint32_t kLast = 16;
  static constexpr uint32_t kWaiting = 256;

  void count() {
    for (uint32_t i = 0; i < n_waiting_; i += 4) {
      uint64_t four;
      __builtin_memcpy(&four, waiting_ + i, sizeof four);
      ++counts_[four & 0xffff];
      ++counts_[four >> 16 & 0xffff];
      ++counts_[four >> 32 & 0xffff];
      ++counts_[four >> 48];
    }
    n_waiting_ = 0;
  }
  static void store(uint16_t* at, __m256i values) { _mm256_store_si256(reinterpret_cast<__m256i*>(at), values); }
  /// Eight partial sums of a row, which joins the columns' sums too.
  __m256i row_sums(uint32_t row, __m256i* columns) const {
    __m256i sum = _mm256_setzero_si256();
    for (uint32_t i = 0; i < kScoreBins / 16; ++i) {
      const __m256i part = load(counts_ + row * kScoreBins + 16 * i);
      columns[i] = _mm256_add_epi16(columns[i], part);
      sum = _mm256_add_epi16(sum, part);
    }
    return _mm256_madd_epi16(sum, _mm256_set1_epi16(1));
  }

  alignas(32) uint16_t counts_[kPairs + kLast];
  alignas(32) uint16_t waiting_[kWaiting];
  uint32_t n_waiting_ = 0;
};

/// (top − score) · factor >> 16, kept in the bins, of 32 scores; within a vector's halves in the order of a pack.
__m256i page_bins(const uint16_t* scores, __m256i top, __m256i factor) {
  const __m256i last = _mm256_set1_epi16(kScoreBins - 1);
  const __m256i a = _mm256_mulhi_epu16(_mm256_sub_epi16(top, load(scores)), factor);
  const __m256i b = _mm256_mulhi_epu16(_mm256_sub_epi16(top, load(scores + 16)), factor);
  return _mm256_packus_epi16(_mm256_min_epu16(a, last), _mm256_min_epu16(b, last));
}

/// Adds pages begin..end to the counts.
void count_pages(const LookupHistogramArgs& args, uint32_t begin, uint32_t end) {
  const __m256i top = _mm256_set1_epi16(static_cast<int16_t>(args.top));
  const __m256i factor = _mm256_set1_epi16(static_cast<int16_t>(args.factor));
  PairCounts pairs;
  for (uint32_t page = begin; page < end; ++page) {
    const uint32_t distance = static_cast<uint32_t>(args.top - args.page_max[page]);
    if (distance * args.factor >> 16 >= kScoreBins - 1) {
      args.counts[kScoreBins - 1] += kPagePositions;
    } else {
      pairs.add(page_bins(args.scores + uint64_t{page} * kPagePositions, top, factor));
    }
  }
  pairs.add_to(args.counts);
}

void histogram(const LookupHistogramArgs& args) noexcept {
  for (uint32_t bin = 0; bin < kScoreBins; ++bin) args.counts[bin] = 0;
  for (uint32_t begin = 0; begin < args.n_pages; begin += PairCounts::kMaxPages) {
    const uint32_t left = args.n_pages - begin;
    count_pages(args, begin, begin + (left < PairCounts::kMaxPages ? left : PairCounts::kMaxPages));
  }
}

/// The set bits of every byte, ascending: eight bytes each.
struct SetBits {
  uint64_t of[256];
};
constexpr SetBits make_set_bits() {
  SetBits table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t n = 0;
    for (uint64_t bit = 0; bit < 8; ++bit) {
      if (byte >> bit & 1) table.of[byte] |= bit << 8 * n++;
    }
  }
  return table;
}
constexpr SetBits kSetBits = make_set_bits();

/// Which of 16 values reach the threshold: all-ones lanes.
__m256i reaches(const uint16_t* values, __m256i threshold) {
  const __m256i x = load(values);
  return _mm256_cmpeq_epi16(_mm256_max_epu16(x, threshold), x);
}

class Selection {
 public:
  explicit Selection(const LookupSelectArgs& args) : args_(args) {
    for (uint32_t i = 0; i < args.n_queries; ++i) {
      thresholds_[i] = _mm256_set1_epi16(static_cast<int16_t>(args.thresholds[i]));
    }
  }

  void run() {
    uint32_t page = 0;
    for (; args_.n_pages - page >= 16; page += 16) {
      __m256i any = _mm256_setzero_si256();
      for (uint32_t i = 0; i < args_.n_queries; ++i) {
        any = _mm256_or_si256(any, reaches(args_.page_max + i * args_.max_stride + page, thresholds_[i]));
      }
      // Two bits a page.
      auto pages = static_cast<uint32_t>(_mm256_movemask_epi8(any));
      for (; pages != 0; pages &= pages - 1, pages &= pages - 1) {
        select_page(page + static_cast<uint32_t>(__builtin_ctz(pages)) / 2);
      }
    }
    for (; page < args_.n_pages; ++page) {
      bool any = false;
      for (uint32_t i = 0; i < args_.n_queries; ++i) {
        any = any || args_.page_max[i * args_.max_stride + page] >= args_.thresholds[i];
      }
      if (any) select_page(page);
    }
    *args_.n_selected = n_;
  }

 private:
  /// Positions are written eight at a time, of which those selected are kept: as not more were selected before than
  /// there are positions, that stays inside the array.
  void select_page(uint32_t page) {
    const uint32_t begin = page * kPagePositions;
    __m256i a = _mm256_setzero_si256(), b = a;
    for (uint32_t i = 0; i < args_.n_queries; ++i) {
      const uint16_t* scores = args_.scores + i * args_.score_stride + begin;
      a = _mm256_or_si256(a, reaches(scores, thresholds_[i]));
      b = _mm256_or_si256(b, reaches(scores + 16, thresholds_[i]));
    }
    const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(a, b), 0xd8);
    const auto chosen = static_cast<uint32_t>(_mm256_movemask_epi8(bytes));
#pragma GCC unroll 4
    for (uint32_t part = 0; part < 4; ++part) {
      const uint32_t bits = chosen >> 8 * part & 255;
      const __m128i offsets = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kSetBits.of + bits));
      const __m256i first = _mm256_set1_epi32(static_cast<int>(begin + 8 * part));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(args_.selected + n_),
                          _mm256_add_epi32(first, _mm256_cvtepu8_epi32(offsets)));
      n_ += static_cast<uint32_t>(__builtin_popcount(bits));
    }
  }

  const LookupSelectArgs& args_;
  uint32_t n_ = 0;
  __m256i thresholds_[kLookupQueries];
};

void select(const LookupSelectArgs& args) noexcept { Selection(args).run(); }

}  // namespace

void fill_lookup_select(KernelTable& table) noexcept {
  table.lookup.histogram = histogram;
  table.lookup.select = select;
}

}  // namespace lutra::kernels::avx2
