#include "attention/codebook_training.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "attention/key_encoder.h"

namespace lutra::attention {

using kernels::kCentroids;
using kernels::kPagePositions;

namespace {

constexpr uint32_t kRounds = 16;
constexpr uint32_t kMostPages = 128;  // of samples a head: 4,096 keys, 256 a centroid

// Complete pages after the first.
uint32_t sampled_pages(const TrainingInput& input) { return input.positions / kPagePositions - 1; }

// SplitMix64 (Steele et al. 2014): every seed gives a good sequence.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  double uniform() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
  }

 private:
  uint64_t state_;
};

// Samples and working memory of one thread.
struct Workspace {
  std::vector<PageKeys> samples;  ///< [pages]
  std::vector<uint8_t> codes;     ///< [n_subs][16]
  std::vector<double> sums;       ///< [n_subs][d_sub][16]
  std::vector<uint32_t> counts;   ///< [n_subs][16]
  std::vector<double> distances;  ///< [samples] to the nearest centroid chosen so far
};

class HeadTrainer {
 public:
  HeadTrainer(const kernels::KernelTable& kernels, cache::KvCache& cache, const TrainingInput& input, Codebooks& books,
              Workspace& workspace)
      : kernels_(kernels), cache_(cache), input_(input), books_(books), shape_(books.shape()), work_(workspace) {}

  void train(uint32_t layer, uint32_t head) {
    Random random(uint64_t{layer} << 32 | head);
    const HeadCodebook book = books_.head(layer, head);
    read_samples(layer, head, random);
    if (shape_.n_outliers > 0) separate_outliers(book);
    for (uint32_t sub = 0; sub < shape_.n_subs(); ++sub) seed(sub, book, random);
    for (uint32_t round = 0; round < kRounds; ++round) improve(book);
  }

 private:
  uint64_t n_samples() const { return work_.samples.size() * kPagePositions; }
  float& sample(uint32_t place, uint64_t i) {
    return work_.samples[i / kPagePositions].places[uint64_t{place} * kPagePositions + i % kPagePositions];
  }

  void read_samples(uint32_t layer, uint32_t head, Random& random) {
    for (size_t i = 0; i < work_.samples.size(); ++i) {
      const auto page = static_cast<uint32_t>(1 + i % sampled_pages(input_));
      read_page_keys(kernels_, cache_.shape().type, cache_.keys(layer, static_cast<uint32_t>(input_.pages[page]), head),
                     books_.dims(), {}, work_.samples[i]);
      if (input_.spread) turn(work_.samples[i], page, random);
    }
  }

  // Sub-vectors begin with the rotated pairs, in ascending order: pair p is at places 2p and 2p + 1.
  void turn(PageKeys& keys, uint32_t page, Random& random) {
    for (uint32_t s = 0; s < kPagePositions; ++s) {
      const double from = page * kPagePositions + s;
      const double to = std::floor(random.uniform() * input_.context);
      for (uint32_t p = 0; p < input_.n_pairs; ++p) {
        const double angle = (to - from) * input_.angles[p];
        const auto cosine = static_cast<float>(std::cos(angle)), sine = static_cast<float>(std::sin(angle));
        float& a = keys.places[uint64_t{2} * p * kPagePositions + s];
        float& b = keys.places[(uint64_t{2} * p + 1) * kPagePositions + s];
        const float turned = a * cosine - b * sine;
        b = a * sine + b * cosine;
        a = turned;
      }
    }
  }

  // The pairs of places with the largest variance become outliers: their samples and centroids are zeros.
  void separate_outliers(const HeadCodebook& book) {
    std::vector<std::pair<double, uint32_t>> ranked;
    for (uint32_t place = 0; place < shape_.head_dim; place += 2) {
      ranked.push_back({-(variance(place) + variance(place + 1)), place});
    }
    std::sort(ranked.begin(), ranked.end());
    for (uint32_t o = 0; o < shape_.n_outliers; ++o) {
      const uint32_t place = ranked[o / 2].second + o % 2;
      float largest = 0;
      for (uint64_t i = 0; i < n_samples(); ++i) {
        largest = std::max(largest, std::fabs(sample(place, i)));
        sample(place, i) = 0;
      }
      book.outlier_dims[o] = books_.dims()[place];
      book.outlier_scales[o] = largest / 127.0f;
    }
  }

  double variance(uint32_t place) {
    double sum = 0, squares = 0;
    for (uint64_t i = 0; i < n_samples(); ++i) {
      const double x = sample(place, i);
      sum += x;
      squares += x * x;
    }
    const double mean = sum / static_cast<double>(n_samples());
    return squares / static_cast<double>(n_samples()) - mean * mean;
  }

  // k-means++ (Arthur and Vassilvitskii 2007).
  void seed(uint32_t sub, const HeadCodebook& book, Random& random) {
    const uint32_t d_sub = shape_.d_sub;
    float* centroids = book.centroids + uint64_t{sub} * d_sub * kCentroids;
    auto chosen = static_cast<uint64_t>(random.uniform() * static_cast<double>(n_samples()));
    std::fill(work_.distances.begin(), work_.distances.end(), HUGE_VAL);
    for (uint32_t c = 0; c < kCentroids; ++c) {
      for (uint32_t j = 0; j < d_sub; ++j) centroids[j * kCentroids + c] = sample(sub * d_sub + j, chosen);
      double total = 0;
      for (uint64_t i = 0; i < n_samples(); ++i) {
        double distance = 0;
        for (uint32_t j = 0; j < d_sub; ++j) {
          const double gap = sample(sub * d_sub + j, i) - centroids[j * kCentroids + c];
          distance += gap * gap;
        }
        total += work_.distances[i] = std::min(work_.distances[i], distance);
      }
      double aim = random.uniform() * total;
      for (chosen = 0; chosen + 1 < n_samples() && (aim -= work_.distances[chosen]) > 0;) ++chosen;
    }
  }

  // One of Lloyd's rounds; a centroid that nobody is nearest to stays.
  void improve(const HeadCodebook& book) {
    const uint32_t d_sub = shape_.d_sub, n_subs = shape_.n_subs();
    std::fill(work_.sums.begin(), work_.sums.end(), 0.0);
    std::fill(work_.counts.begin(), work_.counts.end(), 0u);
    for (const PageKeys& keys : work_.samples) {
      kernels_.lookup.encode({.n_subs = n_subs,
                              .d_sub = d_sub,
                              .keys = keys.places,
                              .centroids = book.centroids,
                              .n_outliers = 0,
                              .outliers = nullptr,
                              .outlier_scales = nullptr,
                              .codes = work_.codes.data()});
      for (uint32_t sub = 0; sub < n_subs; ++sub) {
        for (uint32_t t = 0; t < kPagePositions; ++t) {
          const uint32_t code = work_.codes[sub * 16 + t % 16] >> (t / 16 * 4) & 15;
          ++work_.counts[sub * kCentroids + code];
          for (uint32_t j = 0; j < d_sub; ++j) {
            work_.sums[(sub * d_sub + j) * kCentroids + code] += keys.places[(sub * d_sub + j) * kPagePositions + t];
          }
        }
      }
    }
    for (uint32_t i = 0; i < n_subs * d_sub * kCentroids; ++i) {
      const uint32_t count = work_.counts[i / (d_sub * kCentroids) * kCentroids + i % kCentroids];
      if (count > 0) book.centroids[i] = static_cast<float>(work_.sums[i] / count);
    }
  }

  const kernels::KernelTable& kernels_;
  cache::KvCache& cache_;
  const TrainingInput& input_;
  Codebooks& books_;
  CodebookShape shape_;
  Workspace& work_;
};

}  // namespace

std::vector<uint32_t> pair_order(uint32_t head_dim, uint32_t n_pairs, bool halves) {
  std::vector<uint32_t> dims;
  for (uint32_t p = 0; p < n_pairs; ++p) {
    dims.push_back(halves ? p : 2 * p);
    dims.push_back(halves ? p + n_pairs : 2 * p + 1);
  }
  for (uint32_t d = 2 * n_pairs; d < head_dim; ++d) dims.push_back(d);
  return dims;
}

base::Status train_codebooks(base::ThreadTeam& team, const kernels::KernelTable& kernels, cache::KvCache& cache,
                             const TrainingInput& input, Codebooks& books) {
  const CodebookShape& shape = books.shape();
  if (input.positions < kLeastTrainingPositions || input.pages.size() * kPagePositions < input.positions) {
    return {"INVALID_OPTION", "positions: expected at least " + std::to_string(kLeastTrainingPositions) +
                                  " of a text to train codebooks, got " + std::to_string(input.positions)};
  }
  for (const int32_t page : input.pages) {
    if (static_cast<uint32_t>(page) < cache.shape().n_pages) continue;
    return {"INVALID_OPTION",
            "pages: expected pages below " + std::to_string(cache.shape().n_pages) + ", got " + std::to_string(page)};
  }
  Workspace blank;
  // Spread out, a key can be used more than once, each time at another position.
  blank.samples.resize(input.spread ? kMostPages : std::min(kMostPages, sampled_pages(input)));
  blank.codes.resize(16ull * shape.n_subs());
  blank.sums.resize(uint64_t{kCentroids} * shape.head_dim);
  blank.counts.resize(uint64_t{kCentroids} * shape.n_subs());
  blank.distances.resize(blank.samples.size() * kPagePositions);
  std::vector<Workspace> workspaces(static_cast<size_t>(team.size()), blank);
  team.parallel_for(shape.n_layers * shape.n_kv_heads, [&](uint32_t chunk, int member) {
    const uint32_t layer = chunk / shape.n_kv_heads;
    if (books.coded()[layer] == 0) return;
    HeadTrainer(kernels, cache, input, books, workspaces[static_cast<size_t>(member)])
        .train(layer, chunk % shape.n_kv_heads);
  });
  books.update_ranges();
  return {};
}

}  // namespace lutra::attention
