// What this CPU offers, and how many threads this process may use.
#pragma once

#include <string>

namespace lutra::base {

/// Instruction-set paths, slowest first. Each one fills a kernels::KernelTable.
enum class Isa { kScalar = 0, kAvx2 = 1, kAvx512 = 2, kNeon = 3 };

const char* isa_name(Isa isa);
/// The best path this CPU and operating system can run among those compiled in. avx2 needs FMA and F16C too, avx512
/// the F, BW, DQ, VL and VNNI parts besides; neon the 8-bit dot products of ARMv8.2.
Isa best_isa();
/// True when the CPU can run the path and this build has it.
bool isa_available(Isa isa);
/// Whether a CPU of the avx512 path permutes bytes across a register too (AVX-512 VBMI).
bool has_avx512_vbmi();

struct ThreadBudget {
  int threads;         ///< threads to use by default, at least 1
  std::string reason;  ///< one line for people: which limit decided
};

/// CPUs this process may run on: the smaller of its affinity mask and its cgroup quota (v1 and v2).
ThreadBudget default_threads();

/// Bytes of memory this process can still take: the smaller of the machine's available memory and what its cgroup
/// leaves; 0 when unknown.
unsigned long long available_memory_bytes();

}  // namespace lutra::base
