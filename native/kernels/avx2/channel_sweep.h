// Choosing channels, once for both x86 paths; equal to scalar/channels.cc.
//
// The k-th largest score is found by counting how many reach a bound, in between what is known to be too low and too
// high. The upper halves of the scores go first, as 16-bit keys, twice as many to a vector; then the lower halves of
// those whose upper half is the one found. A bound that splits off exactly k ends the search.
//
// A Path gives:
//   high_keys(scores, n, keys), low_keys(scores, n, high, keys)   keys of 16 bits, in any order, and the sum of the
//   upper
//                                                                 ones; lower ones are 0 where the upper half is
//                                                                 another
//   count_from(keys, n, bound)      keys that are ≥ bound, bound ≥ 1
//   word_from(scores, bound)        mask of 32 scores that are ≥ bound
//   keep_block(planes, word)        zeroes a block's other codes; Σ 256 · high + low in eight parts, four a half block
//   keep_floats(floats, word)
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/kernels.h"

namespace lutra::kernels::avx2 {
namespace {

/// Where the k-th largest key is: low ≤ key < high. `reach` keys are ≥ low, `beyond` of them ≥ high: beyond < k ≤
/// reach. Done when reach == k or one key is left.
struct KeyRange {
  uint32_t low, high, reach, beyond;

  bool is_open(uint32_t k) const { return reach != k && high - low > 1; }
  template <typename Path>
  void split(const uint16_t* keys, uint32_t n, uint32_t k, uint32_t at) {
    const uint32_t count = Path::count_from(keys, n, at);
    (count >= k ? low : high) = at;
    (count >= k ? reach : beyond) = count;
  }
  /// Where the key is if keys are spread evenly, moved towards the farther end: that end then comes close too.
  uint32_t interpolated(uint32_t k) const {
    const uint32_t width = high - low;
    const auto at = static_cast<uint32_t>(uint64_t{width} * (reach - k) / (reach - beyond));
    const uint32_t moved = at < width / 2 ? at + width / 8 : at - width / 8;
    return low + (moved < 1 ? 1 : moved);  // at < width, as k > beyond, and so moved < width
  }
};

/// Halving comes after a few guesses: no input takes more than 20 counts.
template <typename Path>
void find_key(const uint16_t* keys, uint32_t n, uint32_t k, KeyRange& range) {
  constexpr uint32_t kGuesses = 5;
  for (uint32_t i = 0; range.is_open(k); ++i) {
    range.split<Path>(keys, n, k, i < kGuesses ? range.interpolated(k) : (range.low + range.high) / 2);
  }
}

template <typename Path>
void top_channels(const TopChannelsArgs& args) noexcept {
  auto* const keys = reinterpret_cast<uint16_t*>(args.scratch);
  KeyRange high{0, 1u << 15, args.n, 0};
  // The key's mean is one of logarithms. A key an octave away is 128 away.
  uint32_t at = Path::high_keys(args.scores, args.n, keys) / args.n;
  for (uint32_t step = 128; high.is_open(args.k) && at > high.low && at < high.high; step *= 4) {
    high.split<Path>(keys, args.n, args.k, at);
    if (high.high - high.low <= step) break;
    at = high.low == at ? at + step : at > step ? at - step : 0;
  }
  find_key<Path>(keys, args.n, args.k, high);
  uint32_t bound = high.low << 16, left = 0;  // of those that equal the bound
  bool has_ties = false;
  if (high.reach != args.k) {
    Path::low_keys(args.scores, args.n, high.low, keys);
    const uint32_t k = args.k - high.beyond;
    KeyRange low{0, 1u << 16, high.reach - high.beyond, 0};
    find_key<Path>(keys, args.n, k, low);
    bound |= low.low;
    left = k - low.beyond;
    has_ties = low.reach != k;
  }
  for (uint32_t w = 0; w < args.n / 32; ++w) {
    uint32_t kept = Path::word_from(args.scores + 32 * w, bound);
    if (has_ties) {
      uint32_t equal = kept;
      kept = Path::word_from(args.scores + 32 * w, bound + 1);
      equal ^= kept;
      for (; equal != 0 && left != 0; equal &= equal - 1, --left) kept |= equal & (0u - equal);
    }
    args.mask[w] = kept;
  }
}

template <typename Path>
uint32_t channels_from(const uint32_t* scores, uint32_t n, uint32_t least, uint32_t* mask) noexcept {
  uint32_t kept = 0;
  for (uint32_t w = 0; w < n / 32; ++w) {
    mask[w] = Path::word_from(scores + 32 * w, least);
    kept += static_cast<uint32_t>(__builtin_popcount(mask[w]));
  }
  return kept;
}

/// Sums of up to four blocks from their eight parts each: |Σc| ≤ 32 · 32639 < 2^24, exact as a float.
inline void store_block_sums(const KeepChannelsArgs& args, uint32_t block, uint32_t n, const __m256i* parts) {
  const __m256i pairs = _mm256_hadd_epi32(_mm256_hadd_epi32(parts[0], parts[1]), _mm256_hadd_epi32(parts[2], parts[3]));
  const __m128i first = _mm256_castsi256_si128(pairs), second = _mm256_extracti128_si256(pairs, 1);
  const __m128i sums = _mm_add_epi32(first, second);
  const __m128i live = _mm_cmpgt_epi32(_mm_set1_epi32(static_cast<int>(n)), _mm_setr_epi32(0, 1, 2, 3));
  const __m128 d = _mm_maskload_ps(args.d + block, live);
  _mm_maskstore_epi32(args.sums + block, live, sums);
  _mm_maskstore_ps(args.s + block, live, _mm_mul_ps(_mm_cvtepi32_ps(sums), d));
  float* const s16 = args.s16 + 2 * block;
  _mm_maskstore_ps(s16, _mm_unpacklo_epi32(live, live),
                   _mm_mul_ps(_mm_cvtepi32_ps(_mm_unpacklo_epi32(first, second)), _mm_unpacklo_ps(d, d)));
  if (n > 2) {
    _mm_maskstore_ps(s16 + 4, _mm_unpackhi_epi32(live, live),
                     _mm_mul_ps(_mm_cvtepi32_ps(_mm_unpackhi_epi32(first, second)), _mm_unpackhi_ps(d, d)));
  }
}

template <typename Path>
void keep_channels(const KeepChannelsArgs& args) noexcept {
  const uint32_t blocks = args.k / kBlock;
  for (uint32_t b = 0; b < blocks; b += 4) {
    const uint32_t n = blocks - b < 4 ? blocks - b : 4;
    __m256i parts[4] = {};
#pragma GCC unroll 4
    for (uint32_t i = 0; i < 4; ++i) {
      if (i < n) parts[i] = Path::keep_block(args.planes + 64ull * (b + i), args.mask[b + i]);
    }
    store_block_sums(args, b, n, parts);
  }
  if (args.floats == nullptr) return;
  for (uint32_t b = 0; b < blocks; ++b) Path::keep_floats(args.floats + 32ull * b, args.mask[b]);
}

}  // namespace
}  // namespace lutra::kernels::avx2
