// CPU and memory budgets, and the thread team: every chunk exactly once, late helpers harmless, under any load.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/cpu.h"
#include "base/thread_team.h"
#include "check.h"

#if defined(__linux__)
#include <sched.h>
#endif

using namespace lutra::base;

namespace {

void test_cpu() {
  CHECK(isa_available(Isa::kScalar));
  CHECK(isa_available(best_isa()));
  CHECK_EQ(std::string(isa_name(Isa::kAvx2)), "avx2");
#if defined(__x86_64__)
  const bool expected =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  CHECK_EQ(isa_available(Isa::kAvx2), expected);
  const bool expected_512 = expected && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                            __builtin_cpu_supports("avx512vnni");
  CHECK_EQ(isa_available(Isa::kAvx512), expected_512);
  CHECK_EQ(std::string(isa_name(Isa::kAvx512)), "avx512");
  CHECK(!expected_512 || best_isa() == Isa::kAvx512);
#endif
#if defined(__aarch64__) && defined(__linux__)
  // The identification register itself, which the kernel lets programs read; the field DP says dot products.
  uint64_t features = 0;
  __asm__("mrs %0, ID_AA64ISAR0_EL1" : "=r"(features));
  const bool expected_neon = (features >> 44 & 15) != 0;
  CHECK_EQ(isa_available(Isa::kNeon), expected_neon);
  CHECK(best_isa() == (expected_neon ? Isa::kNeon : Isa::kScalar));
#endif
  CHECK_EQ(std::string(isa_name(Isa::kNeon)), "neon");
  std::printf("best path: %s\n", isa_name(best_isa()));
  const ThreadBudget budget = default_threads();
  CHECK(budget.threads >= 1);
  CHECK(!budget.reason.empty() && budget.reason.find('\n') == std::string::npos);
  std::printf("%d threads: %s; %llu MiB available\n", budget.threads, budget.reason.c_str(),
              available_memory_bytes() >> 20);
#if defined(__linux__)
  CHECK(available_memory_bytes() > 0);
  cpu_set_t saved, one;
  CHECK_EQ(sched_getaffinity(0, sizeof saved, &saved), 0);
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu) {
    if (CPU_ISSET(cpu, &saved)) CPU_SET(cpu, &one);
  }
  CHECK_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  CHECK_EQ(default_threads().threads, 1);
  CHECK_EQ(sched_setaffinity(0, sizeof saved, &saved), 0);
#endif
}

void test_sizes() {
  for (const int wanted : {-3, 0, 1}) {
    ThreadTeam team(wanted);
    CHECK_EQ(team.size(), 1);
    int sum = 0;
    team.parallel_for(10, [&](uint32_t chunk, int member) { sum += static_cast<int>(chunk) + member; });
    CHECK_EQ(sum, 45);
  }
  ThreadTeam team(3);
  CHECK_EQ(team.size(), 3);
  team.parallel_for(0, [&](uint32_t, int) { CHECK(false); });
}

/// Plain (not atomic) slots: a chunk run twice, never, or after its generation is an error TSan or the sums show.
void stress(int n_threads, uint32_t rounds) {
  ThreadTeam team(n_threads);
  uint64_t bad = 0;
  std::vector<uint32_t> slots(512);
  uint32_t seed = 12345u + static_cast<uint32_t>(n_threads);
  for (uint32_t round = 1; round <= rounds; ++round) {
    seed = seed * 1664525u + 1013904223u;
    const uint32_t n_chunks = (seed >> 16) % (round % 16 == 0 ? 500u : 7u);
    // The closure lives for this iteration only, so a late helper that touched it would read a dead stack slot.
    const auto closure = std::make_unique<uint32_t>(round);
    const uint32_t* stamp = closure.get();
    team.parallel_for(n_chunks, [&slots, stamp, n_threads](uint32_t chunk, int member) {
      slots[chunk] += *stamp + static_cast<uint32_t>(member < 0 || member >= n_threads);
    });
    for (uint32_t i = 0; i < n_chunks; ++i) {
      bad += slots[i] != round;
      slots[i] = 0;
    }
    for (uint32_t i = n_chunks; i < slots.size() && round % 64 == 0; ++i) bad += slots[i] != 0;
    if (round % 5000 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));  // let the helpers fall asleep
  }
  CHECK_EQ(bad, uint64_t{0});
}

/// Helpers really take part, and a slow chunk (longer than all spinning) still ends the loop.
void test_slow_chunks() {
  ThreadTeam team(2);
  std::atomic<uint32_t> members{0};
  for (int round = 0; round < 3; ++round) {
    std::atomic<int> ran{0};
    team.parallel_for(4, [&](uint32_t, int member) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      members.fetch_or(1u << member);
      ran.fetch_add(1);
    });
    CHECK_EQ(ran.load(), 4);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  CHECK_EQ(members.load(), 3u);
  // The caller finishes first and has to sleep until the helper's chunk is done.
  bool helper_done = false;
  std::atomic<bool> helper_started{false};
  team.parallel_for(2, [&](uint32_t, int member) {
    if (member == 0) {
      while (!helper_started.load()) std::this_thread::yield();
      return;
    }
    helper_started.store(true);
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    helper_done = true;
  });
  CHECK(helper_done);
}

void test_short_lives() {
  for (int i = 0; i < 200; ++i) {
    ThreadTeam team(1 + i % 5);
    if (i % 3 == 0) continue;
    std::atomic<uint32_t> sum{0};
    team.parallel_for(9, [&](uint32_t chunk, int) { sum.fetch_add(chunk); });
    CHECK_EQ(sum.load(), 36u);
  }
}

}  // namespace

int main() {
  const char* wanted = std::getenv("LUTRA_STRESS_ROUNDS");
  const uint32_t rounds = wanted == nullptr ? 20000 : static_cast<uint32_t>(std::strtoul(wanted, nullptr, 10));
  test_cpu();
  test_sizes();
  test_slow_chunks();
  test_short_lives();
  for (const int n_threads : {2, 3, 8}) stress(n_threads, rounds);
  return lutra_test_summary();
}
