// What the kernel benches measure themselves against: the core's clock, what memory gives, and how long a pass takes.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <vector>

#ifdef __linux__
#include <unistd.h>
#endif

#include "base/aligned_buffer.h"
#include "base/thread_team.h"

namespace lutra::bench {

using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

/// Times of passes: at least five after one that does not count, more until `budget_seconds` are over.
template <typename Pass>
std::vector<double> pass_seconds(double budget_seconds, Pass&& pass) {
  pass();
  std::vector<double> samples;
  const auto begin = Clock::now();
  while (samples.size() < 5 || (seconds_since(begin) < budget_seconds && samples.size() < 1000)) {
    const auto start = Clock::now();
    pass();
    samples.push_back(seconds_since(start));
  }
  return samples;
}

template <typename Pass>
double median_seconds(double budget_seconds, Pass&& pass) {
  return median(pass_seconds(budget_seconds, pass));
}

/// Core clock now, from a chain of dependent adds, one a cycle. The barrier keeps the compiler from folding the chain.
inline double clock_hz() {
  double best = 1e9;
  for (int run = 0; run < 5; ++run) {
    const auto start = Clock::now();
    uint64_t value = 1;
    for (int i = 0; i < 1 << 17; ++i) {
      for (int add = 0; add < 8; ++add) {
        value += 3;
#if defined(__GNUC__)
        asm volatile("" : "+r"(value));
#endif
      }
    }
    [[maybe_unused]] volatile uint64_t sink = value;
    best = std::min(best, seconds_since(start));
  }
  return 8.0 * (1 << 17) / best;
}

/// Bytes to rotate over so that nothing of a pass is still in the last-level cache when its turn comes again.
inline uint64_t cold_bytes() {
  uint64_t cache = 32u << 20;
#if defined(__linux__) && defined(_SC_LEVEL3_CACHE_SIZE)
  const long size = sysconf(_SC_LEVEL3_CACHE_SIZE);
  if (size > 0) cache = static_cast<uint64_t>(size);
#endif
  return std::clamp<uint64_t>(cache * 4, 128ull << 20, 1ull << 30);
}

/// Plain sums over memory larger than the caches: what a team can read.
class ReadCeiling {
 public:
  explicit ReadCeiling(uint64_t bytes) : n_chunks_(static_cast<uint32_t>(bytes / kChunk)), buffer_(n_chunks_ * kChunk) {
    buffer_.prefer_huge_pages();
    std::memset(buffer_.data(), 1, buffer_.size_bytes());
  }

  /// Bytes a second, best of six passes.
  double measure(base::ThreadTeam& team) const {
    double best = 1e9;
    for (int run = 0; run < 6; ++run) {
      const auto start = Clock::now();
      team.parallel_for(n_chunks_, [&](uint32_t chunk, int) { read(chunk); });
      best = std::min(best, seconds_since(start));
    }
    return static_cast<double>(buffer_.size_bytes()) / best;
  }

 private:
  static constexpr uint64_t kChunk = 1 << 20;

  void read(uint32_t chunk) const {
    const uint64_t* words = buffer_.as<uint64_t>() + chunk * (kChunk / 8);
    uint64_t sums[8] = {};
    for (uint64_t i = 0; i < kChunk / 8; i += 8) {
      for (int lane = 0; lane < 8; ++lane) sums[lane] += words[i + lane];
    }
    uint64_t total = 0;
    for (const uint64_t sum : sums) total += sum;
    [[maybe_unused]] volatile uint64_t sink = total;
  }

  uint32_t n_chunks_;
  base::AlignedBuffer buffer_;
};

}  // namespace lutra::bench
