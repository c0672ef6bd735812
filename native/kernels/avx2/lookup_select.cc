// AVX2 histogram and selection of lookup attention; equal to scalar/lookup_scan.cc.
#include <immintrin.h>

#include "kernels/avx2/avx2.h"

namespace lutra::kernels::avx2 {
namespace {

__m256i load(const uint16_t* values) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values)); }

/// Counts of the pairs (bin of position t, bin of position t + 1): half as many increments, which are what a histogram
/// costs, as there are positions.
class PairCounts {
 public:
  PairCounts() {
    for (uint32_t i = 0; i < kPairs + kLast; i += 16) store(counts_ + i, _mm256_setzero_si256());
  }

  /// Counts 32 bins, a byte each.
  void add(__m256i bins) {
    const __m256i pairs = _mm256_maddubs_epi16(bins, _mm256_set1_epi16(1 | kScoreBins << 8));
    // Pairs of last bins, the most frequent where attention is sharp, are spread over counters of their own: an
    // increment that follows another of the same counter waits for it.
    const __m256i both_last = _mm256_cmpeq_epi16(pairs, _mm256_set1_epi16(kPairs - 1));
    const __m256i lanes = _mm256_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    alignas(32) uint16_t slots[16];
    store(slots, _mm256_add_epi16(pairs, _mm256_and_si256(both_last, lanes)));
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) ++counts_[slots[i]];
  }

  /// Adds what was counted to counts[kScoreBins] and forgets it. At most 65535 pairs may have been counted.
  void move_to(uint32_t* counts) {
    for (uint32_t i = 0; i < kLast; ++i) counts[kScoreBins - 1] += 2u * counts_[kPairs - 1 + i];
    for (uint32_t i = 0; i < kLast; ++i) counts_[kPairs - 1 + i] = 0;
    __m256i columns[kScoreBins / 16] = {};
    for (uint32_t row = 0; row < kScoreBins; ++row) {
      __m256i sum = _mm256_setzero_si256();
      for (uint32_t i = 0; i < kScoreBins / 16; ++i) {
        uint16_t* at = counts_ + row * kScoreBins + 16 * i;
        columns[i] = _mm256_add_epi16(columns[i], load(at));
        sum = _mm256_add_epi16(sum, load(at));
        store(at, _mm256_setzero_si256());
      }
      counts[row] += sum_lanes(sum);
    }
    alignas(32) uint16_t column_sums[kScoreBins];
    for (uint32_t i = 0; i < kScoreBins / 16; ++i) store(column_sums + 16 * i, columns[i]);
    for (uint32_t i = 0; i < kScoreBins; ++i) counts[i] += column_sums[i];
  }

 private:
  static constexpr uint32_t kPairs = kScoreBins * kScoreBins;
  static constexpr uint32_t kLast = 16;

  static void store(uint16_t* at, __m256i values) { _mm256_store_si256(reinterpret_cast<__m256i*>(at), values); }
  static uint32_t sum_lanes(__m256i words) {
    const __m256i low = _mm256_and_si256(words, _mm256_set1_epi32(0xffff));
    __m256i sum = _mm256_add_epi32(low, _mm256_srli_epi32(words, 16));
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    half = _mm_add_epi32(half, _mm_unpackhi_epi64(half, half));
    return static_cast<uint32_t>(_mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32(half, 1))));
  }

  alignas(32) uint16_t counts_[kPairs + kLast];
};

/// (top − score) · factor >> 16, kept in the bins, of 32 scores; within a vector's halves in the order of a pack.
__m256i page_bins(const uint16_t* scores, __m256i top, __m256i factor) {
  const __m256i last = _mm256_set1_epi16(kScoreBins - 1);
  const __m256i a = _mm256_mulhi_epu16(_mm256_sub_epi16(top, load(scores)), factor);
  const __m256i b = _mm256_mulhi_epu16(_mm256_sub_epi16(top, load(scores + 16)), factor);
  return _mm256_packus_epi16(_mm256_min_epu16(a, last), _mm256_min_epu16(b, last));
}

void histogram(const LookupHistogramArgs& args) noexcept {
  constexpr uint32_t kPagesBetweenMoves = 65535 / (kPagePositions / 2);
  const __m256i top = _mm256_set1_epi16(static_cast<int16_t>(args.top));
  const __m256i factor = _mm256_set1_epi16(static_cast<int16_t>(args.factor));
  for (uint32_t bin = 0; bin < kScoreBins; ++bin) args.counts[bin] = 0;
  PairCounts pairs;
  uint32_t counted = 0;
  for (uint32_t page = 0; page < args.n_pages; ++page) {
    const uint32_t distance = static_cast<uint32_t>(args.top - args.page_max[page]);
    if (distance * args.factor >> 16 >= kScoreBins - 1) {
      args.counts[kScoreBins - 1] += kPagePositions;
      continue;
    }
    pairs.add(page_bins(args.scores + uint64_t{page} * kPagePositions, top, factor));
    if (++counted % kPagesBetweenMoves == 0) pairs.move_to(args.counts);
  }
  pairs.move_to(args.counts);
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
