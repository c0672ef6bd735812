#include "quant/activations.h"

#include <algorithm>
#include <bit>

namespace lutra::quant {

namespace {

using kernels::kLutSets;
using kernels::lut_entries_bytes;
using kernels::LutSet;
using kernels::LutSets;

constexpr uint64_t kAlignment = 64;

uint64_t align(uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

uint64_t rows_with_tables(uint64_t max_rows, const LutRoom& room) {
  if (room.sets == 0) return 0;
  return room.tables == kernels::LutTables::kExact ? std::min<uint64_t>(max_rows, kernels::kLutColumns) : max_rows;
}

bool contains(LutSets sets, uint64_t set) { return (sets >> set & 1) != 0; }

// Σ over the sets of a room of what one row of k elements takes.
uint64_t table_bytes(uint64_t rows, uint64_t k, const LutRoom& room) {
  uint64_t bytes = 0;
  for (uint64_t set = 0; set < kLutSets; ++set) {
    if (!contains(room.sets, set)) continue;
    bytes += align(rows * lut_entries_bytes(static_cast<LutSet>(set), room.tables, k));
    bytes += align(rows * (k / 16) * sizeof(float)) + align(rows * (k / 16) * sizeof(int32_t));
  }
  return bytes;
}

}  // namespace

uint64_t Activations::bytes_needed(uint64_t max_rows, uint64_t max_k, const LutRoom& room) {
  const uint64_t k = (max_k + 31) / 32 * 32;
  return align(max_rows * k * sizeof(float)) + align(max_rows * 2 * k) +
         2 * align(max_rows * (k / 32) * sizeof(float)) + align(max_rows * (k / 16) * sizeof(float)) +
         table_bytes(rows_with_tables(max_rows, room), k, room) +
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
  for (uint64_t set = 0; set < kLutSets; ++set) {
    if (!contains(room.sets, set)) continue;
    tables_[set].entries = take(table_rows_ * lut_entries_bytes(static_cast<LutSet>(set), room.tables, k));
    tables_[set].d = reinterpret_cast<float*>(take(table_rows_ * (k / 16) * sizeof(float)));
    tables_[set].biases = reinterpret_cast<int32_t*>(take(table_rows_ * (k / 16) * sizeof(int32_t)));
  }
  panel_room_ = take(room.tile_bytes * static_cast<uint64_t>(room.n_threads));
}

void Activations::begin(uint32_t n, uint32_t k, LutSets sets) {
  n_ = n;
  k_ = k;
  sets_ = has_tables() ? sets : 0;
  quantized_ = false;
}

kernels::PlaneActivations Activations::planes(uint32_t first_row) const {
  const uint64_t t = first_row;
  return {planes_ + t * 2 * k_, d_ + t * (k_ / 32), s_ + t * (k_ / 32), s16_ + t * (k_ / 16)};
}

Activations::Tables Activations::tables(LutSets set, uint32_t first_row) const {
  const uint64_t t = first_row;
  const auto index = static_cast<uint32_t>(std::countr_zero(set));
  const TableArrays& arrays = tables_[index];
  const uint64_t row_bytes = lut_entries_bytes(static_cast<LutSet>(index), room_.tables, k_);
  return {room_.tables, arrays.entries + t * row_bytes, arrays.d + t * (k_ / 16), arrays.biases + t * (k_ / 16)};
}

void Activations::quantize(const kernels::KernelTable& kernels, uint32_t t, uint32_t begin, uint32_t end,
                           const float* values) {
  const uint64_t row = t;
  const uint64_t block = begin / kernels::kBlock;
  kernels.quantize_planes(values, end - begin, planes_ + row * 2 * k_ + 2 * begin, d_ + row * (k_ / 32) + block,
                          s_ + row * (k_ / 32) + block, s16_ + row * (k_ / 16) + 2 * block);
  if (sets_ != 0) build_tables(kernels, sets_, t, begin, end);
}

void Activations::copy_from(const Activations& other) {
  begin(other.n_, other.k_);
  const uint64_t elements = static_cast<uint64_t>(n_) * k_;
  std::copy_n(other.floats_, elements, floats_);
  std::copy_n(other.planes_, 2 * elements, planes_);
  std::copy_n(other.d_, elements / 32, d_);
  std::copy_n(other.s_, elements / 32, s_);
  std::copy_n(other.s16_, elements / 16, s16_);
  quantized_ = other.quantized_;
}

void Activations::keep(const kernels::KernelTable& kernels, uint32_t t, const Mask& mask) {
  const uint64_t first = static_cast<uint64_t>(t) * (k_ / kernels::kBlock);
  kernels.channels.keep({
      .k = k_,
      .mask = mask.words,
      .d = d_ + first,
      .planes = planes_ + 64 * first,
      .s = s_ + first,
      .s16 = s16_ + 2 * first,
      .sums = mask.sums,
      .floats = mask.floats ? row(t) : nullptr,
  });
}

void Activations::build_tables(const kernels::KernelTable& kernels, LutSets sets, uint32_t t, uint32_t begin,
                               uint32_t end) {
  const uint64_t row = t, half_block = begin / 16;
  for (uint64_t set = 0; set < kLutSets; ++set) {
    if (!contains(sets, set)) continue;
    const Tables to = tables(static_cast<LutSets>(1u << set), t);
    kernels.lut.build[set][static_cast<size_t>(room_.tables)]({
        .k = end - begin,
        .planes = planes_ + row * 2 * k_ + 2 * begin,
        .d = d_ + row * (k_ / 32) + half_block / 2,
        .entries = to.entries + lut_entries_bytes(static_cast<LutSet>(set), room_.tables, begin),
        .table_d = to.d + half_block,
        .biases = to.biases + half_block,
    });
  }
}

template <typename F>
void Activations::for_rows(base::ThreadTeam& team, F&& body) {
  if (n_ == 1) return body(0);
  constexpr uint32_t kRows = 8;
  team.parallel_for((n_ + kRows - 1) / kRows, [&](uint32_t chunk, int) {
    for (uint32_t t = chunk * kRows; t < std::min(n_, (chunk + 1) * kRows); ++t) body(t);
  });
}

void Activations::quantize_all(base::ThreadTeam& team, const kernels::KernelTable& kernels, LutSets sets) {
  const auto missing = static_cast<LutSets>(has_tables() ? sets & ~sets_ : 0);
  sets_ |= missing;
  if (!quantized_) {
    quantized_ = true;
    for_rows(team, [&](uint32_t t) { quantize(kernels, t, 0, k_, floats(t)); });
  } else if (missing != 0) {
    for_rows(team, [&](uint32_t t) { build_tables(kernels, missing, t, 0, k_); });
  }
}

}  // namespace lutra::quant
