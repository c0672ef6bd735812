#include "quant/activations.h"

#include <algorithm>

namespace lutra::quant {

namespace {

constexpr uint64_t kAlignment = 64;

uint64_t align(uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

uint64_t rows_with_tables(uint64_t max_rows, const LutRoom& room) {
  if (room.tile_bytes == 0) return 0;
  return room.tables == kernels::LutTables::kExact ? std::min<uint64_t>(max_rows, kernels::kLutColumns) : max_rows;
}

uint64_t entries_bytes(uint64_t k, kernels::LutTables tables) {
  return k / kernels::kLutGroup * kernels::lut_group_bytes(tables);
}

}  // namespace

uint64_t Activations::bytes_needed(uint64_t max_rows, uint64_t max_k, const LutRoom& room) {
  const uint64_t k = (max_k + 31) / 32 * 32;
  const uint64_t table_rows = rows_with_tables(max_rows, room);
  return align(max_rows * k * sizeof(float)) + align(max_rows * 2 * k) +
         2 * align(max_rows * (k / 32) * sizeof(float)) + align(max_rows * (k / 16) * sizeof(float)) +
         align(table_rows * entries_bytes(k, room.tables)) + align(table_rows * (k / 16) * sizeof(float)) +
         align(table_rows * (k / 16) * sizeof(int32_t)) +
         align(room.tile_bytes * static_cast<uint64_t>(room.n_threads));
}

Activations::Activations(uint8_t* arena, uint32_t max_rows, uint32_t max_k, const LutRoom& room)
    : room_(room), table_rows_(static_cast<uint32_t>(rows_with_tables(max_rows, room))) {
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
  entries_ = take(table_rows_ * entries_bytes(k, room.tables));
  table_d_ = reinterpret_cast<float*>(take(table_rows_ * (k / 16) * sizeof(float)));
  biases_ = reinterpret_cast<int32_t*>(take(table_rows_ * (k / 16) * sizeof(int32_t)));
  panel_room_ = take(room.tile_bytes * static_cast<uint64_t>(room.n_threads));
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

Activations::Tables Activations::tables(uint32_t first_row) const {
  const uint64_t t = first_row;
  return {room_.tables, entries_ + t * entries_bytes(k_, room_.tables), table_d_ + t * (k_ / 16),
          biases_ + t * (k_ / 16)};
}

void Activations::quantize(const kernels::KernelTable& kernels, uint32_t t, uint32_t begin, uint32_t end,
                           const float* values) {
  const uint64_t row = t;
  const uint64_t block = begin / kernels::kBlock;
  kernels.quantize_planes(values, end - begin, planes_ + row * 2 * k_ + 2 * begin, d_ + row * (k_ / 32) + block,
                          s_ + row * (k_ / 32) + block, s16_ + row * (k_ / 16) + 2 * block);
  if (!has_tables()) return;
  kernels.lut.build[static_cast<size_t>(room_.tables)]({
      .k = end - begin,
      .planes = planes_ + row * 2 * k_ + 2 * begin,
      .d = d_ + row * (k_ / 32) + block,
      .entries = entries_ + row * entries_bytes(k_, room_.tables) + entries_bytes(begin, room_.tables),
      .table_d = table_d_ + row * (k_ / 16) + 2 * block,
      .biases = biases_ + row * (k_ / 16) + 2 * block,
  });
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
