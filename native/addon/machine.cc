// What the machine gives: CPU paths, threads, memory, and the measured read ceiling.
#include <algorithm>
#include <chrono>

#include "addon/functions.h"
#include "base/aligned_buffer.h"
#include "base/cpu.h"
#include "base/thread_team.h"

namespace lutra::addon {

namespace {

Napi::Value cpu(const Arguments& arguments) {
  const Napi::Env env = arguments.env();
  Napi::Object result = Napi::Object::New(env);
  result.Set("isa", base::isa_name(base::best_isa()));
  Napi::Array available = Napi::Array::New(env);
  for (const base::Isa isa : {base::Isa::kScalar, base::Isa::kAvx2, base::Isa::kAvx512, base::Isa::kNeon}) {
    if (base::isa_available(isa)) available.Set(available.Length(), base::isa_name(isa));
  }
  result.Set("available", available);
  const base::ThreadBudget budget = base::default_threads();
  result.Set("threads", budget.threads);
  result.Set("threadsReason", budget.reason);
  result.Set("availableMemoryBytes", static_cast<double>(base::available_memory_bytes()));
  return result;
}

// Sums the buffer in 64-byte steps over 8 independent lanes, so that loads and not additions set the pace.
uint64_t read_all(const uint64_t* data, size_t n) {
  uint64_t sums[8] = {};
  for (size_t i = 0; i + 8 <= n; i += 8) {
    for (size_t lane = 0; lane < 8; ++lane) sums[lane] += data[i + lane];
  }
  uint64_t total = 0;
  for (uint64_t sum : sums) total += sum;
  return total;
}

// Best of several passes over memory larger than the caches, each thread on its own stretches.
Napi::Value measure_read_ceiling(const Arguments& arguments) {
  const auto megabytes = static_cast<uint64_t>(arguments.integer(0, "megabytes", 1, 65536));
  const auto threads = static_cast<int>(arguments.integer(1, "threads", 1, 256));
  base::AlignedBuffer buffer(megabytes << 20);
  if (buffer.data() == nullptr) throw Failure{"E_OUT_OF_MEMORY", "could not allocate the buffer to read"};
  buffer.prefer_huge_pages();  // as the weights do
  base::ThreadTeam team(threads);
  constexpr uint64_t kChunk = 1 << 20;
  team.parallel_for(static_cast<uint32_t>(megabytes), [&](uint32_t chunk, int) {
    std::fill_n(buffer.data() + chunk * kChunk, kChunk, static_cast<uint8_t>(chunk));
  });
  constexpr int kPasses = 5;
  double best_seconds = 1e30;
  std::atomic<uint64_t> sink{0};
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto begin = std::chrono::steady_clock::now();
    team.parallel_for(static_cast<uint32_t>(megabytes), [&](uint32_t chunk, int) {
      sink += read_all(buffer.as<uint64_t>() + chunk * (kChunk / 8), kChunk / 8);
    });
    best_seconds =
        std::min(best_seconds, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return Napi::Number::New(arguments.env(), static_cast<double>(megabytes << 20) / best_seconds);
}

}  // namespace

void export_machine(Napi::Env env, Napi::Object exports) {
  exports.Set("cpu", Napi::Function::New<guarded<cpu>>(env, "cpu"));
  exports.Set("measureReadCeiling", Napi::Function::New<guarded<measure_read_ceiling>>(env, "measureReadCeiling"));
}

}  // namespace lutra::addon
