// AVX2 codes of keys and tables of queries; bit-equal to scalar/lookup_scan.cc.
#include <immintrin.h>

#include "kernels/avx2/avx2.h"
#include "kernels/avx2/vector_math.h"
#include "kernels/lookup_scale.h"

namespace lutra::kernels::avx2 {
namespace {

/// The nearest centroids of eight positions, a code in each lane.
template <uint32_t kSub>
__m256i nearest(const float* keys, const float* centroids) {
  __m256 key[kSub];
  for (uint32_t j = 0; j < kSub; ++j) key[j] = _mm256_loadu_ps(keys + j * kPagePositions);
  __m256 best = _mm256_set1_ps(__builtin_inff());
  __m256i codes = _mm256_setzero_si256();
#pragma GCC unroll 16
  for (uint32_t c = 0; c < kCentroids; ++c) {
    __m256 distance = _mm256_setzero_ps();
    for (uint32_t j = 0; j < kSub; ++j) {
      const __m256 difference = _mm256_sub_ps(key[j], _mm256_broadcast_ss(centroids + j * kCentroids + c));
      distance = _mm256_fmadd_ps(difference, difference, distance);
    }
    const __m256 nearer = _mm256_cmp_ps(distance, best, _CMP_LT_OQ);
    codes = _mm256_blendv_epi8(codes, _mm256_set1_epi32(static_cast<int>(c)), _mm256_castps_si256(nearer));
    best = _mm256_min_ps(distance, best);  // the second operand when the distance is NaN
  }
  return codes;
}

/// Low bytes of 16 lanes, in order.
__m128i pack_bytes(__m256i a, __m256i b) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(a, b), 0xd8);
  return _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

template <uint32_t kSub>
void encode_rows(const LookupEncodeArgs& args) {
  for (uint32_t s = 0; s < args.n_subs; ++s) {
    const float* keys = args.keys + uint64_t{s} * kSub * kPagePositions;
    const float* centroids = args.centroids + uint64_t{s} * kSub * kCentroids;
    __m256i codes[2];
    for (uint32_t i = 0; i < 2; ++i) {
      const __m256i high = nearest<kSub>(keys + 16 + 8 * i, centroids);
      codes[i] = _mm256_or_si256(nearest<kSub>(keys + 8 * i, centroids), _mm256_slli_epi32(high, 4));
    }
    _mm_storeu_si128(reinterpret_cast<__m128i*>(args.codes + uint64_t{s} * 16), pack_bytes(codes[0], codes[1]));
  }
}

/// Codes of eight outliers of one dimension; NaN counts as 0.
__m256i outlier_codes(const float* keys, __m256 scale) {
  const __m256 ratio = _mm256_div_ps(_mm256_loadu_ps(keys), scale);
  const __m256 limit = _mm256_set1_ps(127.0f);
  const __m256 kept = _mm256_max_ps(_mm256_min_ps(ratio, limit), _mm256_sub_ps(_mm256_setzero_ps(), limit));
  const __m256 valid =
      _mm256_and_ps(_mm256_cmp_ps(ratio, ratio, _CMP_ORD_Q), _mm256_cmp_ps(scale, _mm256_setzero_ps(), _CMP_NEQ_UQ));
  return _mm256_cvtps_epi32(_mm256_and_ps(kept, valid));
}

void encode_outliers(const LookupEncodeArgs& args) {
  auto* out = reinterpret_cast<__m128i*>(args.codes + uint64_t{args.n_subs} * 16);
  const __m256i low_byte = _mm256_set1_epi32(255);
  for (uint32_t o = 0; o < args.n_outliers; ++o) {
    const __m256 scale = _mm256_broadcast_ss(args.outlier_scales + o);
    for (uint32_t half = 0; half < 2; ++half) {
      const float* keys = args.outliers + uint64_t{o} * kPagePositions + 16 * half;
      const __m256i a = outlier_codes(keys, scale), b = outlier_codes(keys + 8, scale);
      _mm_storeu_si128(out++, pack_bytes(_mm256_and_si256(a, low_byte), _mm256_and_si256(b, low_byte)));
    }
  }
}

void encode(const LookupEncodeArgs& args) noexcept {
  switch (args.d_sub) {
    case 1: encode_rows<1>(args); break;
    case 2: encode_rows<2>(args); break;
    default: encode_rows<4>(args); break;
  }
  encode_outliers(args);
}

float min_lane(__m256 v) {
  const __m128 quads = _mm_min_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 pairs = _mm_min_ps(quads, _mm_movehl_ps(quads, quads));
  return _mm_cvtss_f32(_mm_min_ss(pairs, _mm_shuffle_ps(pairs, pairs, 1)));
}

/// The products of sub-vectors with their centroids, kept between the two passes over them.
class Products {
 public:
  /// Which zero a minimum is, where there are both, is not seen: it is added to others and taken off before rounding.
  TableSpans fill(const LookupTablesArgs& args) {
    TableSpans spans;
    __m256i largest = _mm256_setzero_si256();  // magnitude, as an integer: a NaN is above all
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    for (uint32_t s = 0; s < args.n_subs; ++s) {
      const float* centroids = args.centroids + uint64_t{s} * args.d_sub * kCentroids;
      __m256 a = _mm256_setzero_ps(), b = a;
      for (uint32_t j = 0; j < args.d_sub; ++j, centroids += kCentroids) {
        const __m256 query = _mm256_broadcast_ss(args.query + uint64_t{s} * args.d_sub + j);
        a = _mm256_fmadd_ps(query, _mm256_loadu_ps(centroids), a);
        b = _mm256_fmadd_ps(query, _mm256_loadu_ps(centroids + 8), b);
      }
      _mm256_store_ps(entries_[s], a);
      _mm256_store_ps(entries_[s] + 8, b);
      largest = _mm256_max_epi32(largest, _mm256_and_si256(_mm256_castps_si256(a), magnitude));
      largest = _mm256_max_epi32(largest, _mm256_and_si256(_mm256_castps_si256(b), magnitude));
      min_[s] = min_lane(_mm256_min_ps(a, b));
      spans.add(min_[s], max_lane(_mm256_max_ps(a, b)));
    }
    const __m256i infinite = _mm256_cmpgt_epi32(largest, _mm256_set1_epi32(0x7f7fffff));
    spans.finite = _mm256_testz_si256(infinite, infinite) != 0;
    return spans;
  }

  /// Entries of a row as bytes. Those that are not finite come with a scale of 0, and what that gives, a NaN, ends as
  /// the lowest integer, then as 0.
  __m128i bytes(uint32_t s, __m256 scale, __m256i levels) const {
    const __m256 min = _mm256_broadcast_ss(min_ + s);
    const __m256 a = _mm256_mul_ps(_mm256_sub_ps(_mm256_load_ps(entries_[s]), min), scale);
    const __m256 b = _mm256_mul_ps(_mm256_sub_ps(_mm256_load_ps(entries_[s] + 8), min), scale);
    return pack_bytes(_mm256_min_epi32(_mm256_cvtps_epi32(a), levels), _mm256_min_epi32(_mm256_cvtps_epi32(b), levels));
  }

 private:
  alignas(32) float entries_[kMaxSubVectors][kCentroids];
  float min_[kMaxSubVectors];
};

void tables(const LookupTablesArgs& args) noexcept {
  Products products;
  const __m256 scale = _mm256_set1_ps(table_scale(args, products.fill(args)));
  const __m256i levels = _mm256_set1_epi32(static_cast<int>(args.levels));
  for (uint32_t s = 0; s < args.n_subs; ++s) {
    _mm_store_si128(reinterpret_cast<__m128i*>(args.tables + uint64_t{s} * kCentroids),
                    products.bytes(s, scale, levels));
  }
}

}  // namespace

void fill_lookup_codes(KernelTable& table) noexcept {
  table.lookup.encode = encode;
  table.lookup.tables = tables;
}

}  // namespace lutra::kernels::avx2
