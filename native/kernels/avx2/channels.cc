// AVX2 choosing and listing of channels; equal to scalar/channels.cc.
#include <immintrin.h>

#include "kernels/avx2/avx2.h"
#include "kernels/avx2/channel_sweep.h"
#include "kernels/column_kernels.h"

namespace lutra::kernels::avx2 {
namespace {

__m256i load(const void* at) { return _mm256_loadu_si256(static_cast<const __m256i*>(at)); }
void store(void* at, __m256i values) { _mm256_storeu_si256(static_cast<__m256i*>(at), values); }
__m128i load_half(const void* at) { return _mm_loadu_si128(static_cast<const __m128i*>(at)); }
void store_half(void* at, __m128i values) { _mm_storeu_si128(static_cast<__m128i*>(at), values); }
uint32_t count_bits(uint32_t word) { return static_cast<uint32_t>(__builtin_popcount(word)); }

void score(const float* x, const float* norms, uint32_t n, uint32_t* scores) noexcept {
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7FFFFFFF));
  for (uint32_t i = 0; i < n; i += 8) {
    __m256 value = _mm256_loadu_ps(x + i);
    if (norms != nullptr) value = _mm256_mul_ps(value, _mm256_loadu_ps(norms + i));
    store(scores + i, _mm256_castps_si256(_mm256_and_ps(value, magnitude)));
  }
}

/// Keys are stored less 2^15: there are signed comparisons only.
struct Path {
  static constexpr uint32_t kBias = 0x8000;

  static uint32_t high_keys(const uint32_t* scores, uint32_t n, uint16_t* keys) {
    __m256i sum = _mm256_setzero_si256();
    for (uint32_t i = 0; i < n; i += 16) {
      const __m256i a = _mm256_srli_epi32(load(scores + i), 16), b = _mm256_srli_epi32(load(scores + i + 8), 16);
      store_keys(keys + i, a, b);
      sum = _mm256_add_epi32(sum, _mm256_add_epi32(a, b));
    }
    return lane_sum(sum);
  }

  static void low_keys(const uint32_t* scores, uint32_t n, uint32_t high, uint16_t* keys) {
    const __m256i wanted = _mm256_set1_epi32(static_cast<int>(high));
    const auto low = [wanted](__m256i score) {
      const __m256i is_wanted = _mm256_cmpeq_epi32(_mm256_srli_epi32(score, 16), wanted);
      return _mm256_and_si256(_mm256_and_si256(score, is_wanted), _mm256_set1_epi32(0xFFFF));
    };
    for (uint32_t i = 0; i < n; i += 16) store_keys(keys + i, low(load(scores + i)), low(load(scores + i + 8)));
  }

  /// Lanes count to 2^17 / 16 = 2^13 at most.
  static uint32_t count_from(const uint16_t* keys, uint32_t n, uint32_t bound) {
    const __m256i below = _mm256_set1_epi16(static_cast<int16_t>((bound - 1) ^ kBias));
    __m256i counts[2] = {};
    for (uint32_t i = 0; i < n; i += 32) {
      counts[0] = _mm256_sub_epi16(counts[0], _mm256_cmpgt_epi16(load(keys + i), below));
      counts[1] = _mm256_sub_epi16(counts[1], _mm256_cmpgt_epi16(load(keys + i + 16), below));
    }
    return lane_sum(_mm256_madd_epi16(_mm256_add_epi16(counts[0], counts[1]), _mm256_set1_epi16(1)));
  }

  /// Scores are not negative, so a bound of 2^31 is one that none reaches.
  static uint32_t word_from(const uint32_t* scores, uint32_t bound) {
    const __m256i below = _mm256_set1_epi32(static_cast<int>(bound - 1));
    uint32_t word = 0;
#pragma GCC unroll 4
    for (uint32_t i = 0; i < 4; ++i) {
      const __m256i reaches = _mm256_cmpgt_epi32(load(scores + 8 * i), below);
      word |= static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(reaches))) << 8 * i;
    }
    return word;
  }

  static __m256i keep_block(int8_t* planes, uint32_t word) {
    const __m256i kept = byte_mask(word), ones = _mm256_set1_epi8(1);
    const __m256i high = _mm256_and_si256(load(planes), kept), low = _mm256_and_si256(load(planes + 32), kept);
    store(planes, high);
    store(planes + 32, low);
    return _mm256_add_epi32(_mm256_madd_epi16(_mm256_maddubs_epi16(ones, high), _mm256_set1_epi16(256)),
                            _mm256_madd_epi16(_mm256_maddubs_epi16(ones, low), _mm256_set1_epi16(1)));
  }

  static void keep_floats(float* floats, uint32_t word) {
    const __m256i bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    for (uint32_t i = 0; i < 4; ++i) {
      const __m256i eight = _mm256_and_si256(_mm256_set1_epi32(static_cast<int>(word >> 8 * i)), bits);
      store(floats + 8 * i, _mm256_and_si256(load(floats + 8 * i), _mm256_cmpeq_epi32(eight, bits)));
    }
  }

 private:
  static void store_keys(uint16_t* keys, __m256i a, __m256i b) {
    store(keys, _mm256_xor_si256(_mm256_packus_epi32(a, b), _mm256_set1_epi16(static_cast<int16_t>(kBias))));
  }

  static uint32_t lane_sum(__m256i values) {
    const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(values), _mm256_extracti128_si256(values, 1));
    const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
    return static_cast<uint32_t>(_mm_cvtsi128_si32(two)) + static_cast<uint32_t>(_mm_extract_epi32(two, 1));
  }

  /// A byte of ones for each bit.
  static __m256i byte_mask(uint32_t word) {
    const __m256i byte_of = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit_of = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201ull));
    const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(word)), byte_of);
    return _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit_of), bit_of);
  }
};

uint32_t unite(const UniteChannelsArgs& args) noexcept {
  const uint32_t words = args.k / 32;
  uint32_t listed = 0;
  for (uint32_t w = 0; w < words; ++w) {
    uint32_t any = 0;
    for (uint64_t t = 0; t < args.n; ++t) {
      uint32_t d;
      __builtin_memcpy(&d, args.d + t * words + w, sizeof d);
      any |= args.masks[t * words + w] | ((d & 0x7F800000u) == 0x7F800000u ? 1u : 0u);
    }
    args.mask[w] = any;
    listed += count_bits(any);
  }
  return listed;
}

/// For each byte, the places of its ones in ascending order, a byte each; then zeros.
struct OnesOfByte {
  uint64_t places[256];

  constexpr OnesOfByte() : places() {
    for (uint32_t byte = 0; byte < 256; ++byte) {
      uint32_t n = 0;
      for (uint64_t place = 0; place < 8; ++place) {
        if ((byte >> place & 1) != 0) places[byte] |= place << 8 * n++;
      }
    }
  }
};
constexpr OnesOfByte kOnes;

/// Writes the channels of a granule's bits, the first of which is `first`, and the fillers of its last quad; returns
/// how many channels there are. Up to 4 bytes behind them are written too, and up to 8 behind those of each byte.
template <uint32_t kGranule>
inline uint32_t write_channels(uint32_t bits, uint32_t first, uint8_t* channels) {
  uint32_t n = 0;
#pragma GCC unroll 4
  for (uint32_t byte = 0; byte < kGranule / 8; ++byte) {
    const uint32_t ones = bits >> 8 * byte & 0xFF;
    const uint64_t eight = kOnes.places[ones] + 0x0101010101010101u * (first + 8 * byte);
    __builtin_memcpy(channels + n, &eight, sizeof eight);
    n += count_bits(ones);
  }
  const uint32_t filler = 0x01010101u * (first + 31 - static_cast<uint32_t>(__builtin_clz(bits | 1)));
  __builtin_memcpy(channels + n, &filler, sizeof filler);
  return n;
}

/// Of 32 channels: the codes of a block in quads, 64 bytes. Those from `real` on are zeros.
inline void write_quads32(const int8_t* planes, const uint8_t* channels, uint32_t real, int8_t* quads) {
  const __m256i lanes = _mm256_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
                                         22, 23, 24, 25, 26, 27, 28, 29, 30, 31);
  const __m256i from = load(channels);
  const __m256i is_real = _mm256_cmpgt_epi8(_mm256_set1_epi8(static_cast<char>(real)), lanes);
  const __m256i in_second = _mm256_slli_epi16(from, 3);  // its bit 4 as a sign; behind the real ones it may be anything
  const auto pick = [&](const int8_t* plane) {
    const __m256i first = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load_half(plane)), from);
    const __m256i second = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load_half(plane + 16)), from);
    return _mm256_and_si256(_mm256_blendv_epi8(first, second, in_second), is_real);
  };
  const __m256i high = pick(planes), low = pick(planes + 32);
  const __m256i even = _mm256_unpacklo_epi32(high, low), odd = _mm256_unpackhi_epi32(high, low);
  store(quads, _mm256_permute2x128_si256(even, odd, 0x20));
  store(quads + 32, _mm256_permute2x128_si256(even, odd, 0x31));
}

/// The same of a half block, 32 bytes.
inline void write_quads16(const int8_t* planes, const uint8_t* channels, uint32_t real, int8_t* quads) {
  const __m128i lanes = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m128i from = load_half(channels);
  const __m128i is_real = _mm_cmpgt_epi8(_mm_set1_epi8(static_cast<char>(real)), lanes);
  const __m128i high = _mm_and_si128(_mm_shuffle_epi8(load_half(planes), from), is_real);
  const __m128i low = _mm_and_si128(_mm_shuffle_epi8(load_half(planes + 32), from), is_real);
  store_half(quads, _mm_unpacklo_epi32(high, low));
  store_half(quads + 16, _mm_unpackhi_epi32(high, low));
}

/// All channels first, then all codes: a vector that is loaded right after its bytes were stored one by one waits for
/// them. A granule's place is at most its place among all channels, so whole vectors stay inside the arrays.
template <uint32_t kGranule>
void list_granules(const ListChannelsArgs& args) {
  const uint32_t granules = args.k / kGranule;
  const auto bits_of = [&args](uint32_t g) {
    if constexpr (kGranule == 32) return args.mask[g];
    return args.mask[g / 2] >> 16 * (g % 2) & 0xFFFFu;
  };
  uint32_t n = 0;
  for (uint32_t g = 0; g < granules; ++g) {
    n += (write_channels<kGranule>(bits_of(g), g * kGranule % 32, args.channels + n) + 3) / 4 * 4;
    args.ends[g] = n / kChannelQuad;
  }
  for (uint64_t t = 0; t < args.n; ++t) {
    const int8_t* const planes = args.planes + t * 2 * args.k;
    int8_t* const quads = args.quads + t * args.stride;
    uint32_t begin = 0;
    for (uint32_t g = 0; g < granules; begin = args.ends[g++] * kChannelQuad) {
      const uint32_t real = count_bits(bits_of(g));
      if constexpr (kGranule == 32) {
        write_quads32(planes + 64ull * g, args.channels + begin, real, quads + 2 * begin);
      } else {
        write_quads16(planes + 64ull * (g / 2) + 16 * (g % 2), args.channels + begin, real, quads + 2 * begin);
      }
    }
  }
}

void list(const ListChannelsArgs& args) noexcept {
  if (args.granule == 32) return list_granules<32>(args);
  list_granules<16>(args);
}

}  // namespace

void fill_channels(KernelTable& table) noexcept {
  table.channels = {score, top_channels<Path>, channels_from<Path>, keep_channels<Path>, unite, list};
}

}  // namespace lutra::kernels::avx2
