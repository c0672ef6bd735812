// Binds the tensors a model's layer steps name, then streams them from the file into packed panels.
#include <algorithm>
#include <mutex>
#include <new>
#include <unordered_set>

#include "base/checked_size.h"
#include "base/cpu.h"
#include "base/thread_team.h"
#include "model/model.h"
#include "quant/lut_tile.h"
#include "quant/quant.h"
#include "quant/split_matrix.h"

namespace lutra::model {

using base::CheckedSize;
using base::Result;
using base::Status;

namespace {

constexpr uint64_t kArenaAlignment = 64;
// Source bytes a thread reads at once: long enough for streaming reads, short enough that a copy per thread is nothing.
constexpr uint64_t kReadBytes = 256 * 1024;

// Rows that are packed together.
uint64_t rows_at_once(const quant::Matrix* matrix) {
  if (matrix != nullptr && matrix->columns.rows != 0) return kernels::kStripRows;
  return matrix != nullptr && matrix->tiled ? quant::kGroupRows : kernels::kPanelRows;
}

std::string shape_text(const gguf::TensorInfo& info) {
  std::string text = "[";
  for (uint32_t i = 0; i < info.n_dims; ++i) text += (i == 0 ? "" : ", ") + std::to_string(info.dims[i]);
  return text + "]";
}

}  // namespace

class WeightLoader {
 public:
  WeightLoader(const gguf::File& file, const LoadOptions& options, Model& model)
      : file_(file), options_(options), model_(model) {}

  Status bind(const Architecture& architecture);
  Status allocate();
  Status read();

 private:
  // A tensor's place: a matrix goes into panels, a vector becomes floats; both live at `offset` of the arena.
  struct Binding {
    const gguf::TensorInfo* info;
    quant::Matrix* matrix;
    const float** vector;
    uint64_t offset;
    uint64_t columns_offset = 0;
  };
  struct Chunk {
    const Binding* binding;
    uint64_t row_begin, row_end;
  };

  std::string layer_tensor(uint32_t layer, const char* name) const {
    return "blk." + std::to_string(layer) + "." + name;
  }
  Status bind_matrix(const std::string& name, uint64_t rows, uint64_t k, bool bias_required, quant::Matrix& out);
  Status bind_vector(const std::string& name, uint64_t size, bool required, const float*& out);
  Status bind_step(uint32_t layer, const LayerStep& step, bool bias_required, BoundStep& out);
  void alternate_groups(quant::Matrix& first, quant::Matrix& second);
  void place_columns();
  Status bind_ends();
  Status check_supported(const gguf::TensorInfo& info) const;
  void note_extra_tensors();
  Status read_chunk(const Chunk& chunk, std::vector<uint8_t>& buffer);
  Status check_finite(const gguf::TensorInfo& info, const uint8_t* rows, uint64_t row_begin, uint64_t n_rows) const;
  std::vector<Chunk> plan_chunks() const;

  const gguf::File& file_;
  const LoadOptions& options_;
  Model& model_;
  std::vector<Binding> bindings_;
  std::unordered_set<const gguf::TensorInfo*> used_;
  CheckedSize arena_bytes_ = 0;
  const quant::Matrix* head_ = nullptr;  ///< the matrix that gives logits
};

Status WeightLoader::check_supported(const gguf::TensorInfo& info) const {
  const auto& traits = base::tensor_type_traits(info.type_id);
  if (traits.supported) return {};
  return {"MODEL_UNSUPPORTED_TYPE", "tensor " + info.name + ": type " + (traits.name ? traits.name : "unknown") +
                                        " (id " + std::to_string(info.type_id) + ") is not supported"};
}

Status WeightLoader::bind_matrix(const std::string& name, uint64_t rows, uint64_t k, bool bias_required,
                                 quant::Matrix& out) {
  const gguf::TensorInfo* info = file_.find_tensor(name + ".weight");
  if (info == nullptr) return {"MODEL_MISSING_TENSOR", "tensor " + name + ".weight is missing"};
  if (info->dims[0] != k || info->dims[1] != rows || info->dims[2] != 1 || info->dims[3] != 1) {
    return {"MODEL_BAD_SHAPE", "tensor " + info->name + ": expected [" + std::to_string(k) + ", " +
                                   std::to_string(rows) + "], got " + shape_text(*info)};
  }
  Status status = check_supported(*info);
  if (!status.ok()) return status;
  const auto type = static_cast<base::TensorType>(info->type_id);
  out = {.type = type,
         .rows = static_cast<uint32_t>(rows),
         .k = static_cast<uint32_t>(k),
         .panel_bytes = quant::panel_bytes(type, k)};
  const bool gathered = &out == &model_.embedding && head_ != &out;  // its rows are read one by one
  out.tiled = !gathered && options_.tiles.takes(type, rows, k);
  if (out.tiled) {
    model_.table_sets |= out.table_sets();
    model_.largest_tile_bytes = std::max(model_.largest_tile_bytes, quant::lut_tile_bytes(type, k));
  }
  if (&out == head_ && quant::worth_splitting(type, rows, k)) quant::plan_split(out);
  out.group_bytes = quant::kGroupPanels * out.panel_bytes;
  arena_bytes_ = arena_bytes_.padded_to(kArenaAlignment);
  bindings_.push_back({info, &out, nullptr, arena_bytes_.value()});
  const uint32_t n_panels = out.tiled ? quant::kGroupPanels * out.n_groups() : out.n_panels();
  const CheckedSize bytes = CheckedSize(out.panel_bytes + out.low_panel_bytes) * n_panels;
  arena_bytes_ = arena_bytes_ + bytes;
  used_.insert(info);
  const std::string short_name = name.substr(name.rfind('.') + 1);
  if (options_.columns.contains(short_name) && quant::has_columns(type)) {
    out.columns = quant::ColumnMatrix(type, out.rows, out.k);
  }
  const uint64_t column_bytes = out.columns.rows == 0 ? 0 : out.columns.bytes();
  model_.report.push_back({info->name, type, out.rows, out.k, bytes.value(), out.tiled, column_bytes});
  return bind_vector(name + ".bias", rows, bias_required, out.bias);
}

Status WeightLoader::bind_vector(const std::string& name, uint64_t size, bool required, const float*& out) {
  const gguf::TensorInfo* info = file_.find_tensor(name);
  if (info == nullptr) {
    if (required) return {"MODEL_MISSING_TENSOR", "tensor " + name + " is missing"};
    return {};
  }
  if (info->dims[0] != size || info->rows() != 1) {
    return {"MODEL_BAD_SHAPE",
            "tensor " + name + ": expected [" + std::to_string(size) + "], got " + shape_text(*info)};
  }
  Status status = check_supported(*info);
  if (!status.ok()) return status;
  arena_bytes_ = arena_bytes_.padded_to(kArenaAlignment);
  bindings_.push_back({info, nullptr, &out, arena_bytes_.value()});
  arena_bytes_ = arena_bytes_ + CheckedSize(size) * sizeof(float);
  used_.insert(info);
  return {};
}

Status WeightLoader::bind_step(uint32_t layer, const LayerStep& step, bool bias_required, BoundStep& out) {
  const HyperParameters& hyper = model_.hyper;
  out.op = step.op;
  auto matrix = [&](const char* name, uint64_t rows, uint64_t k, bool bias, quant::Matrix& target) {
    return bind_matrix(layer_tensor(layer, name), rows, k, bias, target);
  };
  auto vector = [&](const char* name, uint64_t size, const float*& target) {
    return bind_vector(layer_tensor(layer, name) + ".weight", size, true, target);
  };
  Status status;
  switch (step.op) {
    case Op::kNorm: return vector(step.a, hyper.dim, out.norm_a);
    case Op::kQkv:
      status = matrix(step.a, hyper.q_dim, hyper.dim, bias_required, out.a);
      if (status.ok()) status = matrix(step.b, hyper.kv_dim, hyper.dim, bias_required, out.b);
      return status.ok() ? matrix(step.c, hyper.kv_dim, hyper.dim, bias_required, out.c) : status;
    case Op::kPosition:
      if (step.a == nullptr) return {};
      status = vector(step.a, hyper.head_dim, out.norm_a);
      return status.ok() ? vector(step.b, hyper.head_dim, out.norm_b) : status;
    case Op::kAttend: return {};
    case Op::kOutput:
      status = matrix(step.a, hyper.dim, hyper.q_dim, false, out.a);
      return status.ok() && step.b != nullptr ? vector(step.b, hyper.dim, out.norm_a) : status;
    case Op::kSwiglu:
    case Op::kGeglu:
      status = matrix(step.a, hyper.hidden_dim, hyper.dim, false, out.a);
      if (status.ok()) status = matrix(step.b, hyper.hidden_dim, hyper.dim, false, out.b);
      if (status.ok()) alternate_groups(out.a, out.b);
      if (status.ok()) status = matrix(step.c, hyper.dim, hyper.hidden_dim, false, out.c);
      return status.ok() && step.d != nullptr ? vector(step.d, hyper.dim, out.norm_a) : status;
  }
  return {"INTERNAL", "layer step without a binding"};
}

// Lets the groups of two matrices alternate, because they are read together; not where biases were bound in between.
void WeightLoader::alternate_groups(quant::Matrix& first, quant::Matrix& second) {
  const auto binding_of = [&](const quant::Matrix& matrix) {
    return std::find_if(bindings_.begin(), bindings_.end(), [&](const Binding& b) { return b.matrix == &matrix; });
  };
  const uint64_t start = binding_of(first)->offset;
  const auto moved = binding_of(second);
  const bool neighbours = bindings_.end() - moved == 1 && moved->offset == start + first.bytes();
  if (!arena_bytes_.valid() || !neighbours) return;
  moved->offset = start + first.group_bytes;
  first.group_bytes = second.group_bytes = first.group_bytes + second.group_bytes;
  arena_bytes_ = CheckedSize(start) + CheckedSize(first.group_bytes) * first.n_groups();
}

// Behind everything else, so that neighbours stay neighbours.
void WeightLoader::place_columns() {
  for (Binding& binding : bindings_) {
    if (binding.matrix == nullptr || binding.matrix->columns.rows == 0) continue;
    arena_bytes_ = arena_bytes_.padded_to(kArenaAlignment);
    binding.columns_offset = arena_bytes_.value();
    arena_bytes_ = arena_bytes_ + binding.matrix->columns.bytes();
  }
}

// Embedding, final norm and head. The vocabulary's size is the embedding's row count and must match the tokenizer's.
Status WeightLoader::bind_ends() {
  HyperParameters& hyper = model_.hyper;
  const gguf::TensorInfo* embedding = file_.find_tensor("token_embd.weight");
  if (embedding == nullptr) return {"MODEL_MISSING_TENSOR", "tensor token_embd.weight is missing"};
  const gguf::Value* tokens = file_.find("tokenizer.ggml.tokens");
  if (tokens == nullptr) return {"MODEL_BAD_METADATA", "tokenizer.ggml.tokens is missing"};
  if (embedding->dims[1] != tokens->count || embedding->dims[1] > INT32_MAX) {
    return {"MODEL_BAD_METADATA", "tokenizer.ggml.tokens: expected one token for each of the " +
                                      std::to_string(embedding->dims[1]) + " rows of token_embd.weight, got " +
                                      std::to_string(tokens->count)};
  }
  hyper.vocab_size = static_cast<uint32_t>(tokens->count);
  const bool tied = file_.find_tensor("output.weight") == nullptr;
  head_ = tied ? &model_.embedding : &model_.head;
  Status status = bind_matrix("token_embd", hyper.vocab_size, hyper.dim, false, model_.embedding);
  if (!status.ok()) return status;
  status = bind_vector("output_norm.weight", hyper.dim, true, model_.output_norm);
  if (!status.ok()) return status;
  return tied ? status : bind_matrix("output", hyper.vocab_size, hyper.dim, false, model_.head);
}

Status WeightLoader::bind(const Architecture& architecture) {
  Status status = bind_ends();
  if (!status.ok()) return status;
  const HyperParameters& hyper = model_.hyper;
  model_.layers.resize(hyper.n_layers);
  for (uint32_t l = 0; l < hyper.n_layers; ++l) {
    Layer& layer = model_.layers[l];
    layer.sliding = hyper.is_sliding(l);
    layer.steps.resize(architecture.layer.size());
    for (size_t i = 0; i < architecture.layer.size(); ++i) {
      const LayerStep& step = architecture.layer[i];
      status = bind_step(l, step, step.op == Op::kQkv && architecture.needs_qkv_bias, layer.steps[i]);
      if (!status.ok()) return status;
    }
  }
  if (const gguf::TensorInfo* factors = file_.find_tensor("rope_freqs.weight")) {
    const uint64_t n = hyper.rope_dim / 2;
    if (factors->type_id != static_cast<uint32_t>(base::TensorType::F32) || factors->dims[0] != n ||
        factors->rows() != 1) {
      return {"MODEL_BAD_SHAPE",
              "tensor rope_freqs.weight: expected F32 [" + std::to_string(n) + "], got " + shape_text(*factors)};
    }
    model_.rope_factors.resize(n);
    status = file_.read(factors->file, factors->offset_bytes, model_.rope_factors.data(), n * sizeof(float));
    if (!status.ok()) return status;
    for (float factor : model_.rope_factors) {
      if (!(factor > 0) || factor > 1e9f)
        return {"MODEL_NONFINITE", "tensor rope_freqs.weight: expected positive factors"};
    }
    used_.insert(factors);
  }
  place_columns();
  note_extra_tensors();
  return {};
}

void WeightLoader::note_extra_tensors() {
  uint64_t extra = 0;
  std::string first;
  for (const gguf::TensorInfo& info : file_.tensors()) {
    if (used_.contains(&info)) continue;
    if (extra++ == 0) first = info.name.substr(0, 64);
  }
  if (extra == 0) return;
  model_.warnings.push_back(std::to_string(extra) +
                            " tensors are not part of this architecture and were ignored, first: " + first);
}

Status WeightLoader::allocate() {
  if (!arena_bytes_.valid()) return {"E_OUT_OF_MEMORY", "the weights' total size overflows"};
  const uint64_t available = base::available_memory_bytes();
  if (available != 0 && arena_bytes_.value() > available) {
    return {"E_OUT_OF_MEMORY", "weights need " + std::to_string(arena_bytes_.value()) + " bytes, " +
                                   std::to_string(available) + " are available"};
  }
  model_.arena_ = base::AlignedBuffer(arena_bytes_.value());
  model_.arena_.prefer_huge_pages();
  if (model_.arena_.data() == nullptr) {
    return {"E_OUT_OF_MEMORY", "could not allocate " + std::to_string(arena_bytes_.value()) + " bytes for the weights"};
  }
  for (const Binding& binding : bindings_) {
    uint8_t* place = model_.arena_.data() + binding.offset;
    if (quant::Matrix* matrix = binding.matrix) {
      matrix->panels = place;
      if (matrix->columns.rows != 0) matrix->columns.groups = model_.arena_.data() + binding.columns_offset;
      if (matrix->low_panel_bytes != 0) quant::place_split(*matrix, place);
    }
    if (binding.vector != nullptr) *binding.vector = reinterpret_cast<const float*>(place);
  }
  if (model_.head.panels == nullptr) model_.head = model_.embedding;
  return {};
}

std::vector<WeightLoader::Chunk> WeightLoader::plan_chunks() const {
  std::vector<Chunk> chunks;
  for (const Binding& binding : bindings_) {
    const uint64_t rows = binding.info->rows();
    const uint64_t row_bytes = binding.info->size_bytes / rows;
    const uint64_t step_rows = rows_at_once(binding.matrix);
    const uint64_t step = std::max<uint64_t>(1, kReadBytes / (row_bytes * step_rows)) * step_rows;
    for (uint64_t row = 0; row < rows; row += step) chunks.push_back({&binding, row, std::min(rows, row + step)});
  }
  return chunks;
}

Status WeightLoader::check_finite(const gguf::TensorInfo& info, const uint8_t* rows, uint64_t row_begin,
                                  uint64_t n_rows) const {
  const auto type = static_cast<base::TensorType>(info.type_id);
  const uint64_t row_bytes = quant::row_bytes(type, info.dims[0]);
  for (uint64_t r = 0; r < n_rows; ++r) {
    const int64_t block = quant::find_nonfinite(type, rows + r * row_bytes, info.dims[0]);
    if (block < 0) continue;
    return {"MODEL_NONFINITE", "tensor " + info.name + ": NaN or infinity in row " + std::to_string(row_begin + r) +
                                   ", block " + std::to_string(block)};
  }
  return {};
}

Status WeightLoader::read_chunk(const Chunk& chunk, std::vector<uint8_t>& buffer) {
  const gguf::TensorInfo& info = *chunk.binding->info;
  const auto type = static_cast<base::TensorType>(info.type_id);
  const uint64_t k = info.dims[0];
  const uint64_t row_bytes = quant::row_bytes(type, k);
  const uint64_t n_rows = chunk.row_end - chunk.row_begin;
  if (buffer.size() < n_rows * row_bytes) buffer.resize(n_rows * row_bytes);
  Status status =
      file_.read(info.file, info.offset_bytes + chunk.row_begin * row_bytes, buffer.data(), n_rows * row_bytes);
  if (!status.ok()) return status;
  status = check_finite(info, buffer.data(), chunk.row_begin, n_rows);
  if (!status.ok()) return status;
  uint8_t* place = model_.arena_.data() + chunk.binding->offset;
  if (chunk.binding->vector != nullptr) {
    quant::dequantize_row(type, buffer.data(), k, reinterpret_cast<float*>(place));
    return {};
  }
  const quant::Matrix& matrix = *chunk.binding->matrix;
  if (matrix.columns.rows != 0) {
    quant::pack_columns(matrix.columns, buffer.data(), static_cast<uint32_t>(chunk.row_begin),
                        static_cast<uint32_t>(n_rows), model_.arena_.data() + chunk.binding->columns_offset);
  }
  const uint64_t packed_rows = matrix.tiled ? quant::kGroupRows : kernels::kPanelRows;
  for (uint64_t row = chunk.row_begin; row < chunk.row_end; row += packed_rows) {
    const auto n = static_cast<uint32_t>(std::min<uint64_t>(packed_rows, chunk.row_end - row));
    const uint8_t* rows = buffer.data() + (row - chunk.row_begin) * row_bytes;
    const uint64_t panel = row / kernels::kPanelRows;
    if (matrix.low != nullptr) {
      quant::pack_split_panel(rows, n, k, place + matrix.panel_offset(panel),
                              place + matrix.panel_bytes * matrix.n_panels() + matrix.low_panel_bytes * panel);
    } else if (matrix.tiled) {
      quant::pack_lut_tile(type, rows, n, k, place + matrix.panel_offset(panel));
    } else {
      quant::pack_panel(type, rows, n, k, place + matrix.panel_offset(panel));
    }
  }
  return {};
}

Status WeightLoader::read() {
  const std::vector<Chunk> chunks = plan_chunks();
  base::ThreadTeam team(options_.threads);
  std::vector<std::vector<uint8_t>> buffers(team.size());
  std::mutex mutex;
  Status first_failure;
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> done{0};
  auto fail = [&](Status status) {
    std::lock_guard lock(mutex);
    if (first_failure.ok()) first_failure = std::move(status);
    stop.store(true, std::memory_order_relaxed);
  };
  team.parallel_for(static_cast<uint32_t>(chunks.size()), [&](uint32_t i, int member) {
    if (stop.load(std::memory_order_relaxed)) return;
    if (options_.abort != nullptr && options_.abort->load(std::memory_order_relaxed) != 0) {
      return fail({"ABORTED", "the load was aborted"});
    }
    Status status;
    try {
      status = read_chunk(chunks[i], buffers[member]);
    } catch (const std::bad_alloc&) {
      status = {"E_OUT_OF_MEMORY", "could not allocate a read buffer"};
    }
    if (!status.ok()) return fail(std::move(status));
    const gguf::TensorInfo& info = *chunks[i].binding->info;
    done += info.size_bytes / info.rows() * (chunks[i].row_end - chunks[i].row_begin);
    if (member == 0 && options_.progress && !options_.progress(done.load(), model_.file_bytes)) {
      fail({"ABORTED", "the load was aborted"});
    }
  });
  if (!first_failure.ok()) return first_failure;
  return file_.check_unchanged();
}

Result<std::shared_ptr<const Model>> Model::load(std::shared_ptr<gguf::File> file, const LoadOptions& options) {
  auto architecture = find_architecture(*file);
  if (!architecture.ok()) return architecture.status();
  if (file->tensors().empty()) {
    return Status("MODEL_NO_WEIGHTS", file->paths().front() + " holds a vocabulary, but no weights");
  }
  auto hyper = read_hyper_parameters(*file, architecture.value());
  if (!hyper.ok()) return hyper.status();
  auto model = std::make_shared<Model>();
  model->hyper = std::move(hyper.value());
  model->file_bytes = file->total_bytes();
  WeightLoader loader(*file, options, *model);
  Status status = loader.bind(architecture.value());
  if (status.ok()) status = loader.allocate();
  if (status.ok()) status = loader.read();
  if (!status.ok()) return status;
  return std::shared_ptr<const Model>(std::move(model));
}

}  // namespace lutra::model
