#include "quant/column_product.h"

#include <algorithm>

namespace lutra::quant {

namespace {

using kernels::kStripRows;

constexpr uint32_t kMaxProducts = 4;
// Chunks a thread should find at least: more would cut runs shorter, which costs more than a thread that is held up.
constexpr uint32_t kChunksPerThread = 1;

// A matrix's groups, each cut into `parts` pieces of whole strips.
struct Cut {
  uint32_t parts, n_chunks;

  Cut(const ColumnMatrix& columns, int n_threads) {
    const uint32_t wanted = static_cast<uint32_t>(n_threads) * kChunksPerThread, groups = columns.n_groups();
    parts = std::clamp((wanted + groups - 1) / groups, 1u, columns.group_strips);
    n_chunks = parts * groups;
  }
};

// Strips [begin, end) of group g.
struct Piece {
  uint32_t group, begin, end, row, n_rows;

  Piece(const ColumnMatrix& columns, const Cut& cut, uint32_t chunk)
      : group(chunk / cut.parts),
        begin(chunk % cut.parts * columns.strips_of(group) / cut.parts),
        end((chunk % cut.parts + 1) * columns.strips_of(group) / cut.parts),
        row((group * columns.group_strips + begin) * kStripRows),
        n_rows(std::min(columns.rows - std::min(row, columns.rows), (end - begin) * kStripRows)) {}
};

void run(const kernels::KernelTable& kernels, const ChannelList& channels, const kernels::ChannelQuads& quads,
         const Matrix& matrix, const Piece& piece, float* out, uint64_t stride) {
  const ColumnMatrix& columns = matrix.columns;
  const kernels::PlaneActivations planes = channels.x().planes(0);
  const uint32_t n = channels.x().n();
  kernels.columns[static_cast<uint32_t>(columns.type)]({
      .group = columns.groups + columns.group_offset(piece.group),
      .strips = columns.strips_of(piece.group),
      .strip_begin = piece.begin,
      .strip_end = piece.end,
      .rows = piece.n_rows,
      .k = columns.k,
      .n = n,
      .channels = quads,
      .sums = channels.sums(),
      .d = planes.d,
      .s = planes.s,
      .s16 = planes.s16,
      .out = out,
      .out_stride = stride,
  });
  if (matrix.bias == nullptr) return;
  for (uint32_t t = 0; t < n; ++t) {
    for (uint32_t r = 0; r < piece.n_rows; ++r) out[t * stride + r] += matrix.bias[piece.row + r];
  }
}

}  // namespace

void multiply_column_tiles(base::ThreadTeam& team, const kernels::KernelTable& kernels, ChannelList& channels,
                           const Matrix& first, const Matrix* second, FinishTile finish, void* context) {
  const uint32_t n = channels.x().n();
  const Cut cut(first.columns, team.size());
  const kernels::ChannelQuads first_quads = channels.quads(first.type);
  const kernels::ChannelQuads second_quads = second == nullptr ? first_quads : channels.quads(second->type);
  team.parallel_for(cut.n_chunks, [&](uint32_t chunk, int) {
    alignas(64) float values[2 * kernels::kColumnTokens * kernels::kMaxGroupStrips * kStripRows];
    const Piece piece(first.columns, cut, chunk);
    if (piece.begin == piece.end) return;
    float* const second_values = second == nullptr ? nullptr : values + static_cast<size_t>(n) * piece.n_rows;
    run(kernels, channels, first_quads, first, piece, values, piece.n_rows);
    if (second != nullptr) run(kernels, channels, second_quads, *second, piece, second_values, piece.n_rows);
    finish(context, {piece.row, piece.n_rows, 0, n, values, second_values});
  });
}

void multiply_columns(base::ThreadTeam& team, const kernels::KernelTable& kernels, ChannelList& channels,
                      std::span<const Product> products) {
  kernels::ChannelQuads quads[kMaxProducts];
  uint32_t ends[kMaxProducts], n_chunks = 0;
  for (size_t i = 0; i < products.size() && i < kMaxProducts; ++i) {
    quads[i] = channels.quads(products[i].weights->type);
    ends[i] = n_chunks += Cut(products[i].weights->columns, team.size()).n_chunks;
  }
  team.parallel_for(n_chunks, [&](uint32_t chunk, int) {
    const size_t i = static_cast<size_t>(std::upper_bound(ends, ends + products.size(), chunk) - ends);
    const Product& product = products[i];
    const ColumnMatrix& columns = product.weights->columns;
    const Piece piece(columns, Cut(columns, team.size()), chunk - (i == 0 ? 0 : ends[i - 1]));
    if (piece.begin == piece.end) return;
    run(kernels, channels, quads[i], *product.weights, piece, product.out + piece.row, product.out_stride);
  });
}

}  // namespace lutra::quant
