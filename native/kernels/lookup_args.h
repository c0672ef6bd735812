// What the kernels of lookup attention take: keys as 4-bit codes of product quantisers, scored by table lookups.
//
// A head's dimensions are cut into S sub-vectors of d_sub dimensions, each with 16 centroids; a key's code is the index
// of the nearest centroid of each sub-vector. Dimensions come permuted by the caller, so that sub-vectors are
// neighbours. A query's tables hold its product with every centroid, as bytes with one scale over all sub-vectors:
// q · k ≈ bias + step · U, where U is the integer sum of one table entry a sub-vector.
// Sources: Zhang et al. 2024, "NoMAD-Attention"; the blocked 4-bit layout is older: André et al. 2017, "Accelerated
// Nearest Neighbor Search with Quick ADC".
//
// Codes of one page of one K/V head: row s of 16 bytes is sub-vector s; byte j has the code of position j in the low
// nibble and of position j + 16 in the high one. After the S rows, if the head has outlier dimensions, their int8
// codes: row o of 32 bytes is outlier o.
//
// All kernels keep kernels.h's contract; integer results and codes are equal bit for bit over the paths, and so are the
// floats, in the orders given here.
#pragma once

#include <cstdint>

namespace lutra::kernels {

constexpr uint32_t kCentroids = 16;
/// Sub-vectors of a head, at most: 256 · 255 < 2^16, so a sum of table entries fits 16 bits.
constexpr uint32_t kMaxSubVectors = 256;
/// Queries of one call, at most; heads of a larger group come in several calls.
constexpr uint32_t kLookupQueries = 16;
constexpr uint32_t kMaxOutliers = 16;
/// Outlier products are fixed-point numbers with this many fraction bits.
constexpr int kOutlierShift = 6;
/// Bins of a histogram of scores.
constexpr uint32_t kScoreBins = 64;

constexpr uint64_t lookup_page_bytes(uint64_t n_subs, uint64_t n_outliers) { return 16 * n_subs + 32 * n_outliers; }

/// Codes of 32 positions. Distance: Σ_j (k_j − c_j)², from 0, by fma in ascending j; the smallest wins, ties go to the
/// lowest code; one that is not finite never wins (none is finite: code 0). Outlier code: round-half-even(k / scale),
/// kept in ±127; 0 for a NaN or where the scale is 0.
struct LookupEncodeArgs {
  uint32_t n_subs;              ///< even, ≤ kMaxSubVectors
  uint32_t d_sub;               ///< 1, 2 or 4
  const float* keys;            ///< [n_subs · d_sub][32], dimension-major
  const float* centroids;       ///< [n_subs][d_sub][16]
  uint32_t n_outliers;          ///< even, ≤ kMaxOutliers
  const float* outliers;        ///< [n_outliers][32]
  const float* outlier_scales;  ///< [n_outliers]
  uint8_t* codes;               ///< lookup_page_bytes
};

/// Tables of one query. Entry [s][c] = Σ_j q_j · centroid[j][c], from 0, by fma in ascending j. With min_s and span_s
/// of row s: scale = min(levels / max span, (65535 − n_subs) / (Σ span + spare)), Σ in ascending s; table =
/// round-half-even
/// ((entry − min_s) · scale), kept in [0, levels]; step = 1 / scale; bias = Σ min_s in ascending s.
/// No span at all, or so little that the scale is infinite: step 0, tables 0. An entry or a sum of these that is not
/// finite: step and bias NaN, tables 0.
struct LookupTablesArgs {
  uint32_t n_subs;
  uint32_t d_sub;
  uint32_t levels;         ///< 255, or 127 for the cheaper scan
  const float* query;      ///< [n_subs · d_sub], permuted like the keys
  const float* centroids;  ///< [n_subs][d_sub][16]
  float spare;             ///< width of what outliers add, in the units of q · k; 0 without them
  uint8_t* tables;         ///< [n_subs][16], 64-byte aligned
  float* step;
  float* bias;
};

/// scores[i][t] = Σ_s tables[i][s][code of t] + ((outlier_base[i] + Σ_o code · weight) >> kOutlierShift), for the
/// positions of `n_pages` pages; the caller's scale keeps it in 16 bits. page_max is the largest of each page.
struct LookupScanArgs {
  uint32_t n_subs;
  uint32_t n_pages;
  uint32_t n_queries;                     ///< 1..kLookupQueries
  bool narrow;                            ///< entries are ≤ 127: two may be added in a byte first
  const uint8_t* const* codes;            ///< [n_pages]
  const uint8_t* const* tables;           ///< [n_queries] → [n_subs][16], 64-byte aligned
  uint32_t n_outliers;                    ///< even, 0: the next two are not read
  const int16_t* const* outlier_weights;  ///< [n_queries] → [n_outliers]
  const int32_t* outlier_base;            ///< [n_queries]
  uint16_t* scores;                       ///< [n_queries][score_stride], of which 32 · n_pages are written
  uint64_t score_stride;
  uint16_t* page_max;  ///< [n_queries][max_stride], of which n_pages are written
  uint64_t max_stride;
};

/// counts[min(63, (top − score) · factor >> 16)] over all positions; no score is above `top`. A page whose maximum
/// falls into the last bin counts there as a whole, unread.
struct LookupHistogramArgs {
  uint32_t n_pages;
  const uint16_t* scores;    ///< [32 · n_pages]
  const uint16_t* page_max;  ///< [n_pages]
  uint16_t top;
  uint16_t factor;   ///< bins a unit of score, times 65536
  uint32_t* counts;  ///< [kScoreBins], overwritten
};

/// The positions, ascending, where any query's score reaches its threshold. A page whose maxima all stay below is not
/// read.
struct LookupSelectArgs {
  uint32_t n_pages;
  uint32_t n_queries;
  const uint16_t* scores;  ///< as LookupScanArgs
  uint64_t score_stride;
  const uint16_t* page_max;
  uint64_t max_stride;
  const uint16_t* thresholds;  ///< [n_queries]
  uint32_t* selected;          ///< [32 · n_pages] positions, 0 is the first of the first page
  uint32_t* n_selected;
};

}  // namespace lutra::kernels
