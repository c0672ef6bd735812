// What the machine gives: CPU paths, threads, memory, the measured read ceiling, and what products take.
#include <algorithm>
#include <chrono>

#include "addon/functions.h"
#include "base/aligned_buffer.h"
#include "base/cpu.h"
#include "base/thread_team.h"
#include "forward/form_probe.h"

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

base::TensorType tensor_type(const std::string& name) {
  for (uint32_t id = 0; id < base::kTensorTypeLimit; ++id) {
    const auto& traits = base::tensor_type_traits(id);
    if (traits.name != nullptr && name == traits.name) return static_cast<base::TensorType>(id);
  }
  throw WrongType{"type: expected the name of a tensor type"};
}

Napi::Value probe_products(const Arguments& arguments) {
  constexpr int64_t kMaxSize = 1 << 24;
  const Napi::Object engine = arguments.object(4, "engine");
  const forward::ProbedProduct probed = {
      .type = tensor_type(arguments.text(0, "type")),
      .rows = static_cast<uint32_t>(arguments.integer(1, "rows", 1, kMaxSize)),
      .k = static_cast<uint32_t>(arguments.integer(2, "cols", 1, kMaxSize)),
      .isa = isa_property(engine),
      .threads = static_cast<int>(integer_property(engine, "threads", 1, 1024)),
  };
  const auto columns = arguments.int32_array(3, "columns");
  const std::vector<uint32_t> numbers(columns.data, columns.data + columns.length);
  const auto times = unwrap(forward::probe_forms(probed, numbers));
  auto result = Napi::Float64Array::New(arguments.env(), 2 * times.size());
  for (size_t i = 0; i < times.size(); ++i) {
    result[2 * i] = times[i].dot;
    result[2 * i + 1] = times[i].lut;
  }
  return result;
}

}  // namespace

void export_machine(Napi::Env env, Napi::Object exports) {
  exports.Set("cpu", Napi::Function::New<guarded<cpu>>(env, "cpu"));
  exports.Set("measureReadCeiling", Napi::Function::New<guarded<measure_read_ceiling>>(env, "measureReadCeiling"));
  exports.Set("probeProducts", Napi::Function::New<guarded<probe_products>>(env, "probeProducts"));
}

}  // namespace lutra::addon
