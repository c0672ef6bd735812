// Exact attention: every visible key is scored. Query heads that share a K/V head, and neighbouring rows of a sequence,
// are scored together, so K and V are read once for all of them.
#include <algorithm>
#include <cmath>

#include "attention/attention.h"

namespace lutra::attention {

namespace {

using kernels::kPagePositions;
using kernels::kTilePages;
using kernels::kTilePositions;
using kernels::kTileQueries;

constexpr uint32_t kRowsPerBlock = 16;
// Query heads a K/V head, at most (checked when the model is read).
constexpr uint32_t kMaxGroup = 64;

// Rows of one span that are scored together against one K/V head.
struct Block {
  const RowSpan* span;
  uint32_t row_begin;
  uint32_t row_end;
  uint32_t first;  ///< first position any of its rows sees
  uint32_t last;   ///< one past the last position any of its rows sees
};

uint32_t first_visible(const AttentionInput& input, uint32_t row) {
  const auto position = static_cast<uint32_t>(input.positions[row]);
  return input.window == 0 || position < input.window ? 0 : position - input.window + 1;
}

Block make_block(const AttentionInput& input, const RowSpan& span, uint32_t row_begin) {
  const uint32_t row_end = std::min(span.row_end, row_begin + kRowsPerBlock);
  return {&span, row_begin, row_end, first_visible(input, row_begin),
          static_cast<uint32_t>(input.positions[row_end - 1]) + 1};
}

class ExactAttention {
 public:
  ExactAttention(base::ThreadTeam& team, const kernels::KernelTable& kernels, cache::KvCache& cache,
                 const AttentionInput& input, float* scratch)
      : team_(team),
        kernels_(kernels),
        cache_(cache),
        input_(input),
        scratch_(scratch),
        head_dim_(cache.shape().head_dim),
        group_(input.n_heads / cache.shape().n_kv_heads) {}

  void run();

 private:
  // Where the partial result of (row, head, tile) goes: [max, sum, acc...].
  float* partial(uint32_t row, uint32_t head, uint32_t tile) const {
    return scratch_ + ((static_cast<uint64_t>(row) * input_.n_heads + head) * n_tiles_ + tile) * (head_dim_ + 2);
  }
  float* out(uint32_t row, uint32_t head) const {
    return input_.out + (static_cast<uint64_t>(row) * input_.n_heads + head) * head_dim_;
  }

  // Calls visit(row, head, max, sum, acc) for every query of the block against one tile.
  template <typename Visit>
  void score_tile(const Block& block, uint32_t kv_head, uint32_t tile, Visit visit) const;
  void run_by_rows(std::span<const Block> blocks);
  void run_by_tiles(std::span<const Block> blocks);
  void merge_tiles(const Block& block, uint32_t row, uint32_t head) const;
  void normalize(uint32_t row, uint32_t head, float sum) const;

  base::ThreadTeam& team_;
  const kernels::KernelTable& kernels_;
  cache::KvCache& cache_;
  const AttentionInput& input_;
  float* scratch_;
  uint32_t head_dim_;
  uint32_t group_;
  uint32_t n_tiles_ = 0;
};

template <typename Visit>
void ExactAttention::score_tile(const Block& block, uint32_t kv_head, uint32_t tile, Visit visit) const {
  const uint32_t tile_begin = tile * kTilePositions;
  const uint8_t* k_pages[kTilePages];
  const uint8_t* v_pages[kTilePages];
  for (uint32_t i = 0; i < kTilePages; ++i) {
    const uint32_t page_begin = tile_begin + i * kPagePositions;
    const bool seen = page_begin < block.last && page_begin + kPagePositions > block.first;
    const uint32_t page = seen ? static_cast<uint32_t>(block.span->page_table[page_begin / kPagePositions]) : 0;
    k_pages[i] = seen ? cache_.keys(input_.layer, page, kv_head) : nullptr;
    v_pages[i] = seen ? cache_.values(input_.layer, page, kv_head) : nullptr;
  }
  const float* queries[kTileQueries];
  uint32_t first[kTileQueries];
  uint32_t last[kTileQueries];
  float max[kTileQueries];
  float sum[kTileQueries];
  alignas(64) float acc[kTileQueries * kMaxHeadDim];
  const uint32_t total = (block.row_end - block.row_begin) * group_;
  for (uint32_t begin = 0; begin < total; begin += kTileQueries) {
    const uint32_t n = std::min(kTileQueries, total - begin);
    for (uint32_t i = 0; i < n; ++i) {
      const uint32_t row = block.row_begin + (begin + i) / group_;
      const uint32_t head = kv_head * group_ + (begin + i) % group_;
      queries[i] = input_.queries + (static_cast<uint64_t>(row) * input_.n_heads + head) * head_dim_;
      first[i] = first_visible(input_, row);
      last[i] = static_cast<uint32_t>(input_.positions[row]) + 1;
    }
    kernels_.attention_tile[cache_.type_index()]({.head_dim = head_dim_,
                                                  .n_queries = n,
                                                  .queries = queries,
                                                  .first = first,
                                                  .last = last,
                                                  .tile_begin = tile_begin,
                                                  .k_pages = k_pages,
                                                  .v_pages = v_pages,
                                                  .max_out = max,
                                                  .sum_out = sum,
                                                  .acc_out = acc});
    for (uint32_t i = 0; i < n; ++i) {
      visit(block.row_begin + (begin + i) / group_, kv_head * group_ + (begin + i) % group_, max[i], sum[i],
            acc + static_cast<uint64_t>(i) * head_dim_);
    }
  }
}

void ExactAttention::normalize(uint32_t row, uint32_t head, float sum) const {
  kernels_.scale(out(row, head), 1.0f / sum, head_dim_);
}

// Many rows: a thread takes a block of rows with one K/V head through all tiles.
void ExactAttention::run_by_rows(std::span<const Block> blocks) {
  const uint32_t n_kv_heads = cache_.shape().n_kv_heads;
  team_.parallel_for(static_cast<uint32_t>(blocks.size()) * n_kv_heads, [&](uint32_t chunk, int) {
    // Later blocks see more keys: the longest ones go first, so that no thread ends on a long one alone.
    const Block& block = blocks[blocks.size() - 1 - chunk / n_kv_heads];
    const uint32_t kv_head = chunk % n_kv_heads;
    float max[kRowsPerBlock * kMaxGroup];
    float sum[kRowsPerBlock * kMaxGroup];
    auto slot = [&](uint32_t row, uint32_t head) { return (row - block.row_begin) * group_ + head % group_; };
    for (uint32_t row = block.row_begin; row < block.row_end; ++row) {
      for (uint32_t h = 0; h < group_; ++h) {
        max[slot(row, h)] = -INFINITY;
        sum[slot(row, h)] = 0;
        std::fill_n(out(row, kv_head * group_ + h), head_dim_, 0.0f);
      }
    }
    for (uint32_t tile = block.first / kTilePositions; tile * kTilePositions < block.last; ++tile) {
      score_tile(block, kv_head, tile, [&](uint32_t row, uint32_t head, float m, float s, const float* acc) {
        const uint32_t i = slot(row, head);
        kernels_.attention_merge(&max[i], &sum[i], out(row, head), m, s, acc, head_dim_);
      });
    }
    for (uint32_t row = block.row_begin; row < block.row_end; ++row) {
      for (uint32_t h = 0; h < group_; ++h) normalize(row, kv_head * group_ + h, sum[slot(row, h)]);
    }
  });
}

// Few rows: tiles are spread over threads, then merged in ascending order.
void ExactAttention::run_by_tiles(std::span<const Block> blocks) {
  const uint32_t n_kv_heads = cache_.shape().n_kv_heads;
  const uint32_t per_block = n_kv_heads * n_tiles_;
  team_.parallel_for(static_cast<uint32_t>(blocks.size()) * per_block, [&](uint32_t chunk, int) {
    const Block& block = blocks[chunk / per_block];
    const uint32_t tile = chunk % per_block / n_kv_heads;
    if ((tile + 1) * kTilePositions <= block.first || tile * kTilePositions >= block.last) return;
    score_tile(block, chunk % n_kv_heads, tile, [&](uint32_t row, uint32_t head, float m, float s, const float* acc) {
      float* place = partial(row, head, tile);
      place[0] = m;
      place[1] = s;
      std::copy_n(acc, head_dim_, place + 2);
    });
  });
  for (const Block& block : blocks) {
    for (uint32_t row = block.row_begin; row < block.row_end; ++row) {
      for (uint32_t head = 0; head < input_.n_heads; ++head) merge_tiles(block, row, head);
    }
  }
}

void ExactAttention::merge_tiles(const Block& block, uint32_t row, uint32_t head) const {
  float max = -INFINITY;
  float sum = 0;
  std::fill_n(out(row, head), head_dim_, 0.0f);
  for (uint32_t tile = block.first / kTilePositions; tile * kTilePositions < block.last; ++tile) {
    const float* place = partial(row, head, tile);
    kernels_.attention_merge(&max, &sum, out(row, head), place[0], place[1], place + 2, head_dim_);
  }
  normalize(row, head, sum);
}

void ExactAttention::run() {
  constexpr uint32_t kMaxBlocks = 64;
  Block blocks[kMaxBlocks];
  uint32_t n_blocks = 0;
  const uint32_t n_rows = input_.spans.back().row_end;
  const bool by_tiles = n_rows <= kMaxTiledRows;
  auto flush = [&] {
    if (n_blocks == 0) return;
    const std::span<const Block> ready(blocks, n_blocks);
    by_tiles ? run_by_tiles(ready) : run_by_rows(ready);
    n_blocks = 0;
  };
  for (uint32_t row = 0; by_tiles && row < n_rows; ++row) {
    n_tiles_ = std::max(n_tiles_, static_cast<uint32_t>(input_.positions[row]) / kTilePositions + 1);
  }
  for (const RowSpan& span : input_.spans) {
    for (uint32_t row = span.row_begin; row < span.row_end; row += kRowsPerBlock) {
      blocks[n_blocks++] = make_block(input_, span, row);
      if (n_blocks == kMaxBlocks) flush();
    }
  }
  flush();
}

}  // namespace

uint64_t scratch_floats(uint32_t n_heads, uint32_t head_dim, uint32_t max_positions) {
  const uint64_t n_tiles = (static_cast<uint64_t>(max_positions) + kTilePositions - 1) / kTilePositions;
  return uint64_t{kMaxTiledRows} * n_heads * n_tiles * (head_dim + 2);
}

void attend_exact(base::ThreadTeam& team, const kernels::KernelTable& kernels, cache::KvCache& cache,
                  const AttentionInput& input, float* scratch) {
  ExactAttention(team, kernels, cache, input, scratch).run();
}

}  // namespace lutra::attention
