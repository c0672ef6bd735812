// Asking for a line of memory before it is read. Internal linkage: each ISA path has its own copy.
#pragma once

namespace lutra::kernels {
namespace {

/// Asks for the line at `address`: into the first cache (kFirst), or the second, which has room for more that is under
/// way. GCC takes a function that does nothing but prefetch for one without effect and deletes its calls; the empty
/// statement is an effect.
enum class Cache { kSecond = 2, kFirst = 3 };
template <Cache kInto = Cache::kFirst>
inline __attribute__((always_inline)) void fetch_line(const void* address) {
  __builtin_prefetch(address, 0, static_cast<int>(kInto));
  asm volatile("");
}

}  // namespace
}  // namespace lutra::kernels
