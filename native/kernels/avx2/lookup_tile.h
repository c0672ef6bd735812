// Scores of one page of codes for up to a few queries, for rows of tables two (AVX2) or four (AVX-512) to a vector;
// equal to scalar/lookup_scan.cc, since sums of integers have no order.
//
// A row's 16 code bytes are split into low and high nibbles once for all queries, and each nibble vector picks 16 bytes
// of every row's table by a byte shuffle. Bytes are summed in 16 bits without being unpacked: `all` adds vectors of
// bytes as they are, so that a lane holds the even byte's sum plus 256 times the odd byte's, modulo 2^16; `odd` adds
// the odd bytes alone, and all − 256 · odd is the even sum whatever wrapped around. Entries of at most 127 (narrow) are
// first added in pairs of rows, as bytes.
//
// Rows: Vector, kRows, kMaxQueries, load, zero, nibbles, pick, add_bytes, add, odd_bytes, fold. Everything has internal
// linkage: each ISA path has its own copy.
#pragma once

#include "kernels/avx2/lookup_outliers.h"
#include "kernels/avx2/lookup_pages.h"
#include "kernels/avx2/lookup_sums.h"

namespace lutra::kernels::avx2 {
namespace {

/// Scores one page for queries from..from + kQueries.
template <typename Rows, int kQueries, bool kNarrow>
void scan_page(const LookupScanArgs& args, uint32_t page, uint32_t from, const OutlierCodes& outliers) {
  const uint8_t* codes = args.codes[page];
  LookupSums<Rows, kQueries> sums(args.tables + from);
  const uint32_t n_subs = args.n_subs;
  uint32_t s = 0;
  if constexpr (kNarrow) {
    for (; n_subs - s >= 2 * Rows::kRows; s += 2 * Rows::kRows) sums.add_two(codes, s);
  }
  for (; n_subs - s >= Rows::kRows; s += Rows::kRows) sums.add(codes, s, Rows::kRows);
  if (Rows::kRows > 2 && s < n_subs) sums.add(codes, s, 2);
  uint16_t* out = args.scores + from * args.score_stride + uint64_t{page} * kPagePositions;
  uint16_t* page_max = args.page_max + from * args.max_stride + page;
  const uint64_t score_stride = args.score_stride, max_stride = args.max_stride;
  const bool has_outliers = args.n_outliers != 0;
#pragma GCC unroll 8
  for (int i = 0; i < kQueries; ++i, out += score_stride, page_max += max_stride) {
    PageScores scores = sums.scores(i);
    if (has_outliers) {
      const uint32_t query = from + static_cast<uint32_t>(i);
      const int16_t* weights = args.outlier_weights[query];
      const int32_t base = args.outlier_base[query];
      scores.first = _mm256_add_epi16(scores.first, outliers.scores(0, weights, base));
      scores.second = _mm256_add_epi16(scores.second, outliers.scores(1, weights, base));
    }
    scores.store(out);
    *page_max = max_score(scores);
  }
}

/// Queries from `from` on, as many at a time as registers hold.
template <typename Rows, bool kNarrow, int kQueries = Rows::kMaxQueries>
void scan_queries(const LookupScanArgs& args, uint32_t page, uint32_t from, const OutlierCodes& outliers) {
  for (; args.n_queries - from >= kQueries; from += kQueries) {
    scan_page<Rows, kQueries, kNarrow>(args, page, from, outliers);
  }
  if constexpr (kQueries > 1) scan_queries<Rows, kNarrow, kQueries - 1>(args, page, from, outliers);
}

/// A page's codes serve all queries before the next page's are read.
template <typename Rows, bool kNarrow>
void scan_pages(const LookupScanArgs& args) {
  const uint64_t page_bytes = lookup_page_bytes(args.n_subs, args.n_outliers);
  for (uint32_t page = 0; page < args.n_pages; ++page) {
    fetch_ahead(args.codes, page, args.n_pages, page_bytes);
    const OutlierCodes outliers(args.codes[page] + 16 * args.n_subs, args.n_outliers);
    scan_queries<Rows, kNarrow>(args, page, 0, outliers);
  }
}

template <typename Rows>
void lookup_scan(const LookupScanArgs& args) noexcept {
  args.narrow ? scan_pages<Rows, true>(args) : scan_pages<Rows, false>(args);
}

}  // namespace
}  // namespace lutra::kernels::avx2
