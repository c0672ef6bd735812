// A packed weight matrix, and the products of a step as parallel passes over it.
//
// Threads split panels of weight rows and tiles of tokens, never k: an output's sum has one order whatever the split.
#pragma once

#include <cstdint>
#include <span>
#include <type_traits>

#include "base/tensor_type.h"
#include "base/thread_team.h"
#include "kernels/kernels.h"
#include "quant/activations.h"
#include "quant/column_matrix.h"
#include "quant/lut_tile.h"

namespace lutra::quant {

/// Panels that stay together when two matrices share their place (see Matrix::group_bytes): 32 rows, a block.
constexpr uint32_t kGroupPanels = 4;
constexpr uint32_t kGroupRows = kGroupPanels * kernels::kPanelRows;
static_assert(kGroupRows == kernels::kLutRows);

/// rows × k weights in kernel panels. A view: the model's arena owns the bytes.
struct Matrix {
  base::TensorType type = base::TensorType::F32;
  uint32_t rows = 0;
  uint32_t k = 0;
  uint64_t panel_bytes = 0;
  /// From one group of kGroupPanels panels to the next: kGroupPanels · panel_bytes, or more where the groups of two
  /// matrices that are always read together alternate, so that a thread reads one stream (two: half the speed).
  uint64_t group_bytes = 0;
  const uint8_t* panels = nullptr;
  const float* bias = nullptr;  ///< [rows], or null
  /// Split Q8_0 (split_matrix.h): `panels` are the high parts, and these the low ones; null when panels are whole.
  const uint8_t* low = nullptr;
  uint64_t low_panel_bytes = 0;
  /// Groups are tiles (lut_tile.h), of bit planes but for codebook types, the last one whole; products are looked up.
  bool tiled = false;
  ColumnMatrix columns{};  ///< the same weights again, for products that leave channels out; or none

  uint32_t n_panels() const { return (rows + kernels::kPanelRows - 1) / kernels::kPanelRows; }
  uint32_t n_groups() const { return (n_panels() + kGroupPanels - 1) / kGroupPanels; }
  /// Where panel p stands, from the matrix's first byte.
  uint64_t panel_offset(uint64_t p) const { return p / kGroupPanels * group_bytes + p % kGroupPanels * panel_bytes; }
  const uint8_t* low_panel(uint64_t p) const { return low == nullptr ? nullptr : low + p * low_panel_bytes; }
  /// Of the panels or tiles, where no other matrix alternates with it.
  uint64_t bytes() const { return panel_bytes * (tiled ? kGroupPanels * n_groups() : n_panels()); }
  uint64_t low_bytes() const { return low == nullptr ? 0 : n_panels() * low_panel_bytes; }
  /// Tables that a product asks of activations.
  kernels::LutSets table_sets() const { return tiled ? lut_sets(type) : kernels::LutSets{0}; }
  bool takes_floats() const {
    return type == base::TensorType::F32 || type == base::TensorType::F16 || type == base::TensorType::BF16;
  }
};

/// out[t * out_stride + row] = Σ_k w[row][k] · x[t][k] + bias[row]
struct Product {
  const Matrix* weights;
  float* out;
  uint64_t out_stride;
};

/// Runs all products over the same activations as one parallel pass. Their matrices' groups must be contiguous.
void multiply(base::ThreadTeam& team, const kernels::KernelTable& kernels, Activations& x,
              std::span<const Product> products);

/// A piece of a product, bias included, while it is hot: row `row_begin + i` of token `t_begin + t` is at
/// values[t · n_rows + i], for the finisher to read and overwrite. With a second matrix, its values of the same rows
/// and tokens.
struct ResultTile {
  uint32_t row_begin;
  uint32_t n_rows;
  uint32_t t_begin;
  uint32_t n;
  float* values;
  float* second;
};

/// One product, or two of the same shape (`second` may be null), handed to finish(context, tile) tile by tile instead
/// of being stored. Tiles hold whole groups of rows, but for a ragged last one, and are finished by any thread.
using FinishTile = void (*)(void* context, const ResultTile& tile);
void multiply_tiles(base::ThreadTeam& team, const kernels::KernelTable& kernels, Activations& x, const Matrix& first,
                    const Matrix* second, FinishTile finish, void* context);

template <typename F>
void multiply_tiles(base::ThreadTeam& team, const kernels::KernelTable& kernels, Activations& x, const Matrix& first,
                    const Matrix* second, F&& finish) {
  using Callable = std::remove_reference_t<F>;
  FinishTile call = [](void* context, const ResultTile& tile) { (*static_cast<Callable*>(context))(tile); };
  multiply_tiles(team, kernels, x, first, second, call, const_cast<void*>(static_cast<const void*>(&finish)));
}

}  // namespace lutra::quant
