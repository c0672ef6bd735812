// Single-thread speed of the packed matmul kernels: weight GB/s and multiply-adds per cycle for each type and column
// count, warm (weights in L2) and cold (weights larger than most L3 caches, streamed). Best of several short runs.
// Usage: matmul_bench [--isa scalar|avx2|avx512] [--type Q4_1] [--warm] [--cold]
#include <chrono>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/kernels.h"
#include "quant/quant.h"

namespace {

using namespace lutra;
using base::TensorType;
using Clock = std::chrono::steady_clock;

constexpr TensorType kTypes[] = {TensorType::F32,  TensorType::F16,    TensorType::BF16,  TensorType::Q4_0,
                                 TensorType::Q4_1, TensorType::Q5_0,   TensorType::Q5_1,  TensorType::Q8_0,
                                 TensorType::Q2_K, TensorType::Q3_K,   TensorType::Q4_K,  TensorType::Q5_K,
                                 TensorType::Q6_K, TensorType::IQ4_NL, TensorType::IQ4_XS};
constexpr uint32_t kColumns[] = {1, 4, 8, 64};
constexpr uint32_t kDepth = 1536;
constexpr uint64_t kWarmBytes = 384 * 1024;
constexpr uint64_t kColdBytes = 128ull << 20;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Core clock from a chain of dependent adds, one a cycle. The barrier keeps the compiler from folding the chain.
double clock_hz() {
  double best = 1e9;
  for (int run = 0; run < 5; ++run) {
    const auto start = Clock::now();
    uint64_t value = 1;
    for (int i = 0; i < 1 << 20; ++i) {
      for (int add = 0; add < 8; ++add) {
        value += 3;
        asm volatile("" : "+r"(value));
      }
    }
    const double seconds = seconds_since(start);
    best = seconds < best ? seconds : best;
  }
  return 8.0 * (1 << 20) / best;
}

/// Plain sum over a cold buffer: what one thread can read at best, to hold the cold rows against.
double read_ceiling_gb_s() {
  base::AlignedBuffer buffer(kColdBytes);
  std::memset(buffer.data(), 1, kColdBytes);
  double best = 1e9;
  for (int run = 0; run < 4; ++run) {
    const auto start = Clock::now();
    uint64_t sums[8] = {};
    const uint64_t* words = buffer.as<uint64_t>();
    for (uint64_t i = 0; i < kColdBytes / 8; i += 8) {
      for (int lane = 0; lane < 8; ++lane) sums[lane] += words[i + lane];
    }
    for (uint64_t& sum : sums) asm volatile("" : "+r"(sum));
    const double seconds = seconds_since(start);
    best = seconds < best ? seconds : best;
  }
  return static_cast<double>(kColdBytes) / best / 1e9;
}

struct Weights {
  base::AlignedBuffer bytes;
  uint64_t panel_bytes;
  uint32_t rows;
};

/// One random panel repeated: speed does not depend on the codes, and packing many would take longer than the bench.
Weights make_weights(TensorType type, uint64_t wanted_bytes) {
  std::mt19937 random(1);
  std::vector<uint8_t> rows(8 * quant::row_bytes(type, kDepth));
  for (uint8_t& byte : rows) byte = static_cast<uint8_t>(random() & 0x3B);  // keeps every fp16 field finite
  Weights weights;
  weights.panel_bytes = quant::panel_bytes(type, kDepth);
  const uint64_t n_panels = wanted_bytes / weights.panel_bytes + 1;
  weights.rows = static_cast<uint32_t>(n_panels * 8);
  weights.bytes = base::AlignedBuffer(n_panels * weights.panel_bytes);
  quant::pack_panel(type, rows.data(), 8, kDepth, weights.bytes.data());
  for (uint64_t p = 1; p < n_panels; ++p) {
    std::memcpy(weights.bytes.data() + p * weights.panel_bytes, weights.bytes.data(), weights.panel_bytes);
  }
  return weights;
}

void measure(const kernels::KernelTable& table, TensorType type, const Weights& weights, uint32_t n,
             const char* label) {
  std::mt19937 random(2);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  std::vector<int8_t> planes(size_t{n} * 2 * kDepth, 3);
  std::vector<float> scales(size_t{n} * kDepth / 32), x(size_t{n} * kDepth);
  for (float& value : scales) value = uniform(random);
  for (float& value : x) value = uniform(random);
  std::vector<float> half_sums(size_t{n} * kDepth / 16, 0.25f);
  std::vector<float> out(size_t{n} * weights.rows);
  kernels::MatmulArgs args{};
  args.panels = weights.bytes.data();
  args.panel_bytes = weights.panel_bytes;
  args.rows = weights.rows;
  args.k = kDepth;
  args.n = n;
  args.activations = {planes.data(), scales.data(), scales.data(), half_sums.data()};
  args.x = x.data();
  args.out = out.data();
  args.out_stride = weights.rows;
  // Chunks of about 64 KiB, as the engine's thread team hands them out.
  const uint32_t n_panels = weights.rows / 8;
  const uint32_t chunk = static_cast<uint32_t>(65536 / weights.panel_bytes + 1);
  double best = 1e9;
  const auto begin = Clock::now();
  for (int run = 0; run < 20 && (run < 2 || seconds_since(begin) < 0.15); ++run) {
    const auto start = Clock::now();
    for (uint32_t p = 0; p < n_panels; p += chunk) {
      args.panel_begin = p;
      args.panel_end = p + chunk < n_panels ? p + chunk : n_panels;
      table.matmul[static_cast<uint32_t>(type)](args);
    }
    const double seconds = seconds_since(start);
    best = seconds < best ? seconds : best;
  }
  const double macs = static_cast<double>(weights.rows) * kDepth * n;
  const double bytes = static_cast<double>(n_panels) * static_cast<double>(weights.panel_bytes);
  std::printf("%-7s %-4s n=%-3u %7.2f GB/s %7.2f GMAC/s %6.2f MAC/cycle\n", base::tensor_type_traits(type).name, label,
              n, bytes / best / 1e9, macs / best / 1e9, macs / best / clock_hz());
}

}  // namespace

int main(int argc, char** argv) {
  std::string isa = base::isa_name(base::best_isa()), only;
  bool warm = true, cold = true;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--isa" && i + 1 < argc) isa = argv[++i];
    if (flag == "--type" && i + 1 < argc) only = argv[++i];
    if (flag == "--warm") cold = false;
    if (flag == "--cold") warm = false;
  }
  const kernels::KernelTable* table = nullptr;
  for (const base::Isa path : {base::Isa::kScalar, base::Isa::kAvx2, base::Isa::kAvx512, base::Isa::kNeon}) {
    if (isa == base::isa_name(path)) table = kernels::kernel_table(path);
  }
  if (table == nullptr) {
    std::fprintf(stderr, "no path %s here\n", isa.c_str());
    return 1;
  }
  std::printf("isa %s, clock %.2f GHz, k %u, one thread\n", isa.c_str(), clock_hz() / 1e9, kDepth);
  for (TensorType type : kTypes) {
    if (!only.empty() && only != base::tensor_type_traits(type).name) continue;
    if (warm) {
      const Weights weights = make_weights(type, kWarmBytes);
      for (uint32_t n : kColumns) measure(*table, type, weights, n, "warm");
    }
    if (cold) {
      std::printf("read ceiling now %.2f GB/s\n", read_ceiling_gb_s());
      const Weights weights = make_weights(type, kColdBytes);
      for (uint32_t n : {1u, 4u}) measure(*table, type, weights, n, "cold");
    }
  }
  return 0;
}
