// A step of lookup attention has three rounds, each spread over threads: scan (tables and scores of ranges of codes,
// and what is exact anyway), choose (a threshold per query head), and read (chosen keys, or all values).
#include "attention/nomad.h"

#include <algorithm>
#include <cmath>

#include "attention/nomad_scratch.h"
#include "attention/nomad_tail.h"

namespace lutra::attention {

namespace {

using kernels::kLookupQueries;
using kernels::kPagePositions;
using kernels::kTilePages;
using kernels::kTilePositions;

constexpr uint32_t kScanPages = 64;
constexpr float kBinWidth = 0.25f;  // nats

// Query heads that share a K/V head and the keys they choose.
struct Group {
  uint32_t kv_head;
  uint32_t head_begin;
  uint32_t n;
};

// What a kernel gives for the queries of a group.
struct GroupResults {
  float max[kLookupQueries];
  float sum[kLookupQueries];
  alignas(64) float acc[kLookupQueries * kMaxHeadDim];  ///< [n][head_dim]

  void store(uint32_t i, uint32_t head_dim, const Partial& out) const {
    out.store(max[i], sum[i], acc + uint64_t{i} * head_dim);
  }
};

// Writes 16-bit codes of a query as rows of keys want it, each dimension times the reach of its range, with the scale
// of the codes and what the middles come to. Of a query that is not finite: codes 0, scale NaN.
void encode_query(const float* query, const KeyRanges& ranges, uint32_t head_dim, int16_t* codes, HeadScores& scores) {
  float reached[kMaxHeadDim], largest = 0, bias = 0;
  bool finite = true;
  for (uint32_t d = 0; d < head_dim; ++d) {
    reached[d] = query[d] * ranges.reaches[d];
    bias += query[d] * ranges.middles[d];
    largest = std::max(largest, std::fabs(reached[d]));
    finite &= std::isfinite(reached[d]);
  }
  const float factor = finite && largest > 1e-30f ? 32767.0f / largest : 0.0f;
  for (uint32_t d = 0; d < head_dim; ++d) {
    codes[d] = factor == 0 ? int16_t{0} : static_cast<int16_t>(std::nearbyint(reached[d] * factor));
  }
  scores.query_scale = finite ? largest / 32767.0f : NAN;
  scores.query_bias = bias;
}

class NomadAttention {
 public:
  NomadAttention(base::ThreadTeam& team, const kernels::KernelTable& kernels, cache::KvCache& cache,
                 const NomadOptions& options, const NomadInput& input, uint8_t* scratch)
      : team_(team),
        kernels_(kernels),
        cache_(cache),
        options_(options),
        input_(input),
        attention_(*input.attention),
        shape_(input.books->shape()),
        group_(attention_.n_heads / shape_.n_kv_heads),
        groups_per_head_((group_ + kLookupQueries - 1) / kLookupQueries) {
    uint32_t most = 0;
    for (const CodedRow& row : input.rows) most = std::max(most, coded_end(row));
    scratch_ = NomadScratch(shape_, attention_.n_heads, most, scratch);
  }

  void run() {
    for (size_t begin = 0; begin < input_.rows.size(); begin += kScratchRows) {
      rows_ = input_.rows.subspan(begin, std::min<size_t>(kScratchRows, input_.rows.size() - begin));
      run_rows();
    }
  }

 private:
  uint32_t position(const CodedRow& row) const { return static_cast<uint32_t>(attention_.positions[row.row]); }
  uint32_t coded_end(const CodedRow& row) const { return coded_pages(position(row)); }
  uint32_t page_id(uint32_t r, uint32_t page) const { return static_cast<uint32_t>(rows_[r].page_table[page]); }
  uint32_t n_groups() const { return shape_.n_kv_heads * groups_per_head_; }
  // Ranges of `pages` pages from the first coded one up to `end`.
  uint32_t n_ranges(uint32_t end, uint32_t pages) const { return (end - 1 + pages - 1) / pages; }
  bool is_pure() const { return options_.mode == NomadMode::kPure; }
  // Ranges of codes that are read at a time: tiles of all positions, or ranges of chosen keys.
  uint32_t read_ranges(uint32_t end) const {
    return is_pure() ? (end + kTilePages - 1) / kTilePages : n_ranges(end, kReadPages);
  }
  Group group_at(uint32_t i) const {
    const uint32_t kv_head = i / groups_per_head_, first = i % groups_per_head_ * kLookupQueries;
    return {kv_head, kv_head * group_ + first, std::min(kLookupQueries, group_ - first)};
  }
  const float* query(const CodedRow& row, uint32_t head) const {
    return attention_.queries + (static_cast<uint64_t>(row.row) * attention_.n_heads + head) * shape_.head_dim;
  }

  void run_rows();
  void scan(uint32_t r, const Group& group, uint32_t range);
  void build_tables(uint32_t r, const Group& group, bool keep, uint8_t* tables, int16_t* weights, int32_t* bases);
  void attend_exactly(uint32_t r, const Group& group);
  void choose(uint32_t r, uint32_t head);
  void read_chosen(uint32_t r, uint32_t group_index, uint32_t range);
  void read_all(uint32_t r, const Group& group, uint32_t range);
  void finish(uint32_t r, uint32_t head);
  void add_share(uint32_t r);

  base::ThreadTeam& team_;
  const kernels::KernelTable& kernels_;
  cache::KvCache& cache_;
  const NomadOptions& options_;
  const NomadInput& input_;
  const AttentionInput& attention_;
  CodebookShape shape_;
  uint32_t group_;
  uint32_t groups_per_head_;
  NomadScratch scratch_;
  std::span<const CodedRow> rows_;
};

// Tables of the group's queries. `keep`: this call is the one that writes down what the tables' sums mean.
void NomadAttention::build_tables(uint32_t r, const Group& group, bool keep, uint8_t* tables, int16_t* weights,
                                  int32_t* bases) {
  const HeadCodebook book = input_.books->head(attention_.layer, group.kv_head);
  const std::vector<uint32_t>& dims = input_.books->dims();
  for (uint32_t i = 0; i < group.n; ++i) {
    const float* q = query(rows_[r], group.head_begin + i);
    float permuted[kMaxHeadDim];
    for (uint32_t place = 0; place < shape_.head_dim; ++place) permuted[place] = q[dims[place]];
    float spare = 0;
    for (uint32_t o = 0; o < shape_.n_outliers; ++o) {
      spare += 2.0f * 127.0f * std::fabs(q[book.outlier_dims[o]] * book.outlier_scales[o]);
    }
    float step, bias;
    kernels_.lookup.tables({.n_subs = shape_.n_subs(),
                            .d_sub = shape_.d_sub,
                            .levels = options_.levels,
                            .query = permuted,
                            .centroids = book.centroids,
                            .spare = spare,
                            .tables = tables + uint64_t{16} * shape_.n_subs() * i,
                            .step = &step,
                            .bias = &bias});
    // Outliers count in the same units; the base keeps their sum positive, and is taken off again in the bias.
    int32_t base = 0;
    for (uint32_t o = 0; o < shape_.n_outliers; ++o) {
      const float unit = step > 0 ? q[book.outlier_dims[o]] * book.outlier_scales[o] / step : 0.0f;
      const float weight = std::nearbyint(unit * (1 << kernels::kOutlierShift));
      weights[i * kernels::kMaxOutliers + o] = static_cast<int16_t>(weight);
      base += 127 * std::abs(static_cast<int32_t>(weight));
    }
    bases[i] = base;
    if (!keep) continue;
    HeadScores& scores = scratch_.head(r, group.head_begin + i);
    scores.step = step;
    scores.bias = bias - step * static_cast<float>(base) / (1 << kernels::kOutlierShift);
  }
}

void NomadAttention::scan(uint32_t r, const Group& group, uint32_t range) {
  const uint32_t begin = 1 + range * kScanPages, end = std::min(begin + kScanPages, coded_end(rows_[r]));
  if (begin >= end) return;
  alignas(64) uint8_t tables[kLookupQueries * 16 * kernels::kMaxSubVectors];
  int16_t weights[kLookupQueries * kernels::kMaxOutliers];
  int32_t bases[kLookupQueries];
  build_tables(r, group, range == 0, tables, weights, bases);
  const uint8_t* codes[kScanPages];
  const uint8_t* table_of[kLookupQueries];
  const int16_t* weights_of[kLookupQueries];
  for (uint32_t page = begin; page < end; ++page) {
    const uint32_t id = page_id(r, page);
    codes[page - begin] = input_.codes->codes(attention_.layer, id, group.kv_head);
  }
  for (uint32_t i = 0; i < group.n; ++i) {
    table_of[i] = tables + uint64_t{16} * shape_.n_subs() * i;
    weights_of[i] = weights + i * kernels::kMaxOutliers;
  }
  kernels_.lookup.scan({.n_subs = shape_.n_subs(),
                        .n_pages = end - begin,
                        .n_queries = group.n,
                        .narrow = options_.levels <= 127,
                        .codes = codes,
                        .tables = table_of,
                        .n_outliers = shape_.n_outliers,
                        .outlier_weights = weights_of,
                        .outlier_base = bases,
                        .scores = scratch_.scores(r, group.head_begin, begin),
                        .score_stride = scratch_.score_stride(),
                        .page_max = scratch_.page_max(r, group.head_begin, begin),
                        .max_stride = scratch_.max_stride()});
}

// The first page, and the newest positions: up to two tiles.
void NomadAttention::attend_exactly(uint32_t r, const Group& group) {
  const uint32_t newest = coded_end(rows_[r]) * kPagePositions, last = position(rows_[r]) + 1;
  const struct {
    uint32_t first, last, tile;
  } parts[kExactParts] = {
      {0, kPagePositions, 0}, {newest, last, newest / kTilePositions}, {newest, last, newest / kTilePositions + 1}};
  const float* queries[kLookupQueries];
  for (uint32_t i = 0; i < group.n; ++i) queries[i] = query(rows_[r], group.head_begin + i);
  for (uint32_t part = 0; part < kExactParts; ++part) {
    const uint32_t begin = parts[part].tile * kTilePositions;
    const uint8_t *k_pages[kTilePages] = {}, *v_pages[kTilePages] = {};
    uint32_t first[kLookupQueries], end[kLookupQueries];
    std::fill_n(first, group.n, parts[part].first);
    std::fill_n(end, group.n, parts[part].last);
    for (uint32_t page = std::max(begin, parts[part].first) / kPagePositions;
         page * kPagePositions < std::min(begin + kTilePositions, parts[part].last); ++page) {
      const uint32_t id = page_id(r, page);
      k_pages[page % kTilePages] = cache_.keys(attention_.layer, id, group.kv_head);
      v_pages[page % kTilePages] = cache_.values(attention_.layer, id, group.kv_head);
    }
    GroupResults results;
    kernels_.attention_tile[cache_.type_index()]({.head_dim = shape_.head_dim,
                                                  .n_queries = group.n,
                                                  .queries = queries,
                                                  .first = first,
                                                  .last = end,
                                                  .tile_begin = begin,
                                                  .k_pages = k_pages,
                                                  .v_pages = v_pages,
                                                  .max_out = results.max,
                                                  .sum_out = results.sum,
                                                  .acc_out = results.acc});
    for (uint32_t i = 0; i < group.n; ++i) {
      results.store(i, shape_.head_dim, scratch_.exact_part(r, group.head_begin + i, part));
    }
  }
}

// The highest threshold that leaves out at most epsilon of the mass: bins are dropped from the lowest scores up. Then
// bins are dropped while more than max_keep of the keys are left.
void NomadAttention::choose(uint32_t r, uint32_t head) {
  HeadScores& scores = scratch_.head(r, head);
  encode_query(query(rows_[r], head), input_.books->ranges(attention_.layer, head / group_), shape_.head_dim,
               scratch_.query(r, head), scores);
  const uint32_t n_pages = coded_end(rows_[r]) - 1;
  const uint16_t* page_max = scratch_.page_max(r, head, 1);
  const uint16_t top = *std::max_element(page_max, page_max + n_pages);
  scores.threshold = 0;
  scores.dropped = 0;
  if (!(scores.step >= 0)) return;  // a query that is not finite: reading everything shows it
  const float wanted = std::nearbyint(65536.0f * scores.step / kBinWidth);
  const auto factor = static_cast<uint16_t>(std::clamp(wanted, 1.0f, 65535.0f));
  uint32_t counts[kernels::kScoreBins];
  kernels_.lookup.histogram({.n_pages = n_pages,
                             .scores = scratch_.scores(r, head, 1),
                             .page_max = page_max,
                             .top = top,
                             .factor = factor,
                             .counts = counts});
  const double width = double{scores.step} * 65536.0 / factor;
  const double top_score = double{scores.bias} + double{scores.step} * top;
  double mass[kernels::kScoreBins], total = 0;  // in units of exp(top_score)
  const double next_bin = std::exp(-width);
  double weight = std::exp(-0.5 * width);  // of the middle of a bin; the last one is open, and counted at its top
  for (uint32_t bin = 0; bin + 1 < kernels::kScoreBins; ++bin, weight *= next_bin) {
    total += mass[bin] = counts[bin] * weight;
  }
  constexpr uint32_t kLast = kernels::kScoreBins - 1;
  total += mass[kLast] = counts[kLast] * weight * std::exp(0.5 * width);
  for (uint32_t part = 0; part < kExactParts; ++part) {
    const Partial exact = scratch_.exact_part(r, head, part);
    if (exact.sum() > 0) total += exact.sum() * std::exp(std::min(exact.max() - top_score, 600.0));
  }
  uint32_t kept_bins = kernels::kScoreBins, kept = n_pages * kPagePositions;
  double dropped = 0;
  const auto least = static_cast<uint32_t>(kLeastKept * static_cast<float>(kept));
  const auto limit = static_cast<uint32_t>(options_.max_keep * static_cast<float>(kept));
  while (kept_bins > 0) {
    const uint32_t bin = kept_bins - 1;
    const bool affordable = dropped + mass[bin] <= options_.epsilon * total;
    if (!affordable && (kept <= limit || bin == 0)) break;
    if (kept - counts[bin] < least) break;
    dropped += mass[bin];
    kept -= counts[bin];
    kept_bins = bin;
  }
  scores.dropped = dropped / total;
  if (kept_bins == kernels::kScoreBins) return;
  // bin < kept_bins ⟺ (top − U) · factor < kept_bins · 65536
  const int64_t below = kept_bins == 0 ? -1 : (int64_t{kept_bins} * 65536 - 1) / factor;
  scores.threshold = static_cast<uint16_t>(std::clamp<int64_t>(top - below, 0, 65535));
}

void NomadAttention::read_chosen(uint32_t r, uint32_t group_index, uint32_t range) {
  const Group group = group_at(group_index);
  const uint32_t begin = 1 + range * kReadPages, end = std::min(begin + kReadPages, coded_end(rows_[r]));
  if (begin >= end) return;
  uint16_t thresholds[kLookupQueries];
  const int16_t* queries[kLookupQueries];
  float query_scales[kLookupQueries], query_biases[kLookupQueries];
  for (uint32_t i = 0; i < group.n; ++i) {
    const HeadScores& scores = scratch_.head(r, group.head_begin + i);
    thresholds[i] = scores.threshold;
    query_scales[i] = scores.query_scale;
    query_biases[i] = scores.query_bias;
    queries[i] = scratch_.query(r, group.head_begin + i);
  }
  uint32_t selected[kReadPages * kPagePositions], n_selected = 0;
  kernels_.lookup.select({.n_pages = end - begin,
                          .n_queries = group.n,
                          .scores = scratch_.scores(r, group.head_begin, begin),
                          .score_stride = scratch_.score_stride(),
                          .page_max = scratch_.page_max(r, group.head_begin, begin),
                          .max_stride = scratch_.max_stride(),
                          .thresholds = thresholds,
                          .selected = selected,
                          .n_selected = &n_selected});
  scratch_.chosen(r, group_index, range) = n_selected;
  const uint8_t *rows[kReadPages], *v_pages[kReadPages];
  for (uint32_t page = begin; page < end; ++page) {
    const uint32_t id = page_id(r, page);
    rows[page - begin] = input_.codes->rows(attention_.layer, id, group.kv_head);
    v_pages[page - begin] = cache_.values(attention_.layer, id, group.kv_head);
  }
  alignas(64) float scores[kLookupQueries * kReadPages * kPagePositions];
  GroupResults results;
  kernels_.lookup.refine({.head_dim = shape_.head_dim,
                          .n_queries = group.n,
                          .queries = queries,
                          .query_scales = query_scales,
                          .query_biases = query_biases,
                          .n_selected = n_selected,
                          .selected = selected,
                          .rows = rows,
                          .scores = scores,
                          .score_stride = kReadPages * kPagePositions,
                          .max_out = results.max,
                          .sum_out = results.sum,
                          .acc_out = results.acc});
  for (uint32_t i = 0; i < group.n; ++i) {
    const uint32_t head = group.head_begin + i;
    const Partial out = scratch_.range_part(r, head, range);
    results.store(i, shape_.head_dim, out);
    if (!options_.tail) continue;
    add_tail(kernels_, cache_.type_index(),
             {.head_dim = shape_.head_dim,
              .scores = {scratch_.scores(r, head, begin), (end - begin) * kPagePositions},
              .selected = {selected, n_selected},
              .v_pages = v_pages,
              .step = scratch_.head(r, head).step,
              .bias = scratch_.head(r, head).bias},
             out);
  }
}

void NomadAttention::read_all(uint32_t r, const Group& group, uint32_t range) {
  const uint32_t tile_begin = range * kTilePositions, last = coded_end(rows_[r]) * kPagePositions;
  if (tile_begin >= last) return;
  const uint8_t* v_pages[kTilePages] = {};
  for (uint32_t page = std::max(tile_begin / kPagePositions, 1u);
       page < std::min(tile_begin / kPagePositions + kTilePages, coded_end(rows_[r])); ++page) {
    const uint32_t id = page_id(r, page);
    v_pages[page % kTilePages] = cache_.values(attention_.layer, id, group.kv_head);
  }
  const uint16_t* scores[kLookupQueries];
  float steps[kLookupQueries], biases[kLookupQueries];
  uint32_t first[kLookupQueries], end[kLookupQueries];
  for (uint32_t i = 0; i < group.n; ++i) {
    const HeadScores& head = scratch_.head(r, group.head_begin + i);
    scores[i] = scratch_.scores(r, group.head_begin + i, tile_begin / kPagePositions);
    steps[i] = head.step;
    biases[i] = head.bias;
    first[i] = kPagePositions;
    end[i] = last;
  }
  GroupResults results;
  kernels_.lookup.tile[cache_.type_index()]({.head_dim = shape_.head_dim,
                                             .n_queries = group.n,
                                             .scores = scores,
                                             .steps = steps,
                                             .biases = biases,
                                             .first = first,
                                             .last = end,
                                             .tile_begin = tile_begin,
                                             .v_pages = v_pages,
                                             .max_out = results.max,
                                             .sum_out = results.sum,
                                             .acc_out = results.acc});
  for (uint32_t i = 0; i < group.n; ++i) {
    results.store(i, shape_.head_dim, scratch_.range_part(r, group.head_begin + i, range));
  }
}

// Parts in ascending order of positions.
void NomadAttention::finish(uint32_t r, uint32_t head) {
  const uint32_t end = coded_end(rows_[r]);
  float* out = attention_.out + (static_cast<uint64_t>(rows_[r].row) * attention_.n_heads + head) * shape_.head_dim;
  float max = -INFINITY, sum = 0;
  std::fill_n(out, shape_.head_dim, 0.0f);
  const auto add = [&](const Partial& part) {
    kernels_.attention_merge(&max, &sum, out, part.max(), part.sum(), part.acc(), shape_.head_dim);
  };
  add(scratch_.exact_part(r, head, 0));
  for (uint32_t range = 0; range < read_ranges(end); ++range) add(scratch_.range_part(r, head, range));
  for (uint32_t part = 1; part < kExactParts; ++part) add(scratch_.exact_part(r, head, part));
  kernels_.scale(out, 1.0f / sum, shape_.head_dim);
}

void NomadAttention::run_rows() {
  const auto n_rows = static_cast<uint32_t>(rows_.size());
  uint32_t end = 1;
  for (const CodedRow& row : rows_) end = std::max(end, coded_end(row));
  // One more than the scans: what is exact.
  const uint32_t scans = n_ranges(end, kScanPages) + 1;
  team_.parallel_for(n_rows * n_groups() * scans, [&](uint32_t chunk, int) {
    const uint32_t r = chunk / scans / n_groups();
    const Group group = group_at(chunk / scans % n_groups());
    chunk % scans + 1 == scans ? attend_exactly(r, group) : scan(r, group, chunk % scans);
  });
  if (!is_pure()) {
    team_.parallel_for(n_rows * attention_.n_heads,
                       [&](uint32_t chunk, int) { choose(chunk / attention_.n_heads, chunk % attention_.n_heads); });
  }
  const uint32_t ranges = read_ranges(end);
  team_.parallel_for(n_rows * n_groups() * ranges, [&](uint32_t chunk, int) {
    const uint32_t r = chunk / ranges / n_groups(), group = chunk / ranges % n_groups();
    is_pure() ? read_all(r, group_at(group), chunk % ranges) : read_chosen(r, group, chunk % ranges);
  });
  for (uint32_t r = 0; r < n_rows; ++r) {
    for (uint32_t head = 0; head < attention_.n_heads; ++head) finish(r, head);
    add_share(r);
  }
}

void NomadAttention::add_share(uint32_t r) {
  CodedShare& share = input_.shares[rows_[r].row];
  if (is_pure()) {
    share.kept += 1;
    return;
  }
  const uint32_t end = coded_end(rows_[r]);
  uint64_t chosen = 0;
  double dropped = 0;
  for (uint32_t group = 0; group < n_groups(); ++group) {
    for (uint32_t range = 0; range < read_ranges(end); ++range) chosen += scratch_.chosen(r, group, range);
  }
  for (uint32_t head = 0; head < attention_.n_heads; ++head) dropped += scratch_.head(r, head).dropped;
  share.kept += static_cast<double>(chosen) / ((end - 1.0) * kPagePositions * n_groups());
  share.dropped += dropped / attention_.n_heads;
}

}  // namespace

uint64_t nomad_scratch_bytes(const CodebookShape& shape, uint32_t n_heads, uint32_t max_positions) {
  return NomadScratch(shape, n_heads, max_positions / kPagePositions, nullptr).size_bytes();
}

void attend_nomad(base::ThreadTeam& team, const kernels::KernelTable& kernels, cache::KvCache& cache,
                  const NomadOptions& options, const NomadInput& input, uint8_t* scratch) {
  NomadAttention(team, kernels, cache, options, input, scratch).run();
}

}  // namespace lutra::attention
