// Rows of 8 bits and attention over listed ones; bit-equal to scalar/lookup_rows.cc.
#include "kernels/avx2/lookup_rows.h"

#include <immintrin.h>

#include "kernels/avx2/avx2.h"

namespace lutra::kernels::avx2 {
namespace {

__m256i magnitudes(__m256 x) { return _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x7fffffff)); }

/// Codes of elements whose factors are these, as 32-bit integers.
__m256i codes_of(__m256 x, __m256 factors) {
  const __m256 limit = _mm256_set1_ps(127.0f), least = _mm256_set1_ps(-127.0f);
  const __m256 scaled = _mm256_max_ps(_mm256_min_ps(_mm256_mul_ps(x, factors), limit), least);
  const __m256 usable = _mm256_cmp_ps(factors, _mm256_setzero_ps(), _CMP_NEQ_OQ);
  return _mm256_and_si256(_mm256_cvtps_epi32(scaled), _mm256_castps_si256(usable));
}

/// Keys are dimension-major: a vector is eight positions, and four dimensions' codes fill its lanes.
void pack_keys(const LookupPackArgs& args, uint16_t* scales) {
  for (uint32_t slot = 0; slot < kPagePositions; slot += 8) {
    const float* keys = args.keys + slot;
    __m256i most = _mm256_setzero_si256();
    for (uint32_t d = 0; d < args.head_dim; ++d) {
      most = _mm256_max_epu32(most, magnitudes(_mm256_loadu_ps(keys + uint64_t{d} * kPagePositions)));
    }
    alignas(32) uint32_t largest[8];
    alignas(32) float factors[8];
    _mm256_store_si256(reinterpret_cast<__m256i*>(largest), most);
    for (uint32_t i = 0; i < 8; ++i) {
      const RowScale scale(largest[i]);
      scales[2 * (slot + i)] = scale.stored;
      factors[i] = scale.factor;
    }
    const __m256 factor = _mm256_load_ps(factors);
    for (uint32_t d = 0; d < args.head_dim; d += 4) {
      __m256i codes = _mm256_setzero_si256();
      for (uint32_t j = 0; j < 4; ++j) {
        const __m256i code = codes_of(_mm256_loadu_ps(keys + uint64_t{d + j} * kPagePositions), factor);
        codes = _mm256_or_si256(codes, _mm256_slli_epi32(_mm256_and_si256(code, _mm256_set1_epi32(0xff)), 8 * j));
      }
      alignas(32) uint32_t lanes[8];
      _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), codes);
      for (uint32_t i = 0; i < 8; ++i) {
        __builtin_memcpy(args.rows + uint64_t{slot + i} * args.head_dim + d, lanes + i, 4);
      }
    }
  }
}

/// Eight elements of a row of a page of values.
template <typename Pages>
__m256 eight_values(const LookupPackArgs& args, uint32_t slot, uint32_t d) {
  using Element = typename Pages::Element;
  const uint64_t n_elements = uint64_t{kPagePositions} * args.head_dim;
  const __m256 x = Lanes8::widen(reinterpret_cast<const Element*>(args.values) + uint64_t{slot} * args.head_dim + d);
  if constexpr (Pages::kScaled) {
    const auto* scales = reinterpret_cast<const uint16_t*>(args.values + n_elements);
    return Lanes8::multiply(x, Lanes8::widen_one(scales + d / kBlock * kPagePositions + slot));
  }
  return x;
}

template <typename Pages>
void pack_values(const LookupPackArgs& args, uint16_t* scales) {
  for (uint32_t slot = 0; slot < kPagePositions; ++slot) {
    __m256i most = _mm256_setzero_si256();
    for (uint32_t d = 0; d < args.head_dim; d += 8) {
      most = _mm256_max_epu32(most, magnitudes(eight_values<Pages>(args, slot, d)));
    }
    alignas(32) uint32_t lanes[8];
    _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), most);
    uint32_t largest = 0;
    for (const uint32_t lane : lanes) largest = lane > largest ? lane : largest;
    const RowScale scale(largest);
    scales[2 * slot + 1] = scale.stored;
    uint8_t* row = args.rows + uint64_t{kPagePositions + slot} * args.head_dim;
    for (uint32_t d = 0; d < args.head_dim; d += 8) {
      const __m256i codes = codes_of(eight_values<Pages>(args, slot, d), _mm256_set1_ps(scale.factor));
      const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(codes), _mm256_extracti128_si256(codes, 1));
      _mm_storel_epi64(reinterpret_cast<__m128i*>(row + d), _mm_packs_epi16(words, words));
    }
  }
}

template <typename Pages>
void pack(const LookupPackArgs& args) noexcept {
  auto* scales = reinterpret_cast<uint16_t*>(args.rows + uint64_t{kPagePositions} * 2 * args.head_dim);
  pack_keys(args, scales);
  pack_values<Pages>(args, scales);
}

void refine(const LookupRefineArgs& args) noexcept {
  Refine<Lanes8, Dot8> listed(args);
  listed.run();
}

}  // namespace

void fill_lookup_rows(KernelTable& table) noexcept {
  table.lookup.pack[static_cast<uint64_t>(KvType::kF16)] = pack<HalfPages>;
  table.lookup.pack[static_cast<uint64_t>(KvType::kQ8_0)] = pack<BytePages>;
  table.lookup.refine = refine;
}

}  // namespace lutra::kernels::avx2
