// AVX2 multiply-adds over plain 4-bit codes, the control of lookup attention; equal to scalar/lookup_scan.cc.
#include <immintrin.h>

#include "kernels/avx2/avx2.h"
#include "kernels/avx2/lookup_pages.h"

namespace lutra::kernels::avx2 {
namespace {

constexpr uint32_t kRowsBetweenSums = 8;  // what 16-bit sums hold: see NibbleDotArgs
constexpr uint32_t kMaxRows = 256;        // of head_dim ≤ 512
constexpr int kMaxQueries = 3;            // four 32-bit and two 16-bit sums each

/// Pairs of neighbouring dimensions of some queries, twice in 32 bits, so that a broadcast makes a row's factors.
struct QueryPairs {
  int32_t pairs[kMaxQueries][kMaxRows];

  QueryPairs(const int8_t* const* queries, int n_queries, uint32_t n_rows) {
    for (int i = 0; i < n_queries; ++i) {
      for (uint32_t row = 0; row < n_rows; ++row) {
        const auto low = static_cast<uint8_t>(queries[i][2 * row]),
                   high = static_cast<uint8_t>(queries[i][2 * row + 1]);
        pairs[i][row] = static_cast<int32_t>((low | uint32_t{high} << 8) * 0x10001u);
      }
    }
  }
};

/// 16-bit sums of 16 positions, in order: even positions to the first vector, odd ones to the second.
struct Sums {
  __m256i even = _mm256_setzero_si256(), odd = even;

  void add(__m256i words) {
    even = _mm256_add_epi32(even, _mm256_srai_epi32(_mm256_slli_epi32(words, 16), 16));
    odd = _mm256_add_epi32(odd, _mm256_srai_epi32(words, 16));
  }
  void store(int32_t* out) const {
    const __m256i low = _mm256_unpacklo_epi32(even, odd), high = _mm256_unpackhi_epi32(even, odd);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_permute2x128_si256(low, high, 0x20));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 8), _mm256_permute2x128_si256(low, high, 0x31));
  }
};

/// 16-bit sums of some queries' products with rows begin..end, of the low nibbles and of the high ones.
template <int kQueries>
struct Words {
  __m256i low[kQueries], high[kQueries];

  Words(const uint8_t* codes, const QueryPairs& queries, uint32_t begin, uint32_t end) {
    const __m256i nibble = _mm256_set1_epi8(15);
    for (int i = 0; i < kQueries; ++i) low[i] = high[i] = _mm256_setzero_si256();
#pragma GCC unroll 4
    for (uint32_t row = begin; row < end; ++row) {
      const __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + uint64_t{row} * kPagePositions));
      const __m256i first = _mm256_and_si256(both, nibble),
                    second = _mm256_and_si256(_mm256_srli_epi16(both, 4), nibble);
#pragma GCC unroll 3
      for (int i = 0; i < kQueries; ++i) {
        const __m256i query = _mm256_set1_epi32(queries.pairs[i][row]);
        low[i] = _mm256_add_epi16(low[i], _mm256_maddubs_epi16(first, query));
        high[i] = _mm256_add_epi16(high[i], _mm256_maddubs_epi16(second, query));
      }
    }
  }
};

template <int kQueries>
void dot_page(const uint8_t* codes, const QueryPairs& queries, uint32_t n_rows, int32_t* out, uint64_t out_stride) {
  Sums sums[kQueries][2];
  for (uint32_t begin = 0; begin < n_rows; begin += kRowsBetweenSums) {
    const uint32_t end = n_rows - begin < kRowsBetweenSums ? n_rows : begin + kRowsBetweenSums;
    const Words<kQueries> words(codes, queries, begin, end);
#pragma GCC unroll 3
    for (int i = 0; i < kQueries; ++i) {
      sums[i][0].add(words.low[i]);
      sums[i][1].add(words.high[i]);
    }
  }
#pragma GCC unroll 3
  for (int i = 0; i < kQueries; ++i) {
    sums[i][0].store(out + static_cast<uint32_t>(i) * out_stride);
    sums[i][1].store(out + static_cast<uint32_t>(i) * out_stride + kPagePositions / 2);
  }
}

template <int kQueries>
void dot_pages(const NibbleDotArgs& args, uint32_t from) {
  const uint64_t stride = uint64_t{args.n_pages} * kPagePositions;
  const QueryPairs queries(args.queries + from, kQueries, args.head_dim / 2);
  for (uint32_t page = 0; page < args.n_pages; ++page) {
    fetch_ahead(args.codes, page, args.n_pages, uint64_t{args.head_dim} * 16);
    dot_page<kQueries>(args.codes[page], queries, args.head_dim / 2,
                       args.sums + from * stride + uint64_t{page} * kPagePositions, stride);
  }
}

void nibble_dot(const NibbleDotArgs& args) noexcept {
  uint32_t from = 0;
  for (; args.n_queries - from >= 3; from += 3) dot_pages<3>(args, from);
  if (args.n_queries - from == 2) dot_pages<2>(args, from);
  if (args.n_queries - from == 1) dot_pages<1>(args, from);
}

}  // namespace

void fill_nibble_dot(KernelTable& table) noexcept { table.lookup.nibble_dot = nibble_dot; }

}  // namespace lutra::kernels::avx2
