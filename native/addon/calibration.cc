// Calibration of activation sparsity: typed arrays in, plain objects out.
#include <algorithm>
#include <vector>

#include "addon/engine_entry.h"
#include "addon/functions.h"

namespace lutra::addon {

namespace {

template <typename Array, typename T>
Array array_of(Napi::Env env, const std::vector<T>& values) {
  Array array = Array::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

Napi::Object layer_object(Napi::Env env, const forward::LayerCalibration& layer) {
  Napi::Array sites = Napi::Array::New(env, forward::kSites);
  for (uint32_t site = 0; site < forward::kSites; ++site) {
    Napi::Object scores = Napi::Object::New(env);
    scores.Set("quantiles", array_of<Napi::Float32Array>(env, layer.sites[site].quantiles));
    scores.Set("frequencies", array_of<Napi::Uint8Array>(env, layer.sites[site].frequencies));
    sites.Set(site, scores);
  }
  std::vector<float> rows;
  for (const forward::AllocationRow& row : layer.rows) {
    rows.push_back(row.sparsity);
    rows.insert(rows.end(), row.keeps.begin(), row.keeps.end());
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("sites", sites);
  result.Set("allocation", array_of<Napi::Float32Array>(env, rows));
  return result;
}

Napi::Value engine_calibrate_sparsity(const Arguments& arguments) {
  const auto engine = engine_of(arguments);
  const auto pages = arguments.int32_array(1, "pages");
  const auto tokens = arguments.int32_array(2, "tokens");
  const Napi::Object object = arguments.object(3, "options");
  const Napi::Value step = object.Get("step");
  if (!step.IsNumber()) throw WrongType{"step: expected a number"};
  const auto aborts = array_property<int32_t>(object, "aborts", 1);
  const auto flag = integer_property(object, "abort", 0, static_cast<int64_t>(aborts.length) - 1);
  const forward::CalibrationOptions options{
      .window = static_cast<uint32_t>(integer_property(object, "window", 1, 1 << 20)),
      .step = step.As<Napi::Number>().FloatValue(),
      .abort = aborts.data + flag,
  };
  const Entry entry(*engine);
  const auto layers =
      unwrap(engine->calibrate_sparsity({pages.data, pages.length}, {tokens.data, tokens.length}, options));
  Napi::Array result = Napi::Array::New(arguments.env(), layers.size());
  for (uint32_t i = 0; i < layers.size(); ++i) result.Set(i, layer_object(arguments.env(), layers[i]));
  return result;
}

}  // namespace

void export_calibration(Napi::Env env, Napi::Object exports) {
  exports.Set("engineCalibrateSparsity",
              Napi::Function::New<guarded<engine_calibrate_sparsity>>(env, "engineCalibrateSparsity"));
}

}  // namespace lutra::addon
