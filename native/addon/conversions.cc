// A model file with its tensors in other types: the new bytes, in order.
#include <algorithm>

#include "addon/functions.h"
#include "conversion/conversion.h"

namespace lutra::addon {

namespace {

constexpr int64_t kMaxHandle = INT32_MAX;
constexpr int64_t kMaxElements = int64_t{1} << 53;

HandleTable<conversion::Conversion>& conversions() {
  static auto* table = new HandleTable<conversion::Conversion>("conversion");  // outlives every thread
  return *table;
}

std::shared_ptr<conversion::Conversion> conversion_of(const Arguments& arguments) {
  return conversions().get(arguments.integer(0, "handle", 0, kMaxHandle));
}

Napi::Value conversion_open(const Arguments& arguments) {
  const std::string path = arguments.text(0, "path");
  const auto types = arguments.int32_array(1, "types");
  conversion::Plan plan;
  plan.types.assign(types.data, types.data + types.length);
  plan.file_type = static_cast<uint32_t>(arguments.integer(2, "fileType", 0, INT32_MAX));
  plan.threads = static_cast<int>(arguments.integer(3, "threads", 1, 1024));
  const int32_t handle = conversions().add(unwrap(conversion::Conversion::open(path, plan)), environment_of(arguments));
  return Napi::Number::New(arguments.env(), handle);
}

Napi::Value conversion_header(const Arguments& arguments) {
  const auto conversion = conversion_of(arguments);
  const std::vector<uint8_t>& header = conversion->header();
  Napi::Uint8Array bytes = Napi::Uint8Array::New(arguments.env(), header.size());
  std::copy(header.begin(), header.end(), bytes.Data());
  return bytes;
}

Napi::Value conversion_offsets(const Arguments& arguments) {
  const auto conversion = conversion_of(arguments);
  Napi::Array offsets = Napi::Array::New(arguments.env());
  for (const gguf::TensorInfo& tensor : conversion->tensors()) {
    offsets.Set(offsets.Length(), static_cast<double>(tensor.offset_bytes));
  }
  offsets.Set(offsets.Length(), static_cast<double>(conversion->size_bytes()));
  return offsets;
}

Napi::Value conversion_convert(const Arguments& arguments) {
  const auto conversion = conversion_of(arguments);
  const auto last = static_cast<int64_t>(conversion->tensors().size()) - 1;
  const auto tensor = static_cast<size_t>(arguments.integer(1, "tensor", 0, last));
  const auto first = static_cast<uint64_t>(arguments.integer(2, "first", 0, kMaxElements));
  const auto count = static_cast<uint64_t>(arguments.integer(3, "count", 1, kMaxElements));
  const auto out = arguments.uint8_array(4, "out");
  const auto sums = arguments.double_array(5, "sums");
  const uint64_t elements = conversion->elements_of(tensor);
  constexpr uint64_t kUnit = conversion::Conversion::kUnit;
  if (first >= elements || count > elements - first || first % kUnit != 0 ||
      (count % kUnit != 0 && first + count != elements)) {
    throw WrongType{"count: expected whole units within the tensor"};
  }
  if (out.length < conversion->bytes_of(tensor, count)) throw WrongType{"out: expected room for the elements"};
  if (sums.length < 2) throw WrongType{"sums: expected a Float64Array of at least 2 elements"};
  conversion::Distance distance;
  throw_if_failed(conversion->convert(tensor, first, count, out.data, &distance));
  sums.data[0] += distance.error_squares;
  sums.data[1] += distance.squares;
  return Napi::Number::New(arguments.env(), static_cast<double>(conversion->bytes_of(tensor, count)));
}

Napi::Value conversion_check(const Arguments& arguments) {
  throw_if_failed(conversion_of(arguments)->check_unchanged());
  return arguments.env().Undefined();
}

Napi::Value conversion_release(const Arguments& arguments) {
  conversions().release(arguments.integer(0, "handle", 0, kMaxHandle));
  return arguments.env().Undefined();
}

}  // namespace

void release_conversions(const void* environment) { conversions().release_owned_by(environment); }

void export_conversions(Napi::Env env, Napi::Object exports) {
  exports.Set("conversionOpen", Napi::Function::New<guarded<conversion_open>>(env, "conversionOpen"));
  exports.Set("conversionHeader", Napi::Function::New<guarded<conversion_header>>(env, "conversionHeader"));
  exports.Set("conversionOffsets", Napi::Function::New<guarded<conversion_offsets>>(env, "conversionOffsets"));
  exports.Set("conversionConvert", Napi::Function::New<guarded<conversion_convert>>(env, "conversionConvert"));
  exports.Set("conversionCheck", Napi::Function::New<guarded<conversion_check>>(env, "conversionCheck"));
  exports.Set("conversionRelease", Napi::Function::New<guarded<conversion_release>>(env, "conversionRelease"));
}

}  // namespace lutra::addon
