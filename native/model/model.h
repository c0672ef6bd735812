// A loaded model: hyper-parameters, weights packed for the kernels, and its tokenizer's place in the same file.
//
// Contract: immutable once loaded and shared by every engine; weights are private aligned memory (no page of the file
// stays mapped). Loading streams: each thread reads a few rows, checks them, packs them, and reuses its buffer, so the
// peak is the packed size plus a few rows a thread.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/status.h"
#include "gguf/gguf.h"
#include "model/architecture.h"
#include "quant/matrix.h"

namespace lutra::model {

/// A layer step with the tensors it names: matrices, and the vectors of norms.
struct BoundStep {
  Op op;
  quant::Matrix a, b, c;
  const float* norm_a = nullptr;
  const float* norm_b = nullptr;
};

struct Layer {
  std::vector<BoundStep> steps;
  bool sliding = false;
};

struct TensorReport {
  std::string name;
  base::TensorType type;
  uint32_t rows, k;
  uint64_t packed_bytes;
  bool tiled;
  uint64_t column_bytes;  ///< of a second copy in column strips, or 0
};

/// Which weights become tiles, for products by lookup, of those whose types have them.
struct TileChoice {
  std::set<std::string> kinds;  ///< "TYPE ROWSxCOLS", or "all"

  bool takes(base::TensorType type, uint64_t rows, uint64_t k) const;
};

struct LoadOptions {
  int threads = 1;
  TileChoice tiles;
  std::set<std::string> columns;  ///< names within a layer ("ffn_down") of matrices that also get column strips
  const std::atomic<int32_t>* abort = nullptr;                  ///< non-zero stops the load: ABORTED
  std::function<bool(uint64_t done, uint64_t total)> progress;  ///< file bytes; false stops the load: ABORTED
};

class Model {
 public:
  /// Codes: those of the hyper-parameters, MODEL_NO_WEIGHTS, MODEL_MISSING_TENSOR, MODEL_BAD_SHAPE,
  /// MODEL_UNSUPPORTED_TYPE, MODEL_NONFINITE, MODEL_CHANGED, GGUF_TRUNCATED, E_OUT_OF_MEMORY, ABORTED.
  static base::Result<std::shared_ptr<const Model>> load(std::shared_ptr<gguf::File> file, const LoadOptions& options);

  HyperParameters hyper;
  std::vector<Layer> layers;
  quant::Matrix embedding;             ///< [vocab_size, dim]
  quant::Matrix head;                  ///< [vocab_size, dim]; the same panels as `embedding` when tied
  const float* output_norm = nullptr;  ///< [dim]
  std::vector<float> rope_factors;     ///< [rope_dim/2] divisors of the frequencies (Llama 3), or empty
  std::vector<std::string> warnings;
  std::vector<TensorReport> report;
  uint64_t file_bytes = 0;
  uint64_t largest_tile_bytes = 0;  ///< of matrices whose products are looked up; 0: there is none
  kernels::LutSets table_sets = 0;  ///< that their products ask for
  uint64_t weight_bytes() const { return arena_.size_bytes(); }

 private:
  friend class WeightLoader;
  base::AlignedBuffer arena_;
};

}  // namespace lutra::model
