// Attention over listed rows of 8 bits; bit-equal to scalar/lookup_rows.cc. Packing stays with AVX2.
#include <immintrin.h>

#include "kernels/avx2/lookup_rows.h"
#include "kernels/avx512/attention_lanes.h"
#include "kernels/avx512/avx512.h"

namespace lutra::kernels::avx512 {
namespace {

struct DotVnni {
  static __m256i add(__m256i sums, __m256i a, __m256i b) { return _mm256_dpwssd_epi32(sums, a, b); }
};

void refine(const LookupRefineArgs& args) noexcept {
  avx2::Refine<Lanes16, DotVnni> listed(args);
  listed.run();
}

}  // namespace

void fill_lookup_rows(KernelTable& table) noexcept { table.lookup.refine = refine; }

}  // namespace lutra::kernels::avx512
