#include "quant/activations.h"

#include <algorithm>

namespace lutra::quant {

namespace {

constexpr uint64_t kAlignment = 64;

uint64_t align(uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

uint64_t Activations::bytes_needed(uint64_t max_rows, uint64_t max_k) {
  const uint64_t k = (max_k + 31) / 32 * 32;
  return align(max_rows * k * sizeof(float)) + align(max_rows * 2 * k) +
         2 * align(max_rows * (k / 32) * sizeof(float)) + align(max_rows * (k / 16) * sizeof(float));
}

Activations::Activations(uint8_t* arena, uint32_t max_rows, uint32_t max_k) {
  const uint64_t rows = max_rows;
  const uint64_t k = (max_k + 31ull) / 32 * 32;
  auto take = [&arena](uint64_t bytes) {
    uint8_t* start = arena;
    arena += align(bytes);
    return start;
  };
  floats_ = reinterpret_cast<float*>(take(rows * k * sizeof(float)));
  planes_ = reinterpret_cast<int8_t*>(take(rows * 2 * k));
  d_ = reinterpret_cast<float*>(take(rows * (k / 32) * sizeof(float)));
  s_ = reinterpret_cast<float*>(take(rows * (k / 32) * sizeof(float)));
  s16_ = reinterpret_cast<float*>(take(rows * (k / 16) * sizeof(float)));
}

void Activations::begin(uint32_t n, uint32_t k) {
  n_ = n;
  k_ = k;
  quantized_ = false;
}

kernels::PlaneActivations Activations::planes(uint32_t first_row) const {
  const uint64_t t = first_row;
  return {planes_ + t * 2 * k_, d_ + t * (k_ / 32), s_ + t * (k_ / 32), s16_ + t * (k_ / 16)};
}

void Activations::quantize(const kernels::KernelTable& kernels, uint32_t t, uint32_t begin, uint32_t end,
                           const float* values) {
  const uint64_t row = t;
  const uint64_t block = begin / kernels::kBlock;
  kernels.quantize_planes(values, end - begin, planes_ + row * 2 * k_ + 2 * begin,
                          d_ + row * (k_ / 32) + block, s_ + row * (k_ / 32) + block,
                          s16_ + row * (k_ / 16) + 2 * block);
}

void Activations::quantize_all(base::ThreadTeam& team, const kernels::KernelTable& kernels) {
  if (quantized_) return;
  quantized_ = true;
  if (n_ == 1) return quantize(kernels, 0, 0, k_, floats(0));
  constexpr uint32_t kRows = 8;
  team.parallel_for((n_ + kRows - 1) / kRows, [&](uint32_t chunk, int) {
    for (uint32_t t = chunk * kRows; t < std::min(n_, (chunk + 1) * kRows); ++t) quantize(kernels, t, 0, k_, floats(t));
  });
}

}  // namespace lutra::quant
