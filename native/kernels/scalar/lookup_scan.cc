// Scalar codes, tables, scores and selection of lookup attention, and the multiply-add control: see lookup_args.h.
#include <cmath>
#include <limits>

#include "kernels/lookup_scale.h"
#include "kernels/scalar/scalar.h"

namespace lutra::kernels::scalar {
namespace {

constexpr uint32_t kHalfPage = kPagePositions / 2;

/// The nearest of 16 centroids to the key at `keys`, dimension j at keys[32 · j].
uint32_t nearest(const float* keys, const float* centroids, uint32_t d_sub) {
  float best = std::numeric_limits<float>::infinity();
  uint32_t code = 0;
  for (uint32_t c = 0; c < kCentroids; ++c) {
    float distance = 0.0f;
    for (uint32_t j = 0; j < d_sub; ++j) {
      const float difference = keys[j * kPagePositions] - centroids[j * kCentroids + c];
      distance = std::fma(difference, difference, distance);
    }
    if (distance < best) {
      best = distance;
      code = c;
    }
  }
  return code;
}

uint8_t outlier_code(float key, float scale) {
  const float ratio = key / scale;
  if (scale == 0.0f || std::isnan(ratio)) return 0;
  const float kept = ratio > 127.0f ? 127.0f : ratio < -127.0f ? -127.0f : ratio;
  return static_cast<uint8_t>(static_cast<int8_t>(std::nearbyint(kept)));
}

void encode(const LookupEncodeArgs& args) noexcept {
  for (uint32_t s = 0; s < args.n_subs; ++s) {
    const float* keys = args.keys + uint64_t{s} * args.d_sub * kPagePositions;
    const float* centroids = args.centroids + uint64_t{s} * args.d_sub * kCentroids;
    for (uint32_t j = 0; j < kHalfPage; ++j) {
      const uint32_t low = nearest(keys + j, centroids, args.d_sub);
      const uint32_t high = nearest(keys + j + kHalfPage, centroids, args.d_sub);
      args.codes[uint64_t{s} * kHalfPage + j] = static_cast<uint8_t>(low | high << 4);
    }
  }
  uint8_t* codes = args.codes + uint64_t{args.n_subs} * kHalfPage;
  for (uint32_t i = 0; i < args.n_outliers * kPagePositions; ++i) {
    codes[i] = outlier_code(args.outliers[i], args.outlier_scales[i / kPagePositions]);
  }
}

/// The products of a query's sub-vector with its centroids.
struct Products {
  float entries[kCentroids];
  float min, max;
  bool finite = true;

  Products(const LookupTablesArgs& args, uint32_t s) {
    const float* query = args.query + uint64_t{s} * args.d_sub;
    const float* centroids = args.centroids + uint64_t{s} * args.d_sub * kCentroids;
    for (uint32_t c = 0; c < kCentroids; ++c) {
      float entry = 0.0f;
      for (uint32_t j = 0; j < args.d_sub; ++j) entry = std::fma(query[j], centroids[j * kCentroids + c], entry);
      entries[c] = entry;
      finite = finite && std::isfinite(entry);
      min = c == 0 || entry < min ? entry : min;
      max = c == 0 || entry > max ? entry : max;
    }
  }
};

void tables(const LookupTablesArgs& args) noexcept {
  TableSpans spans;
  for (uint32_t s = 0; s < args.n_subs; ++s) {
    const Products products(args, s);
    spans.add(products.min, products.max);
    spans.finite = spans.finite && products.finite;
  }
  const float scale = table_scale(args, spans), levels = static_cast<float>(args.levels);
  for (uint32_t s = 0; s < args.n_subs; ++s) {
    const Products products(args, s);
    for (uint32_t c = 0; c < kCentroids; ++c) {
      const float level = scale == 0.0f ? 0.0f : std::nearbyint((products.entries[c] - products.min) * scale);
      args.tables[s * kCentroids + c] = static_cast<uint8_t>(level > levels ? levels : level);
    }
  }
}

/// What the outliers of position t add to a score, modulo 2^16.
uint32_t outlier_score(const LookupScanArgs& args, uint32_t i, const uint8_t* codes, uint32_t t) {
  if (args.n_outliers == 0) return 0;
  int32_t sum = args.outlier_base[i];
  for (uint32_t o = 0; o < args.n_outliers; ++o) {
    sum += static_cast<int8_t>(codes[o * kPagePositions + t]) * args.outlier_weights[i][o];
  }
  return static_cast<uint32_t>(sum >> kOutlierShift);
}

void scan(const LookupScanArgs& args) noexcept {
  for (uint32_t i = 0; i < args.n_queries; ++i) {
    for (uint32_t page = 0; page < args.n_pages; ++page) {
      const uint8_t* codes = args.codes[page];
      uint32_t sums[kPagePositions] = {};
      for (uint32_t s = 0; s < args.n_subs; ++s) {
        const uint8_t* table = args.tables[i] + s * kCentroids;
        for (uint32_t j = 0; j < kHalfPage; ++j) {
          sums[j] += table[codes[s * kHalfPage + j] & 15];
          sums[j + kHalfPage] += table[codes[s * kHalfPage + j] >> 4];
        }
      }
      uint16_t* scores = args.scores + i * args.score_stride + uint64_t{page} * kPagePositions;
      uint16_t max = 0;
      for (uint32_t t = 0; t < kPagePositions; ++t) {
        scores[t] = static_cast<uint16_t>(sums[t] + outlier_score(args, i, codes + args.n_subs * kHalfPage, t));
        max = scores[t] > max ? scores[t] : max;
      }
      args.page_max[i * args.max_stride + page] = max;
    }
  }
}

uint32_t score_bin(const LookupHistogramArgs& args, uint16_t score) {
  const uint32_t bin = static_cast<uint32_t>(args.top - score) * args.factor >> 16;
  return bin < kScoreBins ? bin : kScoreBins - 1;
}

void histogram(const LookupHistogramArgs& args) noexcept {
  for (uint32_t bin = 0; bin < kScoreBins; ++bin) args.counts[bin] = 0;
  for (uint32_t page = 0; page < args.n_pages; ++page) {
    if (score_bin(args, args.page_max[page]) == kScoreBins - 1) {
      args.counts[kScoreBins - 1] += kPagePositions;
      continue;
    }
    const uint16_t* scores = args.scores + uint64_t{page} * kPagePositions;
    for (uint32_t t = 0; t < kPagePositions; ++t) ++args.counts[score_bin(args, scores[t])];
  }
}

/// Whether any query's value, at values[i · stride], reaches its threshold.
bool any_reaches(const LookupSelectArgs& args, const uint16_t* values, uint64_t stride) {
  for (uint32_t i = 0; i < args.n_queries; ++i) {
    if (values[i * stride] >= args.thresholds[i]) return true;
  }
  return false;
}

void select(const LookupSelectArgs& args) noexcept {
  uint32_t n = 0;
  for (uint32_t page = 0; page < args.n_pages; ++page) {
    if (!any_reaches(args, args.page_max + page, args.max_stride)) continue;
    for (uint32_t t = page * kPagePositions; t < (page + 1) * kPagePositions; ++t) {
      if (any_reaches(args, args.scores + t, args.score_stride)) args.selected[n++] = t;
    }
  }
  *args.n_selected = n;
}

void nibble_dot(const NibbleDotArgs& args) noexcept {
  for (uint32_t i = 0; i < args.n_queries; ++i) {
    for (uint32_t page = 0; page < args.n_pages; ++page) {
      int32_t* sums = args.sums + (uint64_t{i} * args.n_pages + page) * kPagePositions;
      for (uint32_t t = 0; t < kPagePositions; ++t) sums[t] = 0;
      for (uint32_t d = 0; d < args.head_dim; ++d) {
        const uint8_t* row = args.codes[page] + d / 2 * kPagePositions + d % 2;
        for (uint32_t j = 0; j < kHalfPage; ++j) {
          sums[j] += (row[2 * j] & 15) * args.queries[i][d];
          sums[j + kHalfPage] += (row[2 * j] >> 4) * args.queries[i][d];
        }
      }
    }
  }
}

}  // namespace

void fill_lookup_scan(KernelTable& table) noexcept {
  table.lookup.encode = encode;
  table.lookup.tables = tables;
  table.lookup.scan = scan;
  table.lookup.histogram = histogram;
  table.lookup.select = select;
  table.lookup.nibble_dot = nibble_dot;
}

}  // namespace lutra::kernels::scalar
