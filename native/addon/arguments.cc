#include "addon/arguments.h"

#include <cmath>
#include <new>

namespace lutra::addon {

namespace {

template <typename T>
constexpr napi_typedarray_type kArrayType = napi_uint8_array;
template <>
constexpr napi_typedarray_type kArrayType<int32_t> = napi_int32_array;
template <>
constexpr napi_typedarray_type kArrayType<float> = napi_float32_array;
template <>
constexpr napi_typedarray_type kArrayType<double> = napi_float64_array;

template <typename T>
constexpr const char* kArrayName = "a Uint8Array";
template <>
constexpr const char* kArrayName<int32_t> = "an Int32Array";
template <>
constexpr const char* kArrayName<float> = "a Float32Array";
template <>
constexpr const char* kArrayName<double> = "a Float64Array";

int64_t checked_integer(const Napi::Value& value, const char* name, int64_t min, int64_t max) {
  const std::string expected = "an integer in [" + std::to_string(min) + ", " + std::to_string(max) + "]";
  if (!value.IsNumber()) throw WrongType{std::string(name) + ": expected " + expected};
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= static_cast<double>(min) && number <= static_cast<double>(max)) || number != std::trunc(number)) {
    throw WrongType{std::string(name) + ": expected " + expected + ", got " + std::to_string(number)};
  }
  return static_cast<int64_t>(number);
}

void throw_error(Napi::Env env, const std::string& code, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", Napi::String::New(env, code));
  error.ThrowAsJavaScriptException();
}

}  // namespace

void throw_if_failed(const base::Status& status) {
  if (!status.ok()) throw Failure{status.code(), status.message()};
}

Napi::Value Arguments::required(size_t index, const char* name, const char* expected) const {
  if (index >= info_.Length()) throw WrongType{std::string(name) + ": expected " + expected + ", got nothing"};
  return info_[index];
}

int64_t Arguments::integer(size_t index, const char* name, int64_t min, int64_t max) const {
  return checked_integer(required(index, name, "an integer"), name, min, max);
}

bool Arguments::boolean(size_t index, const char* name) const {
  const Napi::Value value = required(index, name, "a boolean");
  if (!value.IsBoolean()) throw WrongType{std::string(name) + ": expected a boolean"};
  return value.As<Napi::Boolean>().Value();
}

std::string Arguments::text(size_t index, const char* name) const {
  const Napi::Value value = required(index, name, "a string");
  if (!value.IsString()) throw WrongType{std::string(name) + ": expected a string"};
  return value.As<Napi::String>().Utf8Value();
}

Napi::Object Arguments::object(size_t index, const char* name) const {
  const Napi::Value value = required(index, name, "an object");
  if (!value.IsObject()) throw WrongType{std::string(name) + ": expected an object"};
  return value.As<Napi::Object>();
}

std::vector<std::string> Arguments::optional_texts(size_t index, const char* name) const {
  std::vector<std::string> texts;
  if (index >= info_.Length() || info_[index].IsUndefined()) return texts;
  const WrongType wrong = {std::string(name) + ": expected an array of strings or undefined"};
  if (!info_[index].IsArray()) throw wrong;
  const auto array = info_[index].As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Value value = array.Get(i);
    if (!value.IsString()) throw wrong;
    texts.push_back(value.As<Napi::String>().Utf8Value());
  }
  return texts;
}

Napi::Function Arguments::optional_function(size_t index, const char* name) const {
  if (index >= info_.Length() || info_[index].IsUndefined()) return Napi::Function();
  if (!info_[index].IsFunction()) throw WrongType{std::string(name) + ": expected a function or undefined"};
  return info_[index].As<Napi::Function>();
}

int64_t integer_property(const Napi::Object& object, const char* name, int64_t min, int64_t max) {
  return checked_integer(object.Get(name), name, min, max);
}

base::Isa isa_property(const Napi::Object& object) {
  const Napi::Value value = object.Get("isa");
  const std::string name = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  for (const base::Isa isa : {base::Isa::kScalar, base::Isa::kAvx2, base::Isa::kAvx512, base::Isa::kNeon}) {
    if (name == base::isa_name(isa)) return isa;
  }
  throw WrongType{"isa: expected \"scalar\", \"avx2\", \"avx512\" or \"neon\""};
}

template <typename T>
ArrayView<T> array_view(const Napi::Value& value, const char* name) {
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  // Not through Napi::TypedArray, whose constructor asks for an ArrayBuffer: the arrays may stand on shared memory.
  if (!value.IsTypedArray() ||
      napi_get_typedarray_info(value.Env(), value, &type, &length, &data, nullptr, nullptr) != napi_ok ||
      type != kArrayType<T>) {
    throw WrongType{std::string(name) + ": expected " + kArrayName<T>};
  }
  return {static_cast<T*>(data), data == nullptr ? 0 : length};
}

template <typename T>
ArrayView<T> array_property(const Napi::Object& object, const char* name, uint64_t min_length) {
  const ArrayView<T> view = array_view<T>(object.Get(name), name);
  if (view.length < min_length) {
    throw WrongType{std::string(name) + ": expected at least " + std::to_string(min_length) + " elements, got " +
                    std::to_string(view.length)};
  }
  return view;
}

ArrayView<uint8_t> Arguments::uint8_array(size_t index, const char* name) const {
  return array_view<uint8_t>(required(index, name, "a Uint8Array"), name);
}

ArrayView<int32_t> Arguments::int32_array(size_t index, const char* name) const {
  return array_view<int32_t>(required(index, name, "an Int32Array"), name);
}

ArrayView<float> Arguments::float_array(size_t index, const char* name) const {
  return array_view<float>(required(index, name, "a Float32Array"), name);
}

ArrayView<double> Arguments::double_array(size_t index, const char* name) const {
  return array_view<double>(required(index, name, "a Float64Array"), name);
}

template ArrayView<uint8_t> array_view(const Napi::Value&, const char*);
template ArrayView<int32_t> array_view(const Napi::Value&, const char*);
template ArrayView<float> array_view(const Napi::Value&, const char*);
template ArrayView<double> array_view(const Napi::Value&, const char*);
template ArrayView<uint8_t> array_property(const Napi::Object&, const char*, uint64_t);
template ArrayView<int32_t> array_property(const Napi::Object&, const char*, uint64_t);
template ArrayView<float> array_property(const Napi::Object&, const char*, uint64_t);

Napi::Value run_guarded(const Napi::CallbackInfo& info, Function function) {
  const Napi::Env env = info.Env();
  try {
    return function(Arguments(info));
  } catch (const WrongType& wrong) {
    if (!env.IsExceptionPending()) Napi::TypeError::New(env, wrong.message).ThrowAsJavaScriptException();
  } catch (const Failure& failure) {
    throw_error(env, failure.code, failure.message);
  } catch (const Pending&) {
    // the callback's own exception goes on
  } catch (const std::bad_alloc&) {
    throw_error(env, "E_OUT_OF_MEMORY", "native code could not allocate memory");
  } catch (const std::exception& error) {
    throw_error(env, "INTERNAL", std::string("native code failed: ") + error.what());
  } catch (...) {
    throw_error(env, "INTERNAL", "native code failed");
  }
  return env.Undefined();
}

}  // namespace lutra::addon
