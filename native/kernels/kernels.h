// The table of pure functions of an instruction-set path: `scalar/` is the reference twin, `avx2/` and `neon/`
// the fast ones, `avx512/` replaces AVX2's matmul of quantised types, its quantising and its attention tiles.
//
// Contract for all of them: raw pointers, no heap, no threads, no throw, no global state. Reads and writes stay inside
// the arrays named (tails are masked or scalar, never over-read). Each output element is computed in one fixed order
// that depends on its own row only: never on the number of columns, the tile it was computed in, or the thread.
// No fast-math, no contraction: fused multiply-adds are written out (`std::fma` in scalar), so that scalar and SIMD
// give the same integer sums bit for bit, and the same floats up to the reductions noted below.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "base/tensor_type.h"
#include "kernels/channel_kernels.h"
#include "kernels/column_kernels.h"
#include "kernels/lookup_kernels.h"
#include "kernels/lut_kernels.h"

namespace lutra::kernels {

/// Rows of a packed weight panel. See panel_layout.h for the bytes.
constexpr uint32_t kPanelRows = 8;
/// Elements of an activation block.
constexpr uint32_t kBlock = 32;
/// Positions of a K/V page.
constexpr uint32_t kPagePositions = 32;
/// Positions of an attention tile: partial results are formed per tile of logical positions and merged in ascending
/// order, so the sum's order depends on positions alone.
constexpr uint32_t kTilePositions = 256;
constexpr uint32_t kTilePages = kTilePositions / kPagePositions;
/// Queries of one attention call, at most.
constexpr uint32_t kTileQueries = 64;

/// How a page of keys or values stores its numbers.
/// kF16: keys [head_dim][32], values [32][head_dim], f16.
/// kQ8_0: int8 codes in the same two orders, then f16 scales [head_dim/32, rounded up][32]: one for each 32 dimensions
/// of a position. x ≈ scale · code: scale = f16(max|x| / 127), code = round-half-even(x · (1 / scale)) kept in ±127. A
/// block whose scale rounds to 0 gives zeros; one with an infinity or a NaN, or a scale past f16, a NaN scale and
/// zeros.
enum class KvType : uint8_t { kF16, kQ8_0 };
constexpr uint64_t kKvTypes = 2;

/// Bytes of one page of keys, or of values, of one head.
constexpr uint64_t kv_page_bytes(KvType type, uint64_t head_dim) {
  const uint64_t halves = type == KvType::kF16 ? head_dim : (head_dim + kBlock - 1) / kBlock;
  return kPagePositions * (2 * halves + (type == KvType::kF16 ? 0 : head_dim));
}

/// `n` rows of activations, quantised per token and per block of 32 to about 16 bits, held as two int8 planes:
/// x ≈ d · c, c = 256 · high + low. A block is 32 bytes of high, then its 32 bytes of low, so that one cache line is
/// one block. Row strides are 2k, k/32, k/32, k/16. The sums are those of the stored planes: float(Σc) is exact
/// (|Σc| ≤ 32 · 32639 < 2^24), times d is one rounding.
struct PlaneActivations {
  const int8_t* planes;  ///< [n][k/32][high 32, low 32]  both in [-127, 127]
  const float* d;        ///< [n][k/32]  scale of a block: max|x| / 32512
  const float* s;        ///< [n][k/32]  d · Σc of a block
  const float* s16;      ///< [n][k/16]  d · Σc of each half block
};

/// out[column * out_stride + row] = Σ_k w[row][k] · x[column][k] for the rows of panels [panel_begin, panel_end).
struct MatmulArgs {
  const uint8_t* panels;                ///< packed weights, panel p at panels + p · panel_bytes, 64-byte aligned start
  uint64_t panel_bytes;                 ///< bytes from one panel to the next
  const uint8_t* low_panels = nullptr;  ///< of split panels (panel_layout.h): their low parts, as `panels`
  uint64_t low_panel_bytes = 0;
  uint32_t rows;  ///< rows of the matrix; the last panel may be ragged: nothing is written at or past `rows`
  uint32_t k;     ///< columns of the matrix; a multiple of the type's block
  uint32_t panel_begin;
  uint32_t panel_end;
  uint32_t n;                    ///< activation rows (tokens), ≥ 1
  PlaneActivations activations;  ///< used by quantised types
  const float* x;                ///< [n][k] used by F32, F16, BF16
  float* out;
  uint64_t out_stride;  ///< floats from one token's outputs to the next's, ≥ rows
};
using MatmulFn = void (*)(const MatmulArgs&) noexcept;

/// A group of query vectors that share one K/V head, against one tile of logical positions.
/// Scores use q as given (already scaled by the caller). A query sees positions [first, last) clipped to the tile.
struct AttentionTileArgs {
  uint32_t head_dim;              ///< multiple of 8, ≤ 512
  uint32_t n_queries;             ///< 1..kTileQueries
  const float* const* queries;    ///< [n_queries] → [head_dim]
  const uint32_t* first;          ///< [n_queries] first visible position (absolute, inclusive)
  const uint32_t* last;           ///< [n_queries] one past the last visible position (absolute)
  uint32_t tile_begin;            ///< absolute position of the tile's start, a multiple of kTilePositions
  const uint8_t* const* k_pages;  ///< [kTilePositions/32] → page of keys, dimension-major; entries of pages no query
                                  ///< sees may be null
  const uint8_t* const* v_pages;  ///< [kTilePositions/32] → page of values, position-major
  float* max_out;                 ///< [n_queries] largest visible score, -inf when nothing is visible
  float* sum_out;                 ///< [n_queries] Σ exp(score - max)
  float* acc_out;  ///< [n_queries][head_dim] Σ exp(score - max) · v, unnormalised; zeros when nothing is visible
};

struct ScreenArgs;

struct KernelTable {
  base::Isa isa;

  /// Indexed by TensorType id; null for types the engine does not support.
  MatmulFn matmul[base::kTensorTypeLimit];
  /// The product with split Q8_0 panels: the bits that their whole panels give.
  MatmulFn matmul_split;
  /// Products with column strips, indexed by TensorType id; null for types that have no strips.
  ColumnsFn columns[base::kTensorTypeLimit];

  /// Quantises one row of k floats (k % 32 == 0) to the row layout of PlaneActivations:
  /// d = max|x| / 32512, c = round-half-to-even(x · (32512 / max|x|)), high = (c + 128) >> 8,
  /// low = max(c − 256·high, −127).
  /// Keeping low off −128 lets kernels negate it in a byte; it moves 1 code in 256 by one step, 1/32512 of max|x|.
  /// A block whose max|x| is below 1e-34 gives zeros; one with an infinity or a NaN gives d, s, s16 = NaN and planes 0.
  void (*quantize_planes)(const float* x, uint32_t k, int8_t* planes, float* d, float* s, float* s16) noexcept;

  /// out[i] = x[i] / sqrt(mean(x²) + eps) · weight[i]; `weight` may be null (all ones). out may alias x.
  void (*rms_norm)(const float* x, const float* weight, uint32_t n, float eps, float* out) noexcept;
  /// x[i] += y[i]
  void (*add)(float* x, const float* y, uint32_t n) noexcept;
  /// x[i] *= factor
  void (*scale)(float* x, float factor, uint32_t n) noexcept;
  /// out[i] = gate / (1 + exp(-gate)) · up   (SwiGLU). out may alias either.
  void (*silu_mul)(const float* gate, const float* up, uint32_t n, float* out) noexcept;
  /// out[i] = gelu_tanh(gate) · up           (GeGLU, tanh form). out may alias either.
  void (*gelu_mul)(const float* gate, const float* up, uint32_t n, float* out) noexcept;
  /// Rotates the first 2·n_pairs elements of one head. cos/sin: [n_pairs]. Interleaved: pairs (2i, 2i+1).
  void (*rope_interleaved)(float* head, const float* cos, const float* sin, uint32_t n_pairs) noexcept;
  /// Half-split (NEOX): pairs (i, i + n_pairs).
  void (*rope_halves)(float* head, const float* cos, const float* sin, uint32_t n_pairs) noexcept;

  /// Indexed by KvType, as are the next two. Writes one position's key into its slot of a page.
  void (*store_key[kKvTypes])(const float* key, uint32_t head_dim, uint8_t* page, uint32_t slot) noexcept;
  /// Writes one position's value into its slot of a page.
  void (*store_value[kKvTypes])(const float* value, uint32_t head_dim, uint8_t* page, uint32_t slot) noexcept;
  void (*attention_tile[kKvTypes])(const AttentionTileArgs& args) noexcept;
  /// Merges a tile's (max, sum, acc) into a running one, in the order called:
  /// both are rescaled to the larger max. A tile with max = -inf changes nothing.
  void (*attention_merge)(float* max, float* sum, float* acc, float tile_max, float tile_sum, const float* tile_acc,
                          uint32_t head_dim) noexcept;

  /// log Σ exp(x[i]) over n ≥ 1 values; NaN when any value is NaN.
  float (*log_sum_exp)(const float* x, uint64_t n) noexcept;
  /// The k largest values, sorted descending, ties by lowest index; NaN counts as -inf. Returns min(k, n); k ≤ 256.
  uint32_t (*top_k)(const float* x, uint32_t n, uint32_t k, int32_t* ids, float* values) noexcept;

  /// See screen_args.h.
  void (*screen)(const ScreenArgs& args) noexcept;

  LookupKernels lookup;
  LutKernels lut;
  ChannelKernels channels;
};

/// The table of a path, or nullptr when this build or this CPU does not have it.
const KernelTable* kernel_table(base::Isa isa);

}  // namespace lutra::kernels
