// Activations of up to max_rows tokens: the floats a step computed and their quantised form, made where the floats are
// still hot, or on demand.
#pragma once

#include <cstdint>

#include "base/thread_team.h"
#include "kernels/kernels.h"

namespace lutra::quant {

/// What products by lookup need beside the activations; nothing when no set is named.
struct LutRoom {
  kernels::LutSets sets = 0;  ///< that any product may ask for
  uint64_t tile_bytes = 0;    ///< of the largest tile
  int n_threads = 1;
  kernels::LutTables tables = kernels::LutTables::kExact;
};

class Activations {
 public:
  /// Tables of rows from one on, as the kernels take them.
  struct Tables {
    kernels::LutTables kind;
    uint8_t* entries;
    float* d;
    int32_t* biases;
  };

  /// Channels of a row to keep.
  struct Mask {
    const uint32_t* words;  ///< [k/32]
    int32_t* sums;          ///< [k/32] gets Σ c of what is kept
    bool floats;            ///< the row's floats too: weights that take floats follow
  };

  Activations() = default;
  /// Bytes that `max_rows` rows of up to `max_k` floats take. Tables: 12.5 bytes an element of the few rows that
  /// exact ones are built for, 4.5 of all rows for 8-bit ones; 48.5 and 16.5 where tables are of products.
  static uint64_t bytes_needed(uint64_t max_rows, uint64_t max_k, const LutRoom& room = {});
  /// Takes its arrays out of `arena` (bytes_needed bytes, 64-byte aligned, owned by the caller).
  Activations(uint8_t* arena, uint32_t max_rows, uint32_t max_k, const LutRoom& room = {});

  /// Starts anew with n rows of k floats; row t is at row(t). Forgets any quantised form. `sets`: the tables that are
  /// built as rows are quantised; others are built when a product asks for them.
  void begin(uint32_t n, uint32_t k, kernels::LutSets sets = 0);
  float* row(uint32_t t) { return floats_ + static_cast<uint64_t>(t) * k_; }
  /// False for a k that no quantised weight has.
  bool can_quantize() const { return k_ % kernels::kBlock == 0; }
  /// Quantises `values`, elements [begin, end) of row t, whole blocks; any thread, each block once. Once all blocks are
  /// done this way, say so with mark_quantized(). The row's own floats are then needed only where weights take floats.
  void quantize(const kernels::KernelTable& kernels, uint32_t t, uint32_t begin, uint32_t end, const float* values);
  void mark_quantized() { quantized_ = can_quantize(); }
  /// Becomes a copy of other's rows, floats and codes; this has room for as many.
  void copy_from(const Activations& other);
  /// Makes row t, which is quantised, one whose channels outside of a mask are zero: their codes, what is summed of
  /// them, and the floats where they are asked for. The scales stay. Before any table is built.
  void keep(const kernels::KernelTable& kernels, uint32_t t, const Mask& mask);
  /// Quantises every row and builds its tables of `sets`, in parallel, as far as that is not done already.
  void quantize_all(base::ThreadTeam& team, const kernels::KernelTable& kernels, kernels::LutSets sets = 0);

  uint32_t n() const { return n_; }
  uint32_t k() const { return k_; }
  kernels::PlaneActivations planes(uint32_t first_row) const;
  /// Whether the rows may have tables. Exact ones are for few rows, whose result is that of panels; those of 8 bits for
  /// any number, so that a row's result is its own.
  bool has_tables() const { return n_ <= table_rows_; }
  Tables tables(kernels::LutSets set, uint32_t first_row) const;
  /// Where a thread may put the panels of a tile.
  uint8_t* panel_room(int member) const { return panel_room_ + static_cast<uint64_t>(member) * room_.tile_bytes; }
  const float* floats(uint32_t first_row) const { return floats_ + static_cast<uint64_t>(first_row) * k_; }

 private:
  /// Arrays of one set of tables.
  struct TableArrays {
    uint8_t* entries = nullptr;
    float* d = nullptr;
    int32_t* biases = nullptr;
  };

  void build_tables(const kernels::KernelTable& kernels, kernels::LutSets sets, uint32_t t, uint32_t begin,
                    uint32_t end);
  template <typename F>
  void for_rows(base::ThreadTeam& team, F&& body);

  float* floats_ = nullptr;
  int8_t* planes_ = nullptr;
  float* d_ = nullptr;
  float* s_ = nullptr;
  float* s16_ = nullptr;
  LutRoom room_;
  uint32_t table_rows_ = 0;
  TableArrays tables_[kernels::kLutSets];
  uint8_t* panel_room_ = nullptr;
  uint32_t n_ = 0;
  uint32_t k_ = 0;
  kernels::LutSets sets_ = 0;
  bool quantized_ = false;
};

}  // namespace lutra::quant
