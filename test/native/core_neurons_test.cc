// Core neurons against a reference that keeps every token and sorts: whatever the prompt's length and the cutting into
// steps; the guard at its edge; slots that are used again; wrong options.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "ffn/core_neurons.h"

using namespace lutra;
using ffn::CoreNeurons;
using ffn::CoreOptions;

namespace {

using Ids = std::vector<uint32_t>;
using Token = std::vector<float>;
/// [n_tokens][n_layers]
using Prompt = std::vector<std::vector<Token>>;

constexpr float kTokenShare = 0.4f;

/// The `count` ids of largest key, ties to the lowest, ascending.
template <typename Key>
Ids largest(uint32_t n, uint32_t count, const Key& key) {
  Ids ids(n);
  std::iota(ids.begin(), ids.end(), 0u);
  std::stable_sort(ids.begin(), ids.end(), [&](uint32_t a, uint32_t b) { return key(a) > key(b); });
  ids.resize(count);
  std::sort(ids.begin(), ids.end());
  return ids;
}

Ids core_of(const Token& h) {
  const auto positive = std::count_if(h.begin(), h.end(), [](float x) { return x > 0; });
  const long size = std::max(1L, std::lround(double{kTokenShare} * static_cast<double>(positive)));
  return largest(static_cast<uint32_t>(h.size()), static_cast<uint32_t>(size),
                 [&](uint32_t i) { return std::fabs(h[i]); });
}

std::vector<uint32_t> count(const Prompt& prompt, uint32_t layer, size_t begin, size_t end) {
  std::vector<uint32_t> counts(prompt[0][layer].size());
  for (size_t t = begin; t < end; ++t) {
    for (const uint32_t i : core_of(prompt[t][layer])) ++counts[i];
  }
  return counts;
}

Ids expected_neurons(const Prompt& prompt, uint32_t layer, float keep) {
  std::vector<uint32_t> counts = count(prompt, layer, 0, prompt.size());
  for (uint32_t& n : counts) n = std::min(n, 65535u);
  const auto n = static_cast<uint32_t>(counts.size());
  return largest(n, static_cast<uint32_t>(std::lround(double{keep} * n)), [&](uint32_t i) { return counts[i]; });
}

std::set<uint32_t> top_set(const Prompt& prompt, uint32_t layer, size_t begin, size_t end) {
  const std::vector<uint32_t> counts = count(prompt, layer, begin, end);
  const auto n = static_cast<uint32_t>(counts.size());
  std::set<uint32_t> set;
  for (const uint32_t i :
       largest(n, static_cast<uint32_t>(std::lround(0.2 * n)), [&](uint32_t i) { return counts[i]; }))
    if (counts[i] > 0) set.insert(i);
  return set;
}

double jaccard(const std::set<uint32_t>& a, const std::set<uint32_t>& b) {
  size_t both = 0;
  for (const uint32_t i : a) both += b.count(i);
  return static_cast<double>(both) / static_cast<double>(a.size() + b.size() - both);
}

/// Where stretches begin, and the end.
std::vector<size_t> stretches(size_t n) {
  if (n < 32) return {};
  std::vector<size_t> borders;
  for (size_t at = 0; at + 32 <= n; at += 64) borders.push_back(at);
  if (borders.size() == 1) borders.push_back(n / 2);
  borders.push_back(n);
  return borders;
}

double expected_overlap(const Prompt& prompt) {
  const std::vector<size_t> at = stretches(prompt.size());
  if (at.empty()) return 0;
  const size_t n = at.size() - 1;
  const auto n_layers = static_cast<uint32_t>(prompt[0].size());
  std::vector<double> sums(n);
  for (uint32_t layer = 0; layer < n_layers; ++layer) {
    std::vector<std::set<uint32_t>> sets;
    for (size_t s = 0; s < n; ++s) sets.push_back(top_set(prompt, layer, at[s], at[s + 1]));
    for (size_t s = 0; s < n; ++s) sums[s] += jaccard(sets[s], sets[(s + 1) % n]);
  }
  return *std::min_element(sums.begin(), sums.end()) / n_layers;
}

/// Tokens of a topic that changes now and then; `steps` > 0 rounds, for ties and zeros.
Prompt make_prompt(size_t n_tokens, uint32_t n_layers, uint32_t hidden_dim, int steps, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<Token> scales(n_layers, Token(hidden_dim));
  Prompt prompt(n_tokens, std::vector<Token>(n_layers, Token(hidden_dim)));
  for (size_t t = 0; t < n_tokens; ++t) {
    for (uint32_t layer = 0; layer < n_layers; ++layer) {
      for (uint32_t i = 0; i < hidden_dim; ++i) {
        float& scale = scales[layer][i];
        if (t == 0 || random() % 100 == 0) scale = std::exp(normal(random));
        float h = scale * normal(random);
        if (steps > 0) h = std::round(h * static_cast<float>(steps)) / static_cast<float>(steps);
        prompt[t][layer][i] = h;
      }
    }
  }
  return prompt;
}

std::unique_ptr<CoreNeurons> make(const std::vector<float>& keep, uint32_t hidden_dim, float guard,
                                  uint32_t n_slots = 4) {
  auto made = CoreNeurons::create({kTokenShare, keep, guard}, static_cast<uint32_t>(keep.size()), hidden_dim, n_slots);
  CHECK(made.ok());
  return std::move(made.value());
}

/// Steps of `chunk` tokens, layer after layer.
void observe(CoreNeurons& cores, uint32_t slot, const Prompt& prompt, size_t chunk, size_t begin = 0) {
  for (size_t from = begin; from < prompt.size(); from += chunk) {
    for (uint32_t layer = 0; layer < prompt[0].size(); ++layer) {
      for (size_t t = from; t < std::min(prompt.size(), from + chunk); ++t) {
        cores.observe(slot, layer, static_cast<uint32_t>(t), prompt[t][layer].data());
      }
    }
  }
}

Ids ids_of(std::span<const uint32_t> ids) { return {ids.begin(), ids.end()}; }

Ids ids_of_mask(std::span<const uint32_t> mask) {
  Ids ids;
  for (uint32_t i = 0; i < 32 * mask.size(); ++i) {
    if (mask[i / 32] >> (i % 32) & 1) ids.push_back(i);
  }
  return ids;
}

void check_picked(const CoreNeurons& cores, uint32_t slot, const Prompt& prompt, const std::vector<float>& keep) {
  for (uint32_t layer = 0; layer < keep.size(); ++layer) {
    const Ids expected = expected_neurons(prompt, layer, keep[layer]);
    CHECK(ids_of(cores.neurons(slot, layer)) == expected);
    CHECK(ids_of_mask(cores.mask(slot, layer)) == expected);
    CHECK_EQ(cores.mask(slot, layer).size() * 32, prompt[0][layer].size());
  }
}

void test_every_length() {
  const std::vector<float> keep = {0.4f, 0.7f, 1.0f};
  for (const size_t n : {1, 2, 31, 32, 33, 63, 64, 65, 94, 95, 96, 97, 127, 128, 159, 160, 161, 250, 600}) {
    for (const int steps : {0, 2}) {
      const Prompt prompt = make_prompt(n, 3, 96, steps, static_cast<uint32_t>(n));
      const auto cores = make(keep, 96, 0);
      float overlap = -1;
      for (const size_t chunk : {size_t{1}, size_t{7}, size_t{64}, n}) {
        CHECK(cores->restart(2).ok());
        observe(*cores, 2, prompt, chunk);
        CHECK(!cores->is_settled(2));
        CHECK(cores->mask(2, 0).empty() && cores->neurons(2, 0).empty());
        CHECK(!cores->settle(2));
        CHECK(cores->is_settled(2) && !cores->refused(2));
        check_picked(*cores, 2, prompt, keep);
        CHECK(std::fabs(cores->overlap(2) - expected_overlap(prompt)) < 1e-6);
        CHECK(overlap < 0 || overlap == cores->overlap(2));
        overlap = cores->overlap(2);
      }
    }
  }
}

void test_guard() {
  for (const size_t n : {31, 32, 80, 100, 200}) {
    const Prompt prompt = make_prompt(n, 2, 128, 0, 9);
    const auto overlap = static_cast<float>(expected_overlap(prompt));
    CHECK((n < 32) == (overlap == 0));
    const float below = std::max(0.001f, overlap - 0.001f);
    for (const float guard : {below, overlap + 0.001f}) {
      const auto cores = make({0.5f, 0.5f}, 128, guard);
      CHECK(cores->restart(0).ok());
      observe(*cores, 0, prompt, 50);
      const bool refused = n < 32 || guard > overlap;
      CHECK_EQ(cores->settle(0), refused);
      CHECK_EQ(cores->settle(0), refused);
      CHECK_EQ(cores->refused(0), refused);
      CHECK_EQ(cores->mask(0, 1).empty(), refused);
      CHECK_EQ(cores->neurons(0, 1).empty(), refused);
    }
  }
  // A prompt that leaves its topic and comes back: only neighbours differ. One that drifts: only the ends do.
  for (const bool returns : {true, false}) {
    Prompt prompt(5 * 64, std::vector<Token>(1, Token(160)));
    for (size_t t = 0; t < prompt.size(); ++t) {
      const size_t topic = returns ? (t / 64 == 2 ? 80 : 0) : t / 64 * 8;
      for (size_t i = 0; i < 80; ++i) prompt[t][0][topic + i] = 1.0f + static_cast<float>(i % 7);
    }
    const auto cores = make({0.5f}, 160, 0);
    CHECK(cores->restart(0).ok());
    observe(*cores, 0, prompt, 64);
    CHECK(!cores->settle(0));
    CHECK(std::fabs(cores->overlap(0) - expected_overlap(prompt)) < 1e-6);
    CHECK(cores->overlap(0) < 0.6f);
  }
  // Stretches that use a few neurons each, and none of each other's, have nothing in common.
  Prompt apart(128, std::vector<Token>(1, Token(320)));
  for (size_t t = 0; t < 128; ++t) apart[t][0][100 + t / 64] = 1;
  const auto cores = make({0.5f}, 320, 0);
  CHECK(cores->restart(0).ok());
  observe(*cores, 0, apart, 1);
  CHECK(!cores->settle(0));
  CHECK_EQ(cores->overlap(0), 0.0f);
}

void test_slots() {
  const std::vector<float> keep = {0.3f, 0.5f};
  const auto cores = make(keep, 64, 0, 64);
  CHECK_EQ(cores->size_bytes(), uint64_t{0});
  const Prompt first = make_prompt(150, 2, 64, 0, 1), second = make_prompt(70, 2, 64, 0, 2);
  CHECK(cores->settle(3));  // never restarted: no tokens, nothing to keep, guard or no guard
  CHECK(cores->mask(3, 0).empty());
  CHECK(cores->restart(3).ok() && cores->restart(63).ok());
  CHECK_EQ(cores->size_bytes(), 2 * cores->slot_bytes());
  for (size_t from = 0; from < 150; from += 10) {
    observe(*cores, 3, Prompt(first.begin(), first.begin() + static_cast<long>(from) + 10), 10, from);
    if (from < 70) observe(*cores, 63, Prompt(second.begin(), second.begin() + static_cast<long>(from) + 10), 10, from);
  }
  observe(*cores, 63, second, 70);  // again: counts once
  CHECK(!cores->settle(3) && !cores->settle(63));
  check_picked(*cores, 3, first, keep);
  check_picked(*cores, 63, second, keep);
  observe(*cores, 3, make_prompt(300, 2, 64, 0, 5), 1, 150);  // settled: fixed until it restarts
  CHECK(!cores->settle(3));
  check_picked(*cores, 3, first, keep);
  CHECK(cores->restart(3).ok());
  CHECK(!cores->is_settled(3) && cores->overlap(3) == 0 && cores->mask(3, 0).empty());
  observe(*cores, 3, Prompt(first.begin(), first.begin() + 95), 80);  // and a prompt that was cut short
  CHECK(cores->restart(3).ok());
  observe(*cores, 3, second, 9);
  CHECK(!cores->settle(3));
  check_picked(*cores, 3, second, keep);
  CHECK_EQ(cores->overlap(3), cores->overlap(63));
  CHECK(cores->restart(3).ok());
  CHECK(cores->settle(3));  // no token
  CHECK_EQ(cores->size_bytes(), 2 * cores->slot_bytes());
}

/// Layers and slots at once; a thread sanitizer sees what they share.
void test_threads() {
  const std::vector<float> keep(4, 0.5f);
  const auto cores = make(keep, 256, 0);
  const Prompt prompts[2] = {make_prompt(140, 4, 256, 0, 6), make_prompt(90, 4, 256, 0, 7)};
  CHECK(cores->restart(0).ok() && cores->restart(1).ok());
  std::vector<std::thread> threads;
  for (uint32_t slot = 0; slot < 2; ++slot) {
    for (uint32_t layer = 0; layer < 4; ++layer) {
      threads.emplace_back([&, slot, layer] {
        for (size_t t = 0; t < prompts[slot].size(); ++t) {
          cores->observe(slot, layer, static_cast<uint32_t>(t), prompts[slot][t][layer].data());
        }
      });
    }
  }
  for (std::thread& thread : threads) thread.join();
  for (uint32_t slot = 0; slot < 2; ++slot) {
    CHECK(!cores->settle(slot));
    check_picked(*cores, slot, prompts[slot], keep);
    CHECK(std::fabs(cores->overlap(slot) - expected_overlap(prompts[slot])) < 1e-6);
  }
}

/// Counts stop at 65535, and from stretch 1024 on overlaps of neighbours share a place.
void test_endless_prompt() {
  const auto cores = make({0.1f}, 32, 0);  // keeps three
  CHECK(cores->restart(0).ok());
  Token usual(32), other(32);
  for (uint32_t i = 20; i < 28; ++i) usual[i] = other[i] = 1.0f;  // a core of three: 20, 21, 22
  other[27] = 0;
  other[3] = 5;  // 3, 20, 21
  for (uint32_t t = 0; t < 140'000; ++t) {
    cores->observe(0, 0, t, (t < 80'000 || t >= 110'000 ? usual : other).data());
  }
  CHECK(!cores->settle(0));
  CHECK(ids_of(cores->neurons(0, 0)) == (Ids{20, 21, 22}));
  CHECK_EQ(cores->overlap(0), 0.5f);
}

void test_options() {
  const std::vector<float> keep = {0.5f, 0.5f}, zero = {0.5f, 0.0f}, above = {1.5f, 0.5f}, nan = {0.5f, NAN};
  const auto refuses = [](const CoreOptions& options, uint32_t n_layers, uint32_t hidden_dim, uint32_t n_slots,
                          const char* code, const char* field) {
    const auto made = CoreNeurons::create(options, n_layers, hidden_dim, n_slots);
    CHECK(!made.ok());
    CHECK_EQ(std::string(made.status().code()), code);
    CHECK(made.status().message().find(field) != std::string::npos);
  };
  const char* const wrong = "INVALID_OPTION";
  for (const float share : {0.0f, -1.0f, 1.01f, NAN}) {
    refuses({share, keep, 0.5f}, 2, 64, 1, wrong, "token_share");
  }
  for (const float guard : {-0.1f, 1.1f, NAN}) refuses({0.4f, keep, guard}, 2, 64, 1, wrong, "guard");
  for (const auto* keeps : {&zero, &above, &nan}) refuses({0.4f, *keeps, 0.5f}, 2, 64, 1, wrong, "keep");
  refuses({0.4f, keep, 0.5f}, 3, 64, 1, wrong, "keep: expected a value a layer, found 2");
  refuses({0.4f, {}, 0.5f}, 0, 64, 1, wrong, "n_layers");
  refuses({0.4f, keep, 0.5f}, 2, 0, 1, wrong, "hidden_dim");
  refuses({0.4f, keep, 0.5f}, 2, 65, 1, wrong, "hidden_dim: expected a multiple of 32, found 65");
  refuses({0.4f, keep, 0.5f}, 2, 64, 0, wrong, "n_slots");
  // No allocation is tried: 2^32 slots of 2^32 neurons in as many layers as there are keeps.
  const std::vector<float> many(1 << 16, 0.5f);
  refuses({0.4f, many, 0.5f}, 1 << 16, 0xFFFFFFE0u, 0xFFFFu, "E_OUT_OF_MEMORY", "neurons");
}

/// Informative only: what observing costs.
void report_times() {
  for (const uint32_t hidden_dim : {1536u, 14336u}) {
    const Prompt prompt = make_prompt(64, 1, hidden_dim, 0, 3);
    const auto cores = make({0.4f}, hidden_dim, 0);
    double best = 1e9;
    for (int run = 0; run < 5; ++run) {
      CHECK(cores->restart(0).ok());
      const auto begin = std::chrono::steady_clock::now();
      observe(*cores, 0, prompt, 64);
      const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begin;
      best = std::min(best, took.count() / 64);
    }
    std::printf("observe, %u neurons: %.1f us, slot of a layer %llu bytes\n", hidden_dim, best,
                static_cast<unsigned long long>(cores->slot_bytes()));
  }
}

}  // namespace

int main() {
  test_every_length();
  test_guard();
  test_slots();
  test_threads();
  test_endless_prompt();
  test_options();
  report_times();
  return lutra_test_summary();
}
