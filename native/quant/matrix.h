// A packed weight matrix and the products of a step: activations are quantised once, then any number of matrices that
// share them are multiplied in one parallel pass.
//
// Threads split panels of weight rows and tiles of tokens, never k: an output's sum has one order whatever the split.
#pragma once

#include <cstdint>
#include <span>

#include "base/aligned_buffer.h"
#include "base/tensor_type.h"
#include "base/thread_team.h"
#include "kernels/kernels.h"

namespace lutra::quant {

/// rows × k weights in kernel panels. A view: the model's arena owns the bytes.
struct Matrix {
  base::TensorType type = base::TensorType::F32;
  uint32_t rows = 0;
  uint32_t k = 0;
  uint64_t panel_bytes = 0;
  const uint8_t* panels = nullptr;
  const float* bias = nullptr;  ///< [rows], or null

  uint32_t n_panels() const { return (rows + kernels::kPanelRows - 1) / kernels::kPanelRows; }
  bool takes_floats() const {
    return type == base::TensorType::F32 || type == base::TensorType::F16 || type == base::TensorType::BF16;
  }
};

/// Activations of up to max_rows tokens: the floats a step computed, and their quantised form made on demand.
class Activations {
 public:
  Activations() = default;
  /// Bytes that `max_rows` rows of up to `max_k` floats take.
  static uint64_t bytes_needed(uint64_t max_rows, uint64_t max_k);
  /// Takes its arrays out of `arena` (bytes_needed bytes, 64-byte aligned, owned by the caller).
  Activations(uint8_t* arena, uint32_t max_rows, uint32_t max_k);

  /// Starts a new set of n rows of k floats; row t is at row(t). Forgets any quantised form.
  void begin(uint32_t n, uint32_t k);
  float* row(uint32_t t) { return floats_ + static_cast<uint64_t>(t) * k_; }
  /// Quantises row t (any thread, each row once). Rows quantised this way need mark_quantized() afterwards.
  void quantize_row(const kernels::KernelTable& kernels, uint32_t t);
  void mark_quantized() { quantized_ = true; }
  /// Quantises every row in parallel unless that is done already.
  void quantize(base::ThreadTeam& team, const kernels::KernelTable& kernels);

  uint32_t n() const { return n_; }
  uint32_t k() const { return k_; }
  kernels::PlaneActivations planes(uint32_t first_row) const;
  const float* floats(uint32_t first_row) const { return floats_ + static_cast<uint64_t>(first_row) * k_; }

 private:
  float* floats_ = nullptr;
  int8_t* planes_ = nullptr;
  float* d_ = nullptr;
  float* s_ = nullptr;
  float* s16_ = nullptr;
  uint32_t n_ = 0;
  uint32_t k_ = 0;
  bool quantized_ = false;
};

/// out[t * out_stride + row] = Σ_k w[row][k] · x[t][k] + bias[row]
struct Product {
  const Matrix* weights;
  float* out;
  uint64_t out_stride;
};

/// Runs all products over the same activations as one parallel pass.
void multiply(base::ThreadTeam& team, const kernels::KernelTable& kernels, Activations& x,
              std::span<const Product> products);

}  // namespace lutra::quant
