#include "ffn/scores.h"

namespace lutra::ffn {

namespace {

constexpr uint32_t kMagnitude = 0x7FFFFFFFu;

// SplitMix64 (Steele et al. 2014).
uint64_t mixed(uint64_t value) {
  value += 0x9E3779B97F4A7C15ull;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ull;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBull;
  return value ^ (value >> 31);
}

}  // namespace

void score_random(uint64_t seed, uint32_t n, uint32_t* scores) {
  const uint64_t start = mixed(seed);
  for (uint32_t i = 0; i < n; ++i) scores[i] = static_cast<uint32_t>(mixed(start + i)) & kMagnitude;
}

}  // namespace lutra::ffn
