// Lookup attention of one engine: its codebooks, the codes beside its K/V pages, and which rows of a step use them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "attention/codebooks.h"
#include "attention/nomad.h"
#include "base/aligned_buffer.h"
#include "base/status.h"
#include "base/thread_team.h"
#include "cache/key_codes.h"
#include "cache/kv_cache.h"
#include "forward/step.h"
#include "model/architecture.h"

namespace lutra::forward {

/// What an engine with lookup attention is made from.
struct LookupOptions {
  attention::NomadOptions nomad;
  std::vector<uint8_t> codebooks;  ///< attention::Codebooks::bytes
};

/// What works on behalf of a step: the engine's own.
struct LookupContext {
  base::ThreadTeam& team;
  const kernels::KernelTable& kernels;
  cache::KvCache& cache;
};

class Lookup {
 public:
  /// INVALID_OPTION for codebooks that are damaged or another model's; E_OUT_OF_MEMORY.
  static base::Result<std::unique_ptr<Lookup>> create(const LookupOptions& options, const model::HyperParameters& hyper,
                                                      const cache::KvShape& shape);

  /// Sorts the step's rows: those that attend exactly, as spans, and those over codes.
  void begin(const Step& step, std::span<const attention::RowSpan> spans);
  bool has_coded_rows() const { return !coded_rows_.empty(); }
  bool covers(uint32_t layer) const { return codes_.has(layer); }

  /// Encodes the pages that rows of the step completed; `ends[t]` is where row t's pages end in `pages`.
  void encode(const LookupContext& context, uint32_t layer, const Step& step, std::span<const uint32_t> pages,
              std::span<const uint32_t> ends);
  /// Rows over codes. `exact_spans` are left to the caller.
  void attend(const LookupContext& context, const attention::AttentionInput& input);
  std::span<const attention::RowSpan> exact_spans() const { return exact_spans_; }
  /// Writes what the step's rows read and left out.
  void report(const Step& step) const;

  /// As the cache did: pages were copied, or written from outside.
  void copy_pages(std::span<const int32_t> pairs) { codes_.copy_pages(pairs); }
  void pages_written(const LookupContext& context, std::span<const int32_t> pages);
  uint64_t size_bytes() const { return codes_.size_bytes(); }
  uint64_t scratch_bytes() const { return scratch_.size_bytes(); }

 private:
  Lookup(attention::Codebooks books, const attention::NomadOptions& options)
      : options_(options), books_(std::move(books)) {}
  void encode_pages(const LookupContext& context, uint32_t layer, std::span<const uint32_t> pages);

  attention::NomadOptions options_;
  attention::Codebooks books_;
  cache::KeyCodes codes_;
  base::AlignedBuffer scratch_;
  std::vector<attention::CodedRow> coded_rows_;
  std::vector<attention::RowSpan> exact_spans_;
  std::vector<attention::CodedShare> shares_;  ///< [rows] over all layers
  std::vector<uint32_t> full_pages_;
};

}  // namespace lutra::forward
