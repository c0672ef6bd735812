// inspectFile: what a model file holds, without loading it.
#include "addon/functions.h"
#include "base/tensor_type.h"
#include "gguf/gguf.h"

namespace lutra::addon {

namespace {

Napi::Value metadata_value(Napi::Env env, const gguf::Value& value) {
  using gguf::ValueType;
  switch (value.type) {
    case ValueType::kString: return Napi::String::New(env, value.text);
    case ValueType::kBool: return Napi::Boolean::New(env, value.u != 0);
    case ValueType::kF32:
    case ValueType::kF64: return Napi::Number::New(env, value.f);
    case ValueType::kI8:
    case ValueType::kI16:
    case ValueType::kI32:
    case ValueType::kI64: return Napi::Number::New(env, static_cast<double>(value.i));
    case ValueType::kArray: {
      Napi::Object summary = Napi::Object::New(env);
      summary.Set("type", gguf::value_type_name(value.element_type));
      summary.Set("length", static_cast<double>(value.count));
      return summary;
    }
    default: return Napi::Number::New(env, static_cast<double>(value.u));
  }
}

Napi::Object tensor_value(Napi::Env env, const gguf::TensorInfo& info) {
  const auto& traits = base::tensor_type_traits(info.type_id);
  Napi::Object tensor = Napi::Object::New(env);
  tensor.Set("name", info.name);
  tensor.Set("type", traits.name == nullptr ? "unknown" : traits.name);
  tensor.Set("typeId", info.type_id);
  Napi::Array shape = Napi::Array::New(env, info.n_dims);
  for (uint32_t i = 0; i < info.n_dims; ++i) shape.Set(i, static_cast<double>(info.dims[i]));
  tensor.Set("shape", shape);
  tensor.Set("sizeBytes", static_cast<double>(info.size_bytes));
  tensor.Set("offsetBytes", static_cast<double>(info.offset_bytes));
  tensor.Set("supported", traits.supported);
  return tensor;
}

Napi::Value inspect_file(const Arguments& arguments) {
  const Napi::Env env = arguments.env();
  const auto file = unwrap(gguf::File::open(arguments.text(0, "path")));
  Napi::Object result = Napi::Object::New(env);
  result.Set("version", file->version());
  result.Set("alignment", file->alignment());
  result.Set("sizeBytes", static_cast<double>(file->total_bytes()));
  Napi::Array paths = Napi::Array::New(env);
  for (const std::string& path : file->paths()) paths.Set(paths.Length(), path);
  result.Set("paths", paths);
  // A null prototype: a key may be "__proto__".
  Napi::Object metadata = env.Global()
                              .Get("Object")
                              .As<Napi::Object>()
                              .Get("create")
                              .As<Napi::Function>()
                              .Call({env.Null()})
                              .As<Napi::Object>();
  for (const auto& [key, value] : file->metadata()) metadata.Set(key, metadata_value(env, value));
  result.Set("metadata", metadata);
  Napi::Array tensors = Napi::Array::New(env, file->tensors().size());
  uint32_t i = 0;
  for (const gguf::TensorInfo& info : file->tensors()) tensors.Set(i++, tensor_value(env, info));
  result.Set("tensors", tensors);
  return result;
}

}  // namespace

void export_files(Napi::Env env, Napi::Object exports) {
  exports.Set("inspectFile", Napi::Function::New<guarded<inspect_file>>(env, "inspectFile"));
}

}  // namespace lutra::addon
