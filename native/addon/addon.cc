// The addon's table of contents: every exported function by subject, and the cleanup of an environment that ends.
#include <napi.h>

#include "addon/functions.h"

namespace lutra::addon {

namespace {

/// Raised whenever a signature in lib/binding/native.ts changes; the loader compares the two.
constexpr int kAbiVersion = 7;

}  // namespace

HandleTable<const forward::LoadedModel>& models() {
  static auto* table = new HandleTable<const forward::LoadedModel>("model");  // outlives every thread
  return *table;
}

HandleTable<const forward::Vocabulary>& vocabularies() {
  static auto* table = new HandleTable<const forward::Vocabulary>("tokenizer");
  return *table;
}

HandleTable<forward::Engine>& engines() {
  static auto* table = new HandleTable<forward::Engine>("engine");
  return *table;
}

const void* environment_of(const Arguments& arguments) { return static_cast<napi_env>(arguments.env()); }

void release_environment(const void* environment) {
  engines().release_owned_by(environment);
  release_conversions(environment);
  models().release_owned_by(environment);
  vocabularies().release_owned_by(environment);
}

namespace {

Napi::Value counters(const Arguments& arguments) {
  uint64_t bytes = 0;
  // Handles may share a model; its weights count once a handle holds it, whichever.
  std::unordered_map<const void*, uint64_t> weights;
  models().for_each(
      [&](const forward::LoadedModel& loaded) { weights[loaded.model.get()] = loaded.model->weight_bytes(); });
  engines().for_each([&](const forward::Engine& engine) {
    weights[&engine.model()] = engine.model().weight_bytes();
    bytes += engine.kv_bytes() + engine.scratch_bytes();
  });
  for (const auto& [model, size] : weights) bytes += size;
  Napi::Object result = Napi::Object::New(arguments.env());
  result.Set("models", static_cast<double>(models().size()));
  result.Set("tokenizers", static_cast<double>(vocabularies().size()));
  result.Set("engines", static_cast<double>(engines().size()));
  result.Set("bytes", static_cast<double>(bytes));
  return result;
}

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  exports.Set("abiVersion", kAbiVersion);
  export_machine(env, exports);
  export_files(env, exports);
  export_tokenizers(env, exports);
  export_models(env, exports);
  export_engines(env, exports);
  export_calibration(env, exports);
  export_pages(env, exports);
  export_conversions(env, exports);
  exports.Set("counters", Napi::Function::New<guarded<counters>>(env, "counters"));
  napi_add_env_cleanup_hook(
      env, [](void* environment) { release_environment(environment); }, static_cast<napi_env>(env));
  return exports;
}

}  // namespace

NODE_API_MODULE(lutra, initialize)

}  // namespace lutra::addon
