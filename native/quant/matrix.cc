#include "quant/matrix.h"

#include <algorithm>

namespace lutra::quant {

namespace {

// Tokens of a tile: their quantised activations (2k bytes each) stay in the second-level cache while panels stream
// past.
constexpr uint32_t kTokenTile = 128;
// Weights of a chunk: small against a step, large against the cost of taking one.
constexpr uint64_t kChunkBytes = 96 * 1024;
// Floats of a ResultTile, on the stack of whichever thread makes it.
constexpr uint32_t kTileFloats = 8192;

// Panels per chunk of a plain product: whole cache lines of output (2 panels = 16 floats), at least four chunks a
// thread.
uint32_t panels_per_chunk(const Matrix& matrix, uint32_t n_tiles, int n_threads) {
  const uint64_t by_bytes = std::max<uint64_t>(1, kChunkBytes / matrix.panel_bytes);
  const uint64_t wanted_chunks = std::max<uint64_t>(1, static_cast<uint64_t>(n_threads) * 4 / n_tiles);
  const uint64_t by_balance = std::max<uint64_t>(1, matrix.n_panels() / wanted_chunks);
  const uint64_t panels = std::min(by_bytes, by_balance);
  const uint64_t together = matrix.tiled ? kGroupPanels : 2;
  return static_cast<uint32_t>((panels + together - 1) / together * together);
}

struct Plan {
  uint32_t first_chunk;
  uint32_t panels_per_chunk;
  uint32_t n_panel_chunks;
};

// Where a kernel's outputs go: row r of its first panel and token t of its tokens to values[t · stride + r].
struct Outputs {
  float* values;
  uint64_t stride;
};

// The tokens [begin, begin + n) of `x`, and who asks.
struct Tokens {
  const Activations& x;
  uint32_t begin, n;
  int member;
};

// Tiles from panel `begin` on, `rows` rows, against tables.
void look_up(const kernels::KernelTable& kernels, const Tokens& tokens, const Matrix& matrix, uint32_t begin,
             uint32_t rows, Outputs out) {
  const Activations::Tables tables = tokens.x.tables(matrix.table_sets(), tokens.begin);
  const kernels::PlaneActivations planes = tokens.x.planes(tokens.begin);
  const bool exact = tables.kind == kernels::LutTables::kExact;
  kernels.lut.matmul[static_cast<size_t>(tables.kind)][static_cast<uint32_t>(matrix.type)]({
      .tiles = matrix.panels + matrix.panel_offset(begin),
      .tile_bytes = matrix.group_bytes,
      .rows = rows,
      .k = matrix.k,
      .n = tokens.n,
      .entries = tables.entries,
      .d = exact ? planes.d : tables.d,
      .biases = tables.biases,
      .s = planes.s,
      .s16 = planes.s16,
      .out = out.values,
      .out_stride = out.stride,
  });
}

void multiply_panels(const kernels::KernelTable& kernels, const Tokens& tokens, const Matrix& matrix, uint32_t begin,
                     uint32_t rows, Outputs out) {
  const kernels::MatmulFn matmul =
      matrix.low == nullptr ? kernels.matmul[static_cast<uint32_t>(matrix.type)] : kernels.matmul_split;
  matmul({
      .panels = matrix.panels + matrix.panel_offset(begin),
      .panel_bytes = matrix.panel_bytes,
      .low_panels = matrix.low_panel(begin),
      .low_panel_bytes = matrix.low_panel_bytes,
      .rows = rows,
      .k = matrix.k,
      .panel_begin = 0,
      .panel_end = (rows + kernels::kPanelRows - 1) / kernels::kPanelRows,
      .n = tokens.n,
      .activations = tokens.x.planes(tokens.begin),
      .x = tokens.x.floats(tokens.begin),
      .out = out.values,
      .out_stride = out.stride,
  });
}

// Many tokens against tiles: each tile becomes panels again, in the member's own room.
void multiply_tiles_as_panels(const kernels::KernelTable& kernels, const Tokens& tokens, const Matrix& matrix,
                              uint32_t begin, uint32_t rows, Outputs out) {
  uint8_t* const room = tokens.x.panel_room(tokens.member);
  Matrix panels = matrix;
  panels.panels = room;
  panels.group_bytes = kGroupPanels * matrix.panel_bytes;
  for (uint32_t row = 0; row < rows; row += kGroupRows) {
    const uint32_t n_rows = std::min(kGroupRows, rows - row);
    const uint32_t n_panels = (n_rows + kernels::kPanelRows - 1) / kernels::kPanelRows;
    const uint8_t* tile = matrix.panels + matrix.panel_offset(begin + row / kernels::kPanelRows);
    unpack_lut_panels(matrix.type, tile, 0, n_panels, matrix.k, room);
    multiply_panels(kernels, tokens, panels, 0, n_rows, {out.values + row, out.stride});
  }
}

// Panels [begin, end) against tokens; of tiles, `begin` starts a group.
void run_kernel(const kernels::KernelTable& kernels, const Tokens& tokens, const Matrix& matrix, uint32_t begin,
                uint32_t end, Outputs out) {
  const uint32_t row_begin = begin * kernels::kPanelRows;
  const uint32_t rows = std::min(matrix.rows, end * kernels::kPanelRows) - row_begin;
  const auto run = !matrix.tiled ? multiply_panels : tokens.x.has_tables() ? look_up : multiply_tiles_as_panels;
  run(kernels, tokens, matrix, begin, rows, out);
  if (matrix.bias == nullptr) return;
  for (uint32_t i = 0; i < tokens.n; ++i) {
    for (uint32_t r = 0; r < rows; ++r) out.values[i * out.stride + r] += matrix.bias[row_begin + r];
  }
}

}  // namespace

void multiply(base::ThreadTeam& team, const kernels::KernelTable& kernels, Activations& x,
              std::span<const Product> products) {
  constexpr size_t kMaxProducts = 4;
  Plan plans[kMaxProducts];
  const uint32_t n_tiles = (x.n() + kTokenTile - 1) / kTokenTile;
  uint32_t n_chunks = 0;
  kernels::LutSets sets = 0;
  for (const Product& product : products) sets |= product.weights->table_sets();
  for (size_t i = 0; i < products.size() && i < kMaxProducts; ++i) {
    const Matrix& matrix = *products[i].weights;
    if (!matrix.takes_floats()) x.quantize_all(team, kernels, sets);
    const uint32_t panels = panels_per_chunk(matrix, n_tiles, team.size());
    plans[i] = {n_chunks, panels, (matrix.n_panels() + panels - 1) / panels};
    n_chunks += plans[i].n_panel_chunks * n_tiles;
  }
  team.parallel_for(n_chunks, [&](uint32_t chunk, int member) {
    size_t i = products.size() - 1;
    while (chunk < plans[i].first_chunk) --i;
    const Product& product = products[i];
    const Plan& plan = plans[i];
    const uint32_t local = chunk - plan.first_chunk;
    const uint32_t t = local / plan.n_panel_chunks * kTokenTile;
    const uint32_t begin = local % plan.n_panel_chunks * plan.panels_per_chunk;
    const uint32_t end = std::min(product.weights->n_panels(), begin + plan.panels_per_chunk);
    run_kernel(kernels, {x, t, std::min(x.n() - t, kTokenTile), member}, *product.weights, begin, end,
               {product.out + t * product.out_stride + begin * kernels::kPanelRows, product.out_stride});
  });
}

void multiply_tiles(base::ThreadTeam& team, const kernels::KernelTable& kernels, Activations& x, const Matrix& first,
                    const Matrix* second, FinishTile finish, void* context) {
  const auto sets = static_cast<kernels::LutSets>(first.table_sets() | (second != nullptr ? second->table_sets() : 0));
  if (!first.takes_floats() || (second != nullptr && !second->takes_floats())) x.quantize_all(team, kernels, sets);
  const uint32_t n_matrices = second == nullptr ? 1 : 2;
  const uint32_t tile_tokens = std::min(x.n(), kTokenTile);
  const uint32_t n_tiles = (x.n() + kTokenTile - 1) / kTokenTile;
  const uint64_t by_bytes = kChunkBytes / first.group_bytes;
  const uint64_t by_balance =
      static_cast<uint64_t>(first.n_groups()) * n_tiles / (static_cast<uint64_t>(team.size()) * 4);
  const uint64_t by_tile = kTileFloats / (tile_tokens * n_matrices * kGroupRows);
  const auto groups = static_cast<uint32_t>(std::max<uint64_t>(1, std::min({by_bytes, by_balance, by_tile})));
  const uint32_t n_group_chunks = (first.n_groups() + groups - 1) / groups;
  team.parallel_for(n_group_chunks * n_tiles, [&](uint32_t chunk, int member) {
    alignas(64) float values[kTileFloats];
    const uint32_t t = chunk / n_group_chunks * kTokenTile;
    const uint32_t n = std::min(x.n() - t, kTokenTile);
    const uint32_t group_begin = chunk % n_group_chunks * groups;
    const uint32_t group_end = std::min(first.n_groups(), group_begin + groups);
    const uint32_t row_begin = group_begin * kGroupRows;
    const uint32_t n_rows = std::min(first.rows, group_end * kGroupRows) - row_begin;
    float* const second_values = second == nullptr ? nullptr : values + static_cast<size_t>(n) * n_rows;
    for (uint32_t group = group_begin; group < group_end; ++group) {
      const uint32_t begin = group * kGroupPanels;
      const uint32_t end = std::min(first.n_panels(), begin + kGroupPanels);
      const uint32_t row = group * kGroupRows - row_begin;
      const Tokens tokens = {x, t, n, member};
      run_kernel(kernels, tokens, first, begin, end, {values + row, n_rows});
      if (second != nullptr) run_kernel(kernels, tokens, *second, begin, end, {second_values + row, n_rows});
    }
    finish(context, {row_begin, n_rows, t, n, values, second_values});
  });
}

}  // namespace lutra::quant
