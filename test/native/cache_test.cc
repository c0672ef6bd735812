// K/V pages that are copied, read and written back: every byte of the right page and none of another, the same bytes
// wherever a page lies, no byte of an unused slot, and a refusal that touches nothing for every wrong id and length.
#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "cache/kv_cache.h"
#include "check.h"

using lutra::base::Isa;
using lutra::base::Status;
using lutra::cache::KvCache;
using lutra::cache::KvShape;
using lutra::cache::KvType;
using lutra::kernels::kernel_table;
using lutra::kernels::kPagePositions;
using lutra::kernels::kv_page_bytes;

namespace {

constexpr uint32_t kPages = 19;  // two whole stretches of eight and a ragged one
using Bytes = std::vector<uint8_t>;

KvCache create(const KvShape& shape) {
  auto cache = KvCache::create(shape);
  CHECK(cache.ok());
  return std::move(cache.value());
}

void fill(KvCache& cache, uint32_t seed) {
  std::mt19937 random(seed);
  const KvShape& shape = cache.shape();
  for (uint32_t page = 0; page < shape.n_pages; ++page) {
    for (uint32_t layer = 0; layer < shape.n_layers; ++layer) {
      for (uint32_t head = 0; head < shape.n_kv_heads; ++head) {
        const uint64_t bytes = kv_page_bytes(shape.type, shape.head_dim);
        for (uint64_t i = 0; i < bytes; ++i) cache.keys(layer, page, head)[i] = static_cast<uint8_t>(random());
        for (uint64_t i = 0; i < bytes; ++i) cache.values(layer, page, head)[i] = static_cast<uint8_t>(random());
      }
    }
  }
}

/// A page by the arena's own accessors: what the functions under test are held to.
Bytes page_of(KvCache& cache, uint32_t page) {
  const KvShape& shape = cache.shape();
  const uint64_t bytes = kv_page_bytes(shape.type, shape.head_dim);
  Bytes all;
  for (uint32_t layer = 0; layer < shape.n_layers; ++layer) {
    for (uint32_t head = 0; head < shape.n_kv_heads; ++head) {
      all.insert(all.end(), cache.keys(layer, page, head), cache.keys(layer, page, head) + bytes);
      all.insert(all.end(), cache.values(layer, page, head), cache.values(layer, page, head) + bytes);
    }
  }
  return all;
}

std::vector<Bytes> pages_of(KvCache& cache) {
  std::vector<Bytes> pages;
  for (uint32_t page = 0; page < cache.shape().n_pages; ++page) pages.push_back(page_of(cache, page));
  return pages;
}

Bytes read(const KvCache& cache, const std::vector<int32_t>& pages, uint64_t positions) {
  Bytes out(cache.page_bytes() * pages.size(), 0xaa);
  CHECK(cache.read_pages(pages, positions, out).ok());
  return out;
}

void test_copy(const KvShape& shape) {
  KvCache cache = create(shape);
  fill(cache, 1);
  std::vector<Bytes> expected = pages_of(cache);
  CHECK_EQ(expected[0].size(), cache.page_bytes());
  CHECK_EQ(cache.size_bytes(), cache.page_bytes() * kPages);
  // Inside a stretch, across two, into the ragged one, in a chain, and onto itself.
  const std::vector<int32_t> pairs = {0, 1, 7, 8, 2, 18, 18, 3, 5, 5};
  CHECK(cache.copy_pages(pairs).ok());
  for (size_t i = 0; i < pairs.size(); i += 2) expected[pairs[i + 1]] = expected[pairs[i]];
  CHECK(pages_of(cache) == expected);
}

void test_read_and_write(const KvShape& shape) {
  KvCache cache = create(shape);
  fill(cache, 2);
  const std::vector<int32_t> pages = {17, 0, 9};
  const Bytes bytes = read(cache, pages, 3 * kPagePositions);
  Bytes expected;
  for (const int32_t page : pages) {
    const Bytes one = page_of(cache, static_cast<uint32_t>(page));
    expected.insert(expected.end(), one.begin(), one.end());
  }
  CHECK(bytes == expected);

  KvCache other = create(shape);
  fill(other, 3);
  std::vector<Bytes> untouched = pages_of(other);
  const std::vector<int32_t> places = {3, 16, 8};
  CHECK(other.write_pages(places, bytes).ok());
  for (size_t i = 0; i < places.size(); ++i) untouched[places[i]] = page_of(cache, static_cast<uint32_t>(pages[i]));
  CHECK(pages_of(other) == untouched);
  CHECK(read(other, places, 3 * kPagePositions) == bytes);
}

/// What an unused slot holds must not show, and the used ones must not change.
void test_tail(const KvShape& shape) {
  const auto& kernels = *kernel_table(Isa::kScalar);
  KvCache dirty = create(shape), clean = create(shape);
  fill(dirty, 4);
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> key(shape.head_dim), value(shape.head_dim);
  constexpr uint32_t positions = kPagePositions + 5;
  for (uint32_t t = 0; t < positions; ++t) {
    for (uint32_t layer = 0; layer < shape.n_layers; ++layer) {
      for (uint32_t head = 0; head < shape.n_kv_heads; ++head) {
        for (float& x : key) x = normal(random);
        for (float& x : value) x = normal(random);
        for (KvCache* cache : {&dirty, &clean}) {
          cache->store(kernels, layer, t / kPagePositions, head, t % kPagePositions, key.data(), value.data());
        }
      }
    }
  }
  const std::vector<int32_t> pages = {0, 1, 2};
  const Bytes expected = read(clean, pages, 3 * kPagePositions);
  CHECK(read(dirty, pages, 3 * kPagePositions) != expected);
  CHECK(read(dirty, pages, positions) == expected);
  Bytes odd(expected.size() + 1);
  CHECK(dirty.read_pages(pages, positions, std::span(odd).subspan(1)).ok());
  CHECK(std::equal(expected.begin(), expected.end(), odd.begin() + 1));
  const Bytes nothing = read(dirty, pages, 0);
  CHECK(std::all_of(nothing.begin(), nothing.end(), [](uint8_t byte) { return byte == 0; }));
}

void check_refused(const Status& status, const std::string& field) {
  CHECK_EQ(std::string(status.code()), "INVALID_OPTION");
  CHECK(status.message().find(field) == 0);
}

void test_refusals(const KvShape& shape) {
  KvCache cache = create(shape);
  fill(cache, 6);
  const std::vector<Bytes> before = pages_of(cache);
  Bytes bytes(2 * cache.page_bytes());
  for (const int32_t wrong : {-1, int32_t{kPages}, INT32_MAX, INT32_MIN}) {
    check_refused(cache.copy_pages(std::vector<int32_t>{0, 1, 2, wrong}), "pairs[3]");
    check_refused(cache.copy_pages(std::vector<int32_t>{wrong, 1}), "pairs[0]");
    check_refused(cache.read_pages(std::vector<int32_t>{0, wrong}, 1, bytes), "pages[1]");
    check_refused(cache.write_pages(std::vector<int32_t>{0, wrong}, bytes), "pages[1]");
  }
  const std::vector<int32_t> two = {0, 1};
  check_refused(cache.copy_pages(std::vector<int32_t>{0, 1, 2}), "pairs");
  check_refused(cache.read_pages(two, 2 * kPagePositions + 1, bytes), "positions");
  for (const size_t wrong : {size_t{0}, bytes.size() - 1}) {
    check_refused(cache.read_pages(two, 1, std::span(bytes).first(wrong)), "out");
    check_refused(cache.write_pages(two, std::span(bytes).first(wrong)), "bytes");
  }
  check_refused(cache.write_pages(std::vector<int32_t>{0}, bytes), "bytes");
  CHECK(pages_of(cache) == before);
  CHECK(cache.copy_pages({}).ok());
  CHECK(cache.read_pages({}, 0, {}).ok());
  CHECK(cache.write_pages({}, {}).ok());
}

}  // namespace

int main() {
  for (const KvType type : {KvType::kF16, KvType::kQ8_0}) {
    for (const uint32_t head_dim : {8u, 40u, 64u}) {
      const KvShape shape{.n_layers = 3, .n_kv_heads = 2, .head_dim = head_dim, .n_pages = kPages, .type = type};
      test_copy(shape);
      test_read_and_write(shape);
      test_tail(shape);
      test_refusals(shape);
    }
  }
  return lutra_test_summary();
}
