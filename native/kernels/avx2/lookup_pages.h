// Fetching pages of codes before they are read. Internal linkage: each ISA path has its own copy.
#pragma once

#include <cstdint>

#include "kernels/fetch.h"

namespace lutra::kernels::avx2 {
namespace {

/// Asks for the page that is read a few pages after `page`: pages lie anywhere and are short, so that hardware
/// prefetchers do not get far, and a page is scored sooner than memory answers. Into the second cache and eight pages
/// ahead: cold scans of 8,000 positions took 10 % less than with the first cache and four (Zen 4).
inline void fetch_ahead(const uint8_t* const* pages, uint32_t page, uint32_t n_pages, uint64_t page_bytes) {
  constexpr uint32_t kAhead = 8;
  if (n_pages - page <= kAhead) return;
  for (uint64_t i = 0; i < page_bytes; i += 64) {
    fetch_line(pages[page + kAhead] + i);
  }
}

}  // namespace
}  // namespace lutra::kernels::avx2
