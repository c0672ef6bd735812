// Asking for a line of memory before it is read. Internal linkage: each ISA path has its own copy.
#pragma once

namespace lutra::kernels {
namespace {

/// Asks for the line at `address`, into the second cache: the first has too few places for what is under way from
/// memory. GCC takes a function that does nothing but prefetch for one without effect and deletes its calls; the empty
/// statement is an effect.
inline __attribute__((always_inline)) void fetch_line(const void* address) {
  __builtin_prefetch(address, 0, 2);
  asm volatile("");
}

}  // namespace
}  // namespace lutra::kernels
