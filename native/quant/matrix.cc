#include "quant/matrix.h"

#include <algorithm>

namespace lutra::quant {

namespace {

constexpr uint64_t kAlignment = 64;
// A column tile's quantised activations (2k bytes a token) stay in the second-level cache while panels stream past.
constexpr uint32_t kTokenTile = 128;
// Panels of one chunk for a single token: about 64 KiB of 4-bit weights at k = 576, small against a step, large against
// the cost of taking a chunk.
constexpr uint64_t kChunkBytes = 48 * 1024;

uint64_t align(uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Panels per chunk: whole cache lines of output (2 panels = 16 floats), at least four chunks a thread.
uint32_t panels_per_chunk(const Matrix& matrix, uint32_t n_tiles, int n_threads) {
  const uint64_t by_bytes = std::max<uint64_t>(1, kChunkBytes / matrix.panel_bytes);
  const uint64_t wanted_chunks = std::max<uint64_t>(1, static_cast<uint64_t>(n_threads) * 4 / n_tiles);
  const uint64_t by_balance = std::max<uint64_t>(1, matrix.n_panels() / wanted_chunks);
  const uint64_t panels = std::min(by_bytes, by_balance);
  return static_cast<uint32_t>((panels + 1) / 2 * 2);
}

struct Plan {
  uint32_t first_chunk;
  uint32_t panels_per_chunk;
  uint32_t n_panel_chunks;
};

void add_bias(const Product& product, uint32_t row_begin, uint32_t row_end, uint32_t t_begin, uint32_t t_end) {
  for (uint32_t t = t_begin; t < t_end; ++t) {
    float* out = product.out + t * product.out_stride;
    for (uint32_t i = row_begin; i < row_end; ++i) out[i] += product.weights->bias[i];
  }
}

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

void Activations::quantize_row(const kernels::KernelTable& kernels, uint32_t t) {
  const uint64_t row = t;
  kernels.quantize_planes(floats(t), k_, planes_ + row * 2 * k_, d_ + row * (k_ / 32), s_ + row * (k_ / 32),
                          s16_ + row * (k_ / 16));
}

void Activations::quantize(base::ThreadTeam& team, const kernels::KernelTable& kernels) {
  if (quantized_) return;
  quantized_ = true;
  if (n_ == 1) return quantize_row(kernels, 0);
  constexpr uint32_t kRows = 8;
  team.parallel_for((n_ + kRows - 1) / kRows, [&](uint32_t chunk, int) {
    for (uint32_t t = chunk * kRows; t < std::min(n_, (chunk + 1) * kRows); ++t) quantize_row(kernels, t);
  });
}

void multiply(base::ThreadTeam& team, const kernels::KernelTable& kernels, Activations& x,
              std::span<const Product> products) {
  constexpr size_t kMaxProducts = 4;
  Plan plans[kMaxProducts];
  const uint32_t n_tiles = (x.n() + kTokenTile - 1) / kTokenTile;
  uint32_t n_chunks = 0;
  for (size_t i = 0; i < products.size() && i < kMaxProducts; ++i) {
    const Matrix& matrix = *products[i].weights;
    if (!matrix.takes_floats()) x.quantize(team, kernels);
    const uint32_t panels = panels_per_chunk(matrix, n_tiles, team.size());
    plans[i] = {n_chunks, panels, (matrix.n_panels() + panels - 1) / panels};
    n_chunks += plans[i].n_panel_chunks * n_tiles;
  }
  team.parallel_for(n_chunks, [&](uint32_t chunk, int) {
    size_t i = products.size() - 1;
    while (chunk < plans[i].first_chunk) --i;
    const Product& product = products[i];
    const Matrix& matrix = *product.weights;
    const uint32_t local = chunk - plans[i].first_chunk;
    const uint32_t tile = local / plans[i].n_panel_chunks;
    const uint32_t t_begin = tile * kTokenTile;
    const uint32_t t_end = std::min(x.n(), t_begin + kTokenTile);
    const uint32_t panel_begin = local % plans[i].n_panel_chunks * plans[i].panels_per_chunk;
    const uint32_t panel_end = std::min(matrix.n_panels(), panel_begin + plans[i].panels_per_chunk);
    kernels.matmul[static_cast<uint32_t>(matrix.type)]({
        .panels = matrix.panels,
        .panel_bytes = matrix.panel_bytes,
        .rows = matrix.rows,
        .k = matrix.k,
        .panel_begin = panel_begin,
        .panel_end = panel_end,
        .n = t_end - t_begin,
        .activations = x.planes(t_begin),
        .x = x.floats(t_begin),
        .out = product.out + t_begin * product.out_stride,
        .out_stride = product.out_stride,
    });
    if (matrix.bias != nullptr) {
      add_bias(product, panel_begin * kernels::kPanelRows, std::min(matrix.rows, panel_end * kernels::kPanelRows),
               t_begin, t_end);
    }
  });
}

}  // namespace lutra::quant
