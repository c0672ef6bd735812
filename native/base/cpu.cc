// CPU features by CPUID and XGETBV (the operating system must save the wide registers too) or, on ARM, as the operating
// system tells them; CPU and memory budgets by the affinity mask, /proc and the control groups (v1 and v2). Everything
// missing or malformed counts as "no limit".
#include "base/cpu.h"

#include <charconv>
#include <cstdint>
#include <fstream>
#include <limits>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif
#if defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace lutra::base {
namespace {

constexpr uint64_t kUnlimited = std::numeric_limits<uint64_t>::max();

#if defined(__x86_64__)
/// The register state the operating system saves: XCR0, or 0 without XGETBV.
unsigned saved_state() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || (ecx & bit_OSXSAVE) == 0) return 0;
  unsigned xcr0 = 0, xcr0_high = 0;
  __asm__ volatile("xgetbv" : "=a"(xcr0), "=d"(xcr0_high) : "c"(0));
  return xcr0;
}

bool detect_avx2() {
  constexpr unsigned kXmmYmm = 0x6;
  if ((saved_state() & kXmmYmm) != kXmmYmm) return false;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr unsigned kNeeded = bit_AVX | bit_FMA | bit_F16C;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || (ecx & kNeeded) != kNeeded) return false;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (ebx & bit_AVX2) != 0;
}

bool detect_avx512() {
  constexpr unsigned kMasksZmm = 0xE0;  // mask registers, upper halves of zmm 0–15, zmm 16–31
  if (!detect_avx2() || (saved_state() & kMasksZmm) != kMasksZmm) return false;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
  constexpr unsigned kNeeded = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
  return (ebx & kNeeded) == kNeeded && (ecx & bit_AVX512VNNI) != 0;
}
#endif

#if defined(__aarch64__)
/// NEON itself is part of every 64-bit ARM; the 8-bit dot products are optional.
bool detect_neon() {
#if defined(__linux__)
  constexpr unsigned long kDotProducts = 1ul << 20;  // HWCAP_ASIMDDP
  return (getauxval(AT_HWCAP) & kDotProducts) != 0;
#elif defined(__APPLE__)
  int has = 0;
  size_t size = sizeof has;
  return sysctlbyname("hw.optional.arm.FEAT_DotProd", &has, &size, nullptr, 0) == 0 && has != 0;
#else
  return false;
#endif
}
#endif

#if defined(__linux__)
std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// The unsigned number `text` starts with; kUnlimited when it starts with none ("max", "-1", empty).
uint64_t leading_number(std::string_view text) {
  const size_t start = text.find_first_not_of(" \t");
  if (start == std::string_view::npos) return kUnlimited;
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data() + start, text.data() + text.size(), value);
  return error == std::errc() ? value : kUnlimited;
}

/// The number after `key` in a file of "key value" lines.
uint64_t number_of_key(const std::string& path, std::string_view key) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    if (std::string_view(line).starts_with(key)) return leading_number(std::string_view(line).substr(key.size()));
  }
  return kUnlimited;
}

bool names_controller(std::string_view list, std::string_view controller) {
  while (!list.empty()) {
    const size_t comma = list.find(',');
    if (list.substr(0, comma) == controller) return true;
    if (comma == std::string_view::npos) return false;
    list.remove_prefix(comma + 1);
  }
  return false;
}

/// Folders whose limits apply to this process: its own group, then each ancestor, then the mount itself. Inside a
/// container the path of /proc/self/cgroup may not exist below the mount; missing files read as unlimited.
std::vector<std::string> group_folders(std::string_view controller) {
  std::vector<std::string> folders;
  std::ifstream file("/proc/self/cgroup");
  std::string line;
  while (std::getline(file, line)) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string list = line.substr(first + 1, second - first - 1);
    if (controller.empty() ? !list.empty() : !names_controller(list, controller)) continue;
    const std::string root = std::string("/sys/fs/cgroup") + (controller.empty() ? "" : "/" + std::string(controller));
    std::string path = line.substr(second + 1);
    while (path.size() > 1 && folders.size() < 64) {
      folders.push_back(root + path);
      path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
    }
    folders.push_back(root);
  }
  return folders;
}

double quota_cpus(uint64_t quota, uint64_t period) {
  if (quota == kUnlimited || period == kUnlimited || quota == 0 || period == 0) return 0.0;
  return static_cast<double>(quota) / static_cast<double>(period);
}

/// CPUs the control groups allow; 0 when unlimited.
double group_cpus() {
  double least = 0.0;
  const auto consider = [&least](double cpus) {
    if (cpus > 0.0 && (least == 0.0 || cpus < least)) least = cpus;
  };
  for (const std::string& folder : group_folders("")) {
    const std::string line = first_line(folder + "/cpu.max");
    const size_t space = line.find(' ');
    if (space == std::string::npos) continue;
    consider(quota_cpus(leading_number(line), leading_number(std::string_view(line).substr(space))));
  }
  for (const std::string& folder : group_folders("cpu")) {
    consider(quota_cpus(leading_number(first_line(folder + "/cpu.cfs_quota_us")),
                        leading_number(first_line(folder + "/cpu.cfs_period_us"))));
  }
  return least;
}

/// Bytes a group leaves; page cache it could drop counts as free.
uint64_t group_bytes_left(const std::string& folder, const char* limit_file, const char* usage_file,
                          std::string_view cache_key) {
  const uint64_t limit = leading_number(first_line(folder + limit_file));
  uint64_t usage = leading_number(first_line(folder + usage_file));
  if (limit == kUnlimited || usage == kUnlimited) return kUnlimited;
  const uint64_t cache = number_of_key(folder + "/memory.stat", cache_key);
  if (cache != kUnlimited) usage -= cache < usage ? cache : usage;
  return usage < limit ? limit - usage : 1;
}

int affinity_cpus() {
  // The kernel refuses a mask smaller than its own; 64 k CPUs is beyond any it can be built for.
  for (int cpus = 1024; cpus <= 65536; cpus *= 4) {
    cpu_set_t* set = CPU_ALLOC(cpus);
    if (set == nullptr) return 0;
    const size_t size = CPU_ALLOC_SIZE(cpus);
    CPU_ZERO_S(size, set);
    const int count = sched_getaffinity(0, size, set) == 0 ? CPU_COUNT_S(size, set) : 0;
    CPU_FREE(set);
    if (count > 0) return count;
  }
  return 0;
}
#endif

}  // namespace

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kScalar: return "scalar";
    case Isa::kAvx2: return "avx2";
    case Isa::kAvx512: return "avx512";
    case Isa::kNeon: return "neon";
  }
  return "unknown";
}

bool isa_available(Isa isa) {
  switch (isa) {
    case Isa::kScalar: return true;
    case Isa::kAvx2: {
#if defined(__x86_64__)
      static const bool available = detect_avx2();
      return available;
#else
      return false;
#endif
    }
    case Isa::kAvx512: {
#if defined(__x86_64__)
      static const bool available = detect_avx512();
      return available;
#else
      return false;
#endif
    }
    case Isa::kNeon: {
#if defined(__aarch64__)
      static const bool available = detect_neon();
      return available;
#else
      return false;
#endif
    }
    default: return false;
  }
}

bool has_avx512_vbmi() {
#if defined(__x86_64__)
  constexpr unsigned kVbmi = 1u << 1;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!isa_available(Isa::kAvx512) || __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
  return (ecx & kVbmi) != 0;
#else
  return false;
#endif
}

Isa best_isa() {
  if (isa_available(Isa::kNeon)) return Isa::kNeon;
  if (isa_available(Isa::kAvx512)) return Isa::kAvx512;
  return isa_available(Isa::kAvx2) ? Isa::kAvx2 : Isa::kScalar;
}

ThreadBudget default_threads() {
  const unsigned reported = std::thread::hardware_concurrency();
  int threads = reported > 0 ? static_cast<int>(reported) : 1;
  std::string reason = std::to_string(threads) + " CPUs reported by the system";
#if defined(__linux__)
  if (const int allowed = affinity_cpus(); allowed > 0) {
    threads = allowed;
    reason = "affinity mask allows " + std::to_string(allowed) + " CPUs";
  }
  const double quota = group_cpus();
  if (quota > 0.0 && quota < static_cast<double>(threads)) {
    // Rounded down: a thread beyond the quota makes all of them stop for the rest of each period.
    threads = quota < 1.0 ? 1 : static_cast<int>(quota);
    std::string cpus = std::to_string(quota);
    cpus.resize(cpus.size() - 4);
    reason = "cgroup CPU quota allows " + cpus + " CPUs";
  }
#endif
  return {threads, reason};
}

unsigned long long available_memory_bytes() {
  uint64_t least = kUnlimited;
#if defined(__linux__)
  const uint64_t kib = number_of_key("/proc/meminfo", "MemAvailable:");
  if (kib < kUnlimited / 1024) least = kib * 1024;
  const auto consider = [&least](uint64_t bytes) { least = bytes < least ? bytes : least; };
  for (const std::string& folder : group_folders("")) {
    consider(group_bytes_left(folder, "/memory.max", "/memory.current", "inactive_file "));
  }
  for (const std::string& folder : group_folders("memory")) {
    consider(group_bytes_left(folder, "/memory.limit_in_bytes", "/memory.usage_in_bytes", "total_inactive_file "));
  }
#endif
  return least == kUnlimited ? 0 : least;
}

}  // namespace lutra::base
