// Lookup attention as the engine calls it: training, encoding and attending over random keys, against exact attention.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <random>
#include <vector>

#include "attention/codebook_training.h"
#include "attention/key_encoder.h"
#include "attention/nomad.h"
#include "check.h"

using namespace lutra;
using attention::Codebooks;
using attention::CodebookShape;
using attention::NomadMode;
using attention::NomadOptions;
using kernels::kPagePositions;

namespace {

constexpr uint32_t kHeadDim = 64, kKvHeads = 2, kHeads = 6, kPairs = kHeadDim / 2;

/// One layer whose sequence fills all pages, in an order that is not ascending.
class Layer {
 public:
  Layer(cache::KvType type, uint32_t positions) : positions_(positions) {
    const uint32_t n_pages = (positions + kPagePositions - 1) / kPagePositions;
    cache_ = std::move(cache::KvCache::create({1, kKvHeads, kHeadDim, n_pages, type}).value());
    table_.resize(n_pages);
    for (uint32_t i = 0; i < n_pages; ++i) table_[i] = static_cast<int32_t>((i * 7 + 3) % n_pages);
    if (n_pages % 7 == 0) std::iota(table_.begin(), table_.end(), 0);
    std::mt19937 random(5);
    std::normal_distribution<float> normal;
    std::vector<float> key(kHeadDim), value(kHeadDim);
    for (uint32_t t = 0; t < positions; ++t) {
      for (uint32_t head = 0; head < kKvHeads; ++head) {
        for (float& x : key) x = normal(random);
        for (float& x : value) x = normal(random);
        cache_.store(kernels_, 0, page(t / kPagePositions), head, t % kPagePositions, key.data(), value.data());
      }
    }
  }

  Codebooks train(base::ThreadTeam& team, uint32_t d_sub, uint32_t n_outliers) {
    Codebooks books({1, kKvHeads, kHeadDim, d_sub, n_outliers}, attention::pair_order(kHeadDim, kPairs, true), {1});
    const std::vector<double> angles(kPairs, 0.01);
    const attention::TrainingInput input{.pages = table_,
                                         .positions = positions_,
                                         .n_pairs = kPairs,
                                         .halves = true,
                                         .angles = angles.data(),
                                         .spread = false,
                                         .context = positions_};
    CHECK(attention::train_codebooks(team, kernels_, cache_, input, books).ok());
    return books;
  }

  cache::KeyCodes encode(Codebooks& books) {
    const CodebookShape& shape = books.shape();
    const uint64_t bytes = kernels::lookup_page_bytes(shape.n_subs(), shape.n_outliers);
    auto codes = std::move(cache::KeyCodes::create(cache_.shape(), books.coded(), bytes).value());
    for (uint32_t i = 0; i < positions_ / kPagePositions; ++i) {
      for (uint32_t head = 0; head < kKvHeads; ++head) {
        attention::encode_page(kernels_, cache_, books, codes, 0, page(i), head);
      }
    }
    return codes;
  }

  /// Rows at the last positions; `queries` [rows][kHeads][kHeadDim].
  std::vector<float> attend(base::ThreadTeam& team, const std::vector<float>& queries, const NomadOptions* options,
                            Codebooks* books, cache::KeyCodes* codes, std::vector<attention::CodedShare>* shares) {
    const auto n_rows = static_cast<uint32_t>(queries.size() / (kHeads * kHeadDim));
    std::vector<int32_t> positions(n_rows);
    std::iota(positions.begin(), positions.end(), static_cast<int32_t>(positions_ - n_rows));
    std::vector<float> out(queries.size());
    const attention::RowSpan span{0, n_rows, table_.data()};
    const attention::AttentionInput input{.layer = 0,
                                          .n_heads = kHeads,
                                          .window = 0,
                                          .queries = queries.data(),
                                          .positions = positions.data(),
                                          .spans = {&span, 1},
                                          .out = out.data()};
    if (options == nullptr) {
      std::vector<float> scratch(attention::scratch_floats(kHeads, kHeadDim, positions_));
      attention::attend_exact(team, kernels_, cache_, input, scratch.data());
      return out;
    }
    base::AlignedBuffer scratch(attention::nomad_scratch_bytes(books->shape(), kHeads, positions_ + kPagePositions));
    std::vector<attention::CodedRow> rows;
    for (uint32_t row = 0; row < n_rows; ++row) rows.push_back({row, table_.data()});
    shares->assign(n_rows, {});
    attention::attend_nomad(
        team, kernels_, cache_, *options,
        {.attention = &input, .rows = rows, .books = books, .codes = codes, .shares = shares->data()}, scratch.data());
    return out;
  }

 private:
  uint32_t page(uint32_t i) const { return static_cast<uint32_t>(table_[i]); }

  const kernels::KernelTable& kernels_ = *kernels::kernel_table(base::best_isa());
  uint32_t positions_;
  cache::KvCache cache_;
  std::vector<int32_t> table_;
};

std::vector<float> random_queries(uint32_t n_rows, float size) {
  std::mt19937 random(11);
  std::normal_distribution<float> normal(0.0f, size);
  std::vector<float> queries(size_t{n_rows} * kHeads * kHeadDim);
  for (float& x : queries) x = normal(random);
  return queries;
}

double cosine(const std::vector<float>& a, const std::vector<float>& b) {
  double dot = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    dot += double{a[i]} * b[i];
    aa += double{a[i]} * a[i];
    bb += double{b[i]} * b[i];
  }
  return dot / std::sqrt(aa * bb);
}

/// Nothing left out: exact but for the 8 bits of rows, whatever the codes say. Little left out: close to it.
void test_against_exact(cache::KvType type, uint32_t d_sub, uint32_t n_outliers) {
  base::ThreadTeam team(2);
  Layer layer(type, 2500);
  Codebooks books = layer.train(team, d_sub, n_outliers);
  cache::KeyCodes codes = layer.encode(books);
  std::vector<attention::CodedShare> shares;
  const std::vector<float> queries = random_queries(6, 0.3f);  // scores of about 2.4 nats
  const std::vector<float> exact = layer.attend(team, queries, nullptr, nullptr, nullptr, nullptr);

  NomadOptions all{.mode = NomadMode::kRefine, .epsilon = 0.0f, .max_keep = 1.0f};
  const std::vector<float> same = layer.attend(team, queries, &all, &books, &codes, &shares);
  CHECK(shares[0].kept > 0.999 && shares[0].dropped == 0);
  double gap = 0;
  for (size_t i = 0; i < exact.size(); ++i) gap = std::max(gap, double{std::fabs(exact[i] - same[i])});
  CHECK(gap < 0.03);  // rows have 8 bits

  NomadOptions most{.mode = NomadMode::kRefine, .epsilon = 0.05f, .max_keep = 1.0f};
  const double close = cosine(exact, layer.attend(team, queries, &most, &books, &codes, &shares));
  CHECK(shares[3].kept > attention::kLeastKept && shares[3].kept < 0.97);
  CHECK(shares[3].dropped > 0.001 && shares[3].dropped <= 0.05);
  most.tail = true;
  const double with_tail = cosine(exact, layer.attend(team, queries, &most, &books, &codes, &shares));
  NomadOptions pure{.mode = NomadMode::kPure};
  const double looked_up = cosine(exact, layer.attend(team, queries, &pure, &books, &codes, &shares));
  CHECK(shares[5].kept == 1);
  std::printf("d_sub %u, %u outliers: cosine to exact %.5f refined, %.5f with tail, %.5f looked up\n", d_sub,
              n_outliers, close, with_tail, looked_up);
  CHECK(close > (d_sub == 4 ? 0.95 : 0.985));
  CHECK(with_tail > (d_sub == 4 ? 0.95 : 0.985));
  // Independent dimensions are the worst case of pairs and fours.
  CHECK(looked_up > (d_sub == 1 ? 0.98 : d_sub == 2 ? 0.8 : 0.65));
}

/// A row's bits depend on nothing but itself: rows alone and together, with one thread and two.
void test_one_answer() {
  base::ThreadTeam one(1), two(2);
  Layer layer(cache::KvType::kF16, 2111);
  Codebooks books = layer.train(two, 2, 4);
  CHECK(layer.train(one, 2, 4).bytes() == books.bytes());
  cache::KeyCodes codes = layer.encode(books);
  std::vector<attention::CodedShare> shares, alone_shares;
  const std::vector<float> queries = random_queries(7, 0.4f);
  for (const NomadMode mode : {NomadMode::kRefine, NomadMode::kPure}) {
    const NomadOptions options{.mode = mode, .levels = 127};
    const std::vector<float> together = layer.attend(two, queries, &options, &books, &codes, &shares);
    const std::vector<float> alone = {queries.end() - kHeads * kHeadDim, queries.end()};
    const std::vector<float> last = layer.attend(one, alone, &options, &books, &codes, &alone_shares);
    bool same = shares[6].kept == alone_shares[0].kept && shares[6].dropped == alone_shares[0].dropped;
    for (size_t i = 0; i < last.size(); ++i) {
      const float other = together[together.size() - last.size() + i];
      same = same && std::bit_cast<uint32_t>(other) == std::bit_cast<uint32_t>(last[i]);
    }
    CHECK(same);
  }
}

/// A query that is not finite must show, and touch no other row.
void test_nan() {
  base::ThreadTeam team(2);
  Layer layer(cache::KvType::kF16, 1500);
  Codebooks books = layer.train(team, 2, 0);
  cache::KeyCodes codes = layer.encode(books);
  std::vector<attention::CodedShare> shares;
  std::vector<float> queries = random_queries(2, 0.4f);
  queries[3] = std::nanf("");
  const NomadOptions options{};
  const std::vector<float> out = layer.attend(team, queries, &options, &books, &codes, &shares);
  CHECK(std::isnan(out[0]) && std::isnan(out[kHeadDim - 1]));
  CHECK(std::all_of(out.begin() + kHeadDim, out.end(), [](float x) { return std::isfinite(x); }));
}

void test_codebook_bytes() {
  base::ThreadTeam team(1);
  Layer layer(cache::KvType::kF16, 512);
  const std::vector<uint8_t> bytes = layer.train(team, 2, 2).bytes();
  const auto parsed = Codebooks::parse(bytes);
  CHECK(parsed.ok() && parsed.value().bytes() == bytes);
  for (size_t cut = 0; cut < bytes.size(); cut += 97) CHECK(!Codebooks::parse({bytes.data(), cut}).ok());
  for (const size_t at : {0u, 5u, 9u, 13u, 17u, 21u, 25u}) {
    std::vector<uint8_t> broken = bytes;
    broken[at] ^= 0x41;
    CHECK(!Codebooks::parse(broken).ok());
  }
  std::vector<uint8_t> infinite = bytes;
  for (size_t i = 0; i < 4; ++i) infinite[bytes.size() - 5 + i] = 0xff;
  CHECK(!Codebooks::parse(infinite).ok());
}

void test_coded_pages() {
  CHECK(attention::coded_pages(attention::kLeastCodedContext - 2) == 1);
  for (uint32_t position = attention::kLeastCodedContext - 1; position < 5000; ++position) {
    const uint32_t newest = position + 1 - attention::coded_pages(position) * kPagePositions;
    CHECK(newest >= 64 && newest <= 95);
  }
}

}  // namespace

int main() {
  for (const uint32_t d_sub : {1u, 2u, 4u}) test_against_exact(cache::KvType::kF16, d_sub, 0);
  test_against_exact(cache::KvType::kF16, 2, 4);
  test_against_exact(cache::KvType::kQ8_0, 2, 0);
  test_one_answer();
  test_nan();
  test_codebook_bytes();
  test_coded_pages();
  return lutra_test_summary();
}
