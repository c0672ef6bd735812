// A step from tokens to the residual stream after the last layer. The head and its reductions are in head.cc.
#include "forward/engine.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/checked_size.h"
#include "base/cpu.h"
#include "ffn/ffn.h"
#include "quant/column_product.h"
#include "quant/split_matrix.h"

namespace lutra::forward {

using base::CheckedSize;
using base::Result;
using base::Status;
using model::Op;

namespace {

constexpr uint64_t kAlignment = 64;
constexpr uint32_t kRowsPerChunk = 4;

// Hands out aligned pieces of one arena; with a null arena it only adds up the sizes.
class Carver {
 public:
  explicit Carver(uint8_t* arena) : arena_(arena) {}
  uint8_t* take(CheckedSize bytes) {
    const CheckedSize begin = used_;
    used_ = (used_ + bytes).padded_to(kAlignment);
    return arena_ == nullptr ? nullptr : arena_ + begin.value();
  }
  float* floats(CheckedSize count) { return reinterpret_cast<float*>(take(count * sizeof(float))); }
  CheckedSize used() const { return used_; }

 private:
  uint8_t* arena_;
  CheckedSize used_ = 0;
};

// Tables that a step's products ask of the rows they start from.
kernels::LutSets input_tables(const model::BoundStep& step) {
  const auto either = [](kernels::LutSets a, kernels::LutSets b) { return static_cast<kernels::LutSets>(a | b); };
  switch (step.op) {
    case Op::kQkv: return either(step.a.table_sets(), either(step.b.table_sets(), step.c.table_sets()));
    case Op::kSwiglu:
    case Op::kGeglu: return either(step.a.table_sets(), step.b.table_sets());
    default: return 0;
  }
}

}  // namespace

Engine::Engine(std::shared_ptr<const model::Model> model, const EngineOptions& options)
    : model_(std::move(model)),
      options_(options),
      kernels_(*kernels::kernel_table(options.isa)),
      team_(options.threads) {
  const model::HyperParameters& hyper = model_->hyper;
  const model::RopeParameters* ropes[2] = {&hyper.rope, &hyper.local_rope};
  for (int which = 0; which < 2; ++which) {
    inverse_frequencies_[which].resize(hyper.rope_dim / 2);
    for (uint32_t i = 0; i < hyper.rope_dim / 2; ++i) {
      double frequency = ropes[which]->scale * std::pow(ropes[which]->base, -2.0 * i / hyper.rope_dim);
      if (!model_->rope_factors.empty()) frequency /= model_->rope_factors[i];
      inverse_frequencies_[which][i] = frequency;
    }
  }
}

Result<std::shared_ptr<Engine>> Engine::create(std::shared_ptr<const model::Model> model,
                                               const EngineOptions& options) {
  if (kernels::kernel_table(options.isa) == nullptr) {
    return Status("INVALID_OPTION",
                  std::string("isa: ") + base::isa_name(options.isa) + " is not available on this machine");
  }
  const model::HyperParameters& hyper = model->hyper;
  const cache::KvShape shape{hyper.n_layers, hyper.n_kv_heads, hyper.head_dim, options.pages, options.kv_type};
  const CheckedSize kv_bytes =
      CheckedSize(cache::KvCache::bytes_per_token(shape)) * kernels::kPagePositions * options.pages;
  const uint64_t available = base::available_memory_bytes();
  if (!kv_bytes.valid() || (available != 0 && kv_bytes.value() > available)) {
    return Status("E_OUT_OF_MEMORY",
                  "the K/V cache of " + std::to_string(uint64_t{options.pages} * kernels::kPagePositions) +
                      " positions needs " + (kv_bytes.valid() ? std::to_string(kv_bytes.value()) : "too many") +
                      " bytes, " + std::to_string(available) + " are available: lower contextSize or maxSequences");
  }
  auto cache = cache::KvCache::create(shape);
  if (!cache.ok()) return cache.status();
  std::shared_ptr<Engine> engine(new Engine(std::move(model), options));
  engine->cache_ = std::move(cache.value());
  if (options.lookup.has_value()) {
    auto lookup = Lookup::create(*options.lookup, hyper, shape);
    if (!lookup.ok()) return lookup.status();
    engine->lookup_ = std::move(lookup.value());
  }
  if (options.sparsity.has_value()) {
    auto sparsity = Sparsity::create(*options.sparsity, *engine->model_, options.max_rows, engine->team_);
    if (!sparsity.ok()) return sparsity.status();
    engine->sparsity_ = std::move(sparsity.value());
  }
  if (!engine->allocate()) return Status("E_OUT_OF_MEMORY", "could not allocate the engine's scratch memory");
  return engine;
}

bool Engine::allocate() {
  const model::HyperParameters& hyper = model_->hyper;
  const CheckedSize rows = options_.max_rows;
  const uint32_t h_width = std::max(hyper.dim, hyper.q_dim);
  const quant::LutRoom room = {model_->table_sets, model_->largest_tile_bytes, team_.size(), options_.tables};
  auto carve = [&](uint8_t* arena) {
    Carver carver(arena);
    x_ = carver.floats(rows * hyper.dim);
    branch_ = carver.floats(rows * hyper.dim);
    q_ = carver.floats(rows * hyper.q_dim);
    k_ = carver.floats(rows * hyper.kv_dim);
    v_ = carver.floats(rows * hyper.kv_dim);
    angles_ = carver.floats(rows * 2 * hyper.rope_dim);
    attention_scratch_ = carver.floats(
        attention::scratch_floats(hyper.n_heads, hyper.head_dim, options_.pages * kernels::kPagePositions));
    logits_ = carver.floats(CheckedSize(options_.max_wanted) * hyper.vocab_size);
    uint8_t* h = carver.take(quant::Activations::bytes_needed(options_.max_rows, h_width, room));
    uint8_t* hidden = carver.take(quant::Activations::bytes_needed(options_.max_rows, hyper.hidden_dim, room));
    h_ = quant::Activations(h, options_.max_rows, h_width, room);
    hidden_ = quant::Activations(hidden, options_.max_rows, hyper.hidden_dim, room);
    if (sparsity_ != nullptr && sparsity_->parts()) {
      uint8_t* part = carver.take(quant::Activations::bytes_needed(options_.max_rows, h_width, room));
      part_ = quant::Activations(part, options_.max_rows, h_width, room);
      gate_ = carver.floats(rows * hyper.hidden_dim);
      up_ = carver.floats(rows * hyper.hidden_dim);
    }
    return carver.used();
  };
  const CheckedSize bytes = carve(nullptr);
  if (!bytes.valid()) return false;
  scratch_ = base::AlignedBuffer(bytes.value());
  scratch_.prefer_huge_pages();
  if (scratch_.data() == nullptr) return false;
  carve(scratch_.data());
  spans_.reserve(options_.max_rows);
  row_pages_.reserve(size_t{2} * options_.max_rows);
  row_pages_end_.reserve(options_.max_rows);
  wanted_rows_.reserve(options_.max_rows);
  return true;
}

bool Engine::aborted(const Step& step) const {
  for (uint32_t s = 0; s < step.sequences; ++s) {
    const int32_t flag = step.sequence_aborts[s];
    if (flag >= 0 && __atomic_load_n(&step.aborts[flag], __ATOMIC_RELAXED) != 0) return true;
  }
  return false;
}

template <typename F>
void Engine::for_rows(uint32_t rows_per_chunk, F&& body) {
  const uint32_t n_chunks = (rows_ + rows_per_chunk - 1) / rows_per_chunk;
  team_.parallel_for(n_chunks, [&](uint32_t chunk, int) {
    for (uint32_t t = chunk * rows_per_chunk; t < std::min(rows_, (chunk + 1) * rows_per_chunk); ++t) body(t);
  });
}

void Engine::find_spans(const Step& step) {
  spans_.clear();
  row_pages_.clear();
  row_pages_end_.clear();
  uint32_t mirror = 0;
  for (uint32_t row = 0; row < step.rows; ++row) {
    const int32_t* pages = step.page_tables + static_cast<uint64_t>(step.row_sequences[row]) * step.page_stride;
    row_pages_.push_back(
        static_cast<uint32_t>(pages[step.positions[row] / static_cast<int32_t>(kernels::kPagePositions)]));
    for (; mirror < step.mirrors && static_cast<uint32_t>(step.mirror_rows[mirror]) == row; ++mirror) {
      row_pages_.push_back(static_cast<uint32_t>(step.mirror_pages[mirror]));
    }
    row_pages_end_.push_back(static_cast<uint32_t>(row_pages_.size()));
    if (row == 0 || step.row_sequences[row] != step.row_sequences[row - 1]) spans_.push_back({row, row, pages});
    spans_.back().row_end = row + 1;
  }
}

void Engine::embed(const Step& step) {
  const quant::Matrix& table = model_->embedding;
  const uint32_t dim = model_->hyper.dim;
  for_rows(kRowsPerChunk, [&](uint32_t t) {
    float* x = x_ + static_cast<uint64_t>(t) * dim;
    quant::dequantize_matrix_row(table, static_cast<uint32_t>(step.tokens[t]), x);
    if (model_->hyper.embedding_scale != 1.0f) kernels_.scale(x, model_->hyper.embedding_scale, dim);
  });
}

// Angles depend on the position alone and are computed in double, as the oracle does.
void Engine::compute_angles(const Step& step) {
  const uint32_t pairs = model_->hyper.rope_dim / 2;
  const int n_ropes = model_->hyper.window != 0 ? 2 : 1;
  for_rows(kRowsPerChunk, [&](uint32_t t) {
    for (int which = 0; which < n_ropes; ++which) {
      float* cosines = angles_ + (static_cast<uint64_t>(t) * 2 + which) * 2 * pairs;
      for (uint32_t i = 0; i < pairs; ++i) {
        const double angle = step.positions[t] * inverse_frequencies_[which][i];
        cosines[i] = static_cast<float>(std::cos(angle));
        cosines[pairs + i] = static_cast<float>(std::sin(angle));
      }
    }
  });
}

void Engine::norm(const float* weight, kernels::LutSets tables) {
  const uint32_t dim = model_->hyper.dim;
  h_.begin(rows_, dim, tables);
  for_rows(kRowsPerChunk, [&](uint32_t t) {
    kernels_.rms_norm(x_ + static_cast<uint64_t>(t) * dim, weight, dim, model_->hyper.rms_eps, h_.row(t));
    if (h_.can_quantize()) h_.quantize(kernels_, t, 0, dim, h_.row(t));
  });
  h_.mark_quantized();
}

// From q, k and v as multiplied to scaled, rotated queries and cached keys and values.
void Engine::position(uint32_t layer, const model::BoundStep& step) {
  const model::HyperParameters& hyper = model_->hyper;
  const uint32_t head_dim = hyper.head_dim;
  const uint32_t pairs = hyper.rope_dim / 2;
  const uint32_t which = model_->layers[layer].sliding ? 1 : 0;
  const auto rope =
      hyper.rope_style == model::RopeStyle::kInterleaved ? kernels_.rope_interleaved : kernels_.rope_halves;
  // A page's worth of rows a chunk: neighbouring positions share the cache lines of a dimension-major key page.
  for_rows(kernels::kPagePositions, [&](uint32_t t) {
    const float* cosines = angles_ + (static_cast<uint64_t>(t) * 2 + which) * 2 * pairs;
    const auto place = [&](float* head, const float* norm_weight) {
      if (norm_weight != nullptr) kernels_.rms_norm(head, norm_weight, head_dim, hyper.rms_eps, head);
      rope(head, cosines, cosines + pairs, pairs);
    };
    float* q = q_ + static_cast<uint64_t>(t) * hyper.q_dim;
    for (uint32_t head = 0; head < hyper.n_heads; ++head) place(q + head * head_dim, step.norm_a);
    kernels_.scale(q, hyper.attention_scale, hyper.q_dim);
    const uint32_t slot = static_cast<uint32_t>(positions_[t]) % kernels::kPagePositions;
    const uint32_t pages_begin = t == 0 ? 0 : row_pages_end_[t - 1];
    for (uint32_t head = 0; head < hyper.n_kv_heads; ++head) {
      const uint64_t at = static_cast<uint64_t>(t) * hyper.kv_dim + head * head_dim;
      place(k_ + at, step.norm_b);
      for (uint32_t i = pages_begin; i < row_pages_end_[t]; ++i) {
        cache_.store(kernels_, layer, row_pages_[i], head, slot, k_ + at, v_ + at);
      }
    }
  });
  if (lookup_ != nullptr && lookup_->covers(layer)) {
    lookup_->encode(lookup_context(), layer, *step_, row_pages_, row_pages_end_);
  }
}

void Engine::attend(uint32_t layer) {
  const model::HyperParameters& hyper = model_->hyper;
  h_.begin(rows_, hyper.q_dim);
  const bool is_coded = lookup_ != nullptr && lookup_->covers(layer) && lookup_->has_coded_rows();
  const attention::AttentionInput input{
      .layer = layer,
      .n_heads = hyper.n_heads,
      .window = model_->layers[layer].sliding ? hyper.window : 0,
      .queries = q_,
      .positions = positions_,
      .spans = is_coded ? lookup_->exact_spans() : spans_,
      .out = h_.row(0),
  };
  if (!input.spans.empty()) attention::attend_exact(team_, kernels_, cache_, input, attention_scratch_);
  if (is_coded) lookup_->attend(lookup_context(), input);
}

// Whether tables of the rows that a product starts from would be of channels that are then left out.
bool Engine::masks_input(uint32_t layer, Op op) const {
  return sparsity_ != nullptr && sparsity_->masks(layer, op == Op::kQkv ? Site::kAttentionIn : Site::kFfnIn);
}

// Leaves out the channels of x that the step's sparse rows do not need; returns those to read, or null for all.
quant::ChannelList* Engine::choose(uint32_t layer, Site site, quant::Activations& x) {
  if (sparsity_ == nullptr || !sparsity_->masks(layer, site)) return nullptr;
  quant::ChannelList* const channels = sparsity_->choose(team_, kernels_, {layer, site, &x});
  profile_.lap(Stage::kChoose);
  return channels;
}

// The end of a branch: its last product, normed if the architecture says so, goes onto the residual stream.
void Engine::add_product(const quant::Matrix& matrix, quant::Activations& in, const float* norm_weight,
                         quant::ChannelList* channels) {
  const uint32_t dim = model_->hyper.dim;
  if (norm_weight == nullptr) {
    const auto add = [&](const quant::ResultTile& tile) {
      for (uint32_t i = 0; i < tile.n; ++i) {
        float* x = x_ + static_cast<uint64_t>(tile.t_begin + i) * dim + tile.row_begin;
        kernels_.add(x, tile.values + static_cast<uint64_t>(i) * tile.n_rows, tile.n_rows);
      }
    };
    if (channels != nullptr) return quant::multiply_column_tiles(team_, kernels_, *channels, matrix, nullptr, add);
    return quant::multiply_tiles(team_, kernels_, in, matrix, nullptr, add);
  }
  const quant::Product products[] = {{&matrix, branch_, dim}};
  if (channels != nullptr) {
    quant::multiply_columns(team_, kernels_, *channels, products);
  } else {
    quant::multiply(team_, kernels_, in, products);
  }
  for_rows(kRowsPerChunk, [&](uint32_t t) {
    float* row = branch_ + static_cast<uint64_t>(t) * dim;
    kernels_.rms_norm(row, norm_weight, dim, model_->hyper.rms_eps, row);
    kernels_.add(x_ + static_cast<uint64_t>(t) * dim, row, dim);
  });
}

// Each product after a choice of its own. By tiles, since groups of gate and up may alternate.
void Engine::multiply_parts(uint32_t layer, Site site, std::span<const quant::Product> products) {
  for (uint32_t i = 0; i < products.size(); ++i) {
    const quant::Product& product = products[i];
    part_.copy_from(h_);
    quant::ChannelList* const channels = sparsity_->choose(team_, kernels_, {layer, site, &part_, i + 1});
    const auto store = [&](const quant::ResultTile& tile) {
      for (uint32_t t = 0; t < tile.n; ++t) {
        float* const out = product.out + (tile.t_begin + t) * product.out_stride + tile.row_begin;
        std::copy_n(tile.values + static_cast<uint64_t>(t) * tile.n_rows, tile.n_rows, out);
      }
    };
    if (channels != nullptr) {
      quant::multiply_column_tiles(team_, kernels_, *channels, *product.weights, nullptr, store);
    } else {
      quant::multiply_tiles(team_, kernels_, part_, *product.weights, nullptr, store);
    }
  }
}

void Engine::multiply_qkv(uint32_t layer, const model::BoundStep& step) {
  const model::HyperParameters& hyper = model_->hyper;
  const quant::Product products[] = {
      {&step.a, q_, hyper.q_dim}, {&step.b, k_, hyper.kv_dim}, {&step.c, v_, hyper.kv_dim}};
  if (masks_input(layer, Op::kQkv) && sparsity_->parts()) return multiply_parts(layer, Site::kAttentionIn, products);
  quant::ChannelList* const channels = choose(layer, Site::kAttentionIn, h_);
  if (channels != nullptr) return quant::multiply_columns(team_, kernels_, *channels, products);
  quant::multiply(team_, kernels_, h_, products);
}

// Gate and up after choices of their own, then what ffn does with both.
void Engine::gate_parts(uint32_t layer, const ffn::GatedInput& input) {
  const uint32_t width = model_->hyper.hidden_dim;
  const quant::Product products[] = {{input.gate, gate_, width}, {input.up, up_, width}};
  multiply_parts(layer, Site::kFfnIn, products);
  ffn::gate_values(team_, kernels_, {rows_, gate_, up_}, input, hidden_);
}

void Engine::feed_forward(uint32_t layer, const model::BoundStep& step) {
  const bool masks_hidden = sparsity_ != nullptr && sparsity_->masks(layer, Site::kFfnMid);
  const bool reads_hidden = sparsity_ != nullptr && sparsity_->reads_hidden(layer);
  const bool only_floats = step.c.takes_floats() || (masks_hidden && sparsity_->masks_floats());
  const ffn::GatedInput input{
      .gate = &step.a,
      .up = &step.b,
      .activation = step.op == Op::kSwiglu ? ffn::Activation::kSilu : ffn::Activation::kGelu,
      .kept = only_floats    ? ffn::Hidden::kFloats
              : reads_hidden ? ffn::Hidden::kBoth
                             : ffn::Hidden::kCodes,
      .tables = masks_hidden ? kernels::LutSets{0} : step.c.table_sets(),  // of what is left
      .gates = masks_hidden ? sparsity_->gates(layer) : nullptr,
  };
  const bool parts = masks_input(layer, step.op) && sparsity_->parts();
  quant::ChannelList* channels = parts ? nullptr : choose(layer, Site::kFfnIn, h_);
  const quant::GatheredPair* const core = sparsity_ != nullptr ? sparsity_->gathered(layer) : nullptr;
  if (parts) {
    gate_parts(layer, input);
  } else if (core != nullptr) {
    ffn::gate_core(team_, kernels_, h_, input, {core, sparsity_->neurons(layer)}, hidden_);
  } else if (channels != nullptr) {
    ffn::gate_sparse(team_, kernels_, *channels, input, hidden_);
  } else {
    ffn::gate_dense(team_, kernels_, h_, input, hidden_);
  }
  if (sparsity_ != nullptr) sparsity_->observe(team_, layer, hidden_);
  profile_.lap(Stage::kGateUp);
  channels = choose(layer, Site::kFfnMid, hidden_);
  add_product(step.c, hidden_, step.norm_a, channels);
  profile_.lap(Stage::kDown);
}

void Engine::run_step(uint32_t layer, size_t index) {
  const std::vector<model::BoundStep>& steps = model_->layers[layer].steps;
  const model::BoundStep& step = steps[index];
  switch (step.op) {
    case Op::kNorm: {
      const bool builds_tables = index + 1 < steps.size() && !masks_input(layer, steps[index + 1].op);
      norm(step.norm_a, builds_tables ? input_tables(steps[index + 1]) : 0);
      return profile_.lap(Stage::kNorm);
    }
    case Op::kQkv: multiply_qkv(layer, step); return profile_.lap(Stage::kQkv);
    case Op::kPosition: position(layer, step); return profile_.lap(Stage::kPosition);
    case Op::kAttend: attend(layer); return profile_.lap(Stage::kAttend);
    case Op::kOutput: {
      quant::ChannelList* const channels = choose(layer, Site::kAttentionOut, h_);
      add_product(step.a, h_, step.norm_a, channels);
      return profile_.lap(Stage::kOutput);
    }
    case Op::kSwiglu:
    case Op::kGeglu: return feed_forward(layer, step);
  }
}

Status Engine::run(const Step& step, uint32_t& wanted) {
  kept_logits_ = 0;
  Status status = check_step(step, {options_.max_rows, model_->hyper.vocab_size, options_.pages}, wanted);
  if (!status.ok()) return status;
  rows_ = step.rows;
  positions_ = step.positions;
  step_ = &step;
  profile_.begin_step();
  find_spans(step);
  if (lookup_ != nullptr) lookup_->begin(step, spans_);
  if (sparsity_ != nullptr) status = sparsity_->begin(step, team_);
  if (!status.ok()) return status;
  embed(step);
  compute_angles(step);
  profile_.lap(Stage::kPrepare);
  for (uint32_t layer = 0; layer < model_->layers.size(); ++layer) {
    if (aborted(step)) return {"ABORTED", "a sequence of the step was aborted"};
    for (size_t i = 0; i < model_->layers[layer].steps.size(); ++i) run_step(layer, i);
  }
  status = run_head(step, wanted);
  if (lookup_ != nullptr) lookup_->report(step);
  if (sparsity_ != nullptr) sparsity_->report(step);
  profile_.end_step();
  return status;
}

}  // namespace lutra::forward
