// What is done with an engine's K/V pages between steps: copied, written from outside, and learnt from.
#include "attention/codebook_training.h"
#include "forward/engine.h"

namespace lutra::forward {

base::Status Engine::copy_pages(std::span<const int32_t> pairs) {
  base::Status status = cache_.copy_pages(pairs);
  if (status.ok() && lookup_ != nullptr) lookup_->copy_pages(pairs);
  return status;
}

base::Status Engine::write_pages(std::span<const int32_t> pages, std::span<const uint8_t> bytes) {
  base::Status status = cache_.write_pages(pages, bytes);
  if (status.ok() && lookup_ != nullptr) lookup_->pages_written(lookup_context(), pages);
  return status;
}

base::Result<std::vector<uint8_t>> Engine::train_codebooks(std::span<const int32_t> pages, uint32_t positions,
                                                           const TrainingOptions& options) {
  const model::HyperParameters& hyper = model_->hyper;
  const bool halves = hyper.rope_style == model::RopeStyle::kHalves;
  const attention::CodebookShape shape{hyper.n_layers, hyper.n_kv_heads, hyper.head_dim, options.d_sub,
                                       options.n_outliers};
  std::vector<uint8_t> coded(hyper.n_layers);
  for (uint32_t layer = 0; layer < hyper.n_layers; ++layer) coded[layer] = hyper.is_sliding(layer) ? 0 : 1;
  attention::Codebooks books(shape, attention::pair_order(hyper.head_dim, hyper.rope_dim / 2, halves),
                             std::move(coded));
  const attention::TrainingInput input{.pages = pages,
                                       .positions = positions,
                                       .n_pairs = hyper.rope_dim / 2,
                                       .halves = halves,
                                       .angles = inverse_frequencies_[0].data(),
                                       .spread = options.spread,
                                       .context = options.context};
  base::Status status = attention::train_codebooks(team_, kernels_, cache_, input, books);
  if (!status.ok()) return status;
  return books.bytes();
}

}  // namespace lutra::forward
