// Models: loading (blocking, in a worker), facts, and the kernel path of each tensor.
#include "addon/functions.h"
#include "base/cpu.h"
#include "cache/kv_cache.h"

namespace lutra::addon {

namespace {

constexpr int64_t kMaxHandle = INT32_MAX;

std::shared_ptr<const forward::LoadedModel> model_of(const Arguments& arguments) {
  return models().get(arguments.integer(0, "handle", 0, kMaxHandle));
}

model::TileChoice tile_choice(const Arguments& arguments, size_t index) {
  const std::vector<std::string> kinds = arguments.optional_texts(index, "tiles");
  return {.kinds = {kinds.begin(), kinds.end()}};
}

Napi::Value model_acquire(const Arguments& arguments) {
  const Napi::Env env = arguments.env();
  const std::string path = arguments.text(0, "path");
  const auto threads = static_cast<int>(arguments.integer(1, "threads", 1, 1024));
  const auto control = arguments.int32_array(2, "control");
  if (control.length < 1) throw WrongType{"control: expected an Int32Array of at least 1 element"};
  const Napi::Function on_progress = arguments.optional_function(3, "onProgress");
  bool callback_threw = false;
  model::LoadOptions options;
  options.threads = threads;
  options.tiles = tile_choice(arguments, 4);
  const std::vector<std::string> columns = arguments.optional_texts(5, "columns");
  options.columns = {columns.begin(), columns.end()};
  options.abort = reinterpret_cast<const std::atomic<int32_t>*>(control.data);
  if (!on_progress.IsEmpty()) {
    options.progress = [&](uint64_t done, uint64_t total) {
      on_progress.Call(
          {Napi::Number::New(env, static_cast<double>(done)), Napi::Number::New(env, static_cast<double>(total))});
      callback_threw = env.IsExceptionPending();
      return !callback_threw;
    };
  }
  auto loaded = forward::ModelRegistry::instance().acquire(path, options);
  if (callback_threw) throw Pending{};
  return Napi::Number::New(env, models().add(unwrap(std::move(loaded)), environment_of(arguments)));
}

Napi::Value model_share(const Arguments& arguments) {
  return Napi::Number::New(arguments.env(), models().add(model_of(arguments), environment_of(arguments)));
}

Napi::Value model_release(const Arguments& arguments) {
  models().release(arguments.integer(0, "handle", 0, kMaxHandle));
  return arguments.env().Undefined();
}

Napi::Value model_info(const Arguments& arguments) {
  const Napi::Env env = arguments.env();
  const auto loaded = model_of(arguments);
  const model::Model& model = *loaded->model;
  const model::HyperParameters& hyper = model.hyper;
  Napi::Object result = Napi::Object::New(env);
  result.Set("architecture", hyper.architecture);
  result.Set("name", hyper.name);
  result.Set("nLayers", hyper.n_layers);
  result.Set("nHeads", hyper.n_heads);
  result.Set("nKvHeads", hyper.n_kv_heads);
  result.Set("headDim", hyper.head_dim);
  result.Set("dim", hyper.dim);
  result.Set("qDim", hyper.q_dim);
  result.Set("kvDim", hyper.kv_dim);
  result.Set("hiddenDim", hyper.hidden_dim);
  result.Set("vocabSize", hyper.vocab_size);
  result.Set("contextLength", hyper.context_length);
  result.Set("pooling", hyper.pooling);
  result.Set("fileBytes", static_cast<double>(model.file_bytes));
  result.Set("weightBytes", static_cast<double>(model.weight_bytes()));
  result.Set("screenedBytes", static_cast<double>(model.head.low_bytes()));
  const auto bytes_per_token = [&](cache::KvType type) {
    const cache::KvShape shape{hyper.n_layers, hyper.n_kv_heads, hyper.head_dim, 0, type};
    return Napi::Number::New(env, static_cast<double>(cache::KvCache::bytes_per_token(shape)));
  };
  Napi::Object kv_bytes = Napi::Object::New(env);
  kv_bytes.Set("f16", bytes_per_token(cache::KvType::kF16));
  kv_bytes.Set("q8_0", bytes_per_token(cache::KvType::kQ8_0));
  result.Set("kvBytesPerToken", kv_bytes);
  Napi::Array warnings = Napi::Array::New(env);
  for (const std::string& warning : model.warnings) warnings.Set(warnings.Length(), warning);
  result.Set("warnings", warnings);
  return result;
}

Napi::Value model_tokenizer(const Arguments& arguments) {
  const auto loaded = model_of(arguments);
  return Napi::Number::New(arguments.env(), vocabularies().add(loaded->vocabulary, environment_of(arguments)));
}

Napi::Value model_tensors(const Arguments& arguments) {
  const Napi::Env env = arguments.env();
  const auto loaded = model_of(arguments);
  Napi::Array tensors = Napi::Array::New(env);
  for (const model::TensorReport& report : loaded->model->report) {
    Napi::Object tensor = Napi::Object::New(env);
    tensor.Set("name", report.name);
    tensor.Set("type", base::tensor_type_traits(report.type).name);
    tensor.Set("rows", report.rows);
    tensor.Set("cols", report.k);
    tensor.Set("kernel", report.tiled ? "lut" : "dot");
    tensor.Set("packedBytes", static_cast<double>(report.packed_bytes));
    tensor.Set("columnBytes", static_cast<double>(report.column_bytes));
    tensors.Set(tensors.Length(), tensor);
  }
  return tensors;
}

}  // namespace

void export_models(Napi::Env env, Napi::Object exports) {
  exports.Set("modelAcquire", Napi::Function::New<guarded<model_acquire>>(env, "modelAcquire"));
  exports.Set("modelShare", Napi::Function::New<guarded<model_share>>(env, "modelShare"));
  exports.Set("modelRelease", Napi::Function::New<guarded<model_release>>(env, "modelRelease"));
  exports.Set("modelInfo", Napi::Function::New<guarded<model_info>>(env, "modelInfo"));
  exports.Set("modelTokenizer", Napi::Function::New<guarded<model_tokenizer>>(env, "modelTokenizer"));
  exports.Set("modelTensors", Napi::Function::New<guarded<model_tensors>>(env, "modelTensors"));
}

}  // namespace lutra::addon
