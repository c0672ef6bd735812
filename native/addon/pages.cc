// K/V pages of an engine: copied inside its arena, read out of it and written back. The cache checks ids and lengths.
#include <algorithm>

#include "addon/engine_entry.h"
#include "addon/functions.h"

namespace lutra::addon {

namespace {

constexpr int64_t kMaxPositions = int64_t{1} << 31;

Napi::Value engine_copy_pages(const Arguments& arguments) {
  const auto engine = engine_of(arguments);
  const auto pairs = arguments.int32_array(1, "pairs");
  const Entry entry(*engine);
  throw_if_failed(engine->copy_pages({pairs.data, pairs.length}));
  return arguments.env().Undefined();
}

Napi::Value engine_read_pages(const Arguments& arguments) {
  const auto engine = engine_of(arguments);
  const auto pages = arguments.int32_array(1, "pages");
  const auto positions = static_cast<uint64_t>(arguments.integer(2, "positions", 0, kMaxPositions));
  const auto out = arguments.uint8_array(3, "out");
  const Entry entry(*engine);
  throw_if_failed(engine->cache().read_pages({pages.data, pages.length}, positions, {out.data, out.length}));
  return arguments.env().Undefined();
}

Napi::Value engine_write_pages(const Arguments& arguments) {
  const auto engine = engine_of(arguments);
  const auto pages = arguments.int32_array(1, "pages");
  const auto bytes = arguments.uint8_array(2, "bytes");
  const Entry entry(*engine);
  throw_if_failed(engine->write_pages({pages.data, pages.length}, {bytes.data, bytes.length}));
  return arguments.env().Undefined();
}

Napi::Value engine_train_codebooks(const Arguments& arguments) {
  const auto engine = engine_of(arguments);
  const auto pages = arguments.int32_array(1, "pages");
  const auto positions = static_cast<uint32_t>(arguments.integer(2, "positions", 0, kMaxPositions));
  const Napi::Object object = arguments.object(3, "options");
  const int64_t d_sub = integer_property(object, "dSub", 1, 4);
  if (d_sub == 3) throw WrongType{"dSub: expected 1, 2 or 4"};
  const int64_t outliers = integer_property(object, "outliers", 0, kernels::kMaxOutliers);
  if (outliers % 2 != 0) throw WrongType{"outliers: expected an even number"};
  const forward::TrainingOptions options{
      .d_sub = static_cast<uint32_t>(d_sub),
      .n_outliers = static_cast<uint32_t>(outliers),
      .spread = object.Get("spread").ToBoolean(),
      .context = static_cast<uint32_t>(integer_property(object, "contextSize", 1, kMaxPositions))};
  const Entry entry(*engine);
  const auto trained = unwrap(engine->train_codebooks({pages.data, pages.length}, positions, options));
  Napi::Uint8Array bytes = Napi::Uint8Array::New(arguments.env(), trained.size());
  std::copy(trained.begin(), trained.end(), bytes.Data());
  return bytes;
}

}  // namespace

void export_pages(Napi::Env env, Napi::Object exports) {
  exports.Set("engineCopyPages", Napi::Function::New<guarded<engine_copy_pages>>(env, "engineCopyPages"));
  exports.Set("engineReadPages", Napi::Function::New<guarded<engine_read_pages>>(env, "engineReadPages"));
  exports.Set("engineWritePages", Napi::Function::New<guarded<engine_write_pages>>(env, "engineWritePages"));
  exports.Set("engineTrainCodebooks",
              Napi::Function::New<guarded<engine_train_codebooks>>(env, "engineTrainCodebooks"));
}

}  // namespace lutra::addon
