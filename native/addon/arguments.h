// JavaScript arguments to checked C++ values, and failures back to JavaScript errors. Inside this room a failure is a
// C++ exception (Failure or WrongType); `guarded` turns every one into a JavaScript error, so none leaves the addon.
#pragma once

#include <napi.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/status.h"

namespace lutra::addon {

/// A failure with a code of the error table.
struct Failure {
  std::string code;
  std::string message;
};

/// A caller's mistake of type: becomes a TypeError.
struct WrongType {
  std::string message;
};

/// JavaScript already has a pending exception (a callback threw).
struct Pending {};

void throw_if_failed(const base::Status& status);
template <typename T>
T unwrap(base::Result<T> result) {
  if (!result.ok()) throw_if_failed(result.status());
  return std::move(result.value());
}

/// A typed array's memory. Valid for the current call only.
template <typename T>
struct ArrayView {
  T* data;
  size_t length;
};

/// Reads positional arguments by name; a missing or wrong one throws WrongType naming it.
class Arguments {
 public:
  explicit Arguments(const Napi::CallbackInfo& info) : info_(info) {}

  Napi::Env env() const { return info_.Env(); }
  int64_t integer(size_t index, const char* name, int64_t min, int64_t max) const;
  bool boolean(size_t index, const char* name) const;
  std::string text(size_t index, const char* name) const;
  Napi::Object object(size_t index, const char* name) const;
  ArrayView<uint8_t> uint8_array(size_t index, const char* name) const;
  ArrayView<int32_t> int32_array(size_t index, const char* name) const;
  ArrayView<float> float_array(size_t index, const char* name) const;
  ArrayView<double> double_array(size_t index, const char* name) const;
  /// undefined, which gives none, or an array of strings.
  std::vector<std::string> optional_texts(size_t index, const char* name) const;
  /// undefined or a function.
  Napi::Function optional_function(size_t index, const char* name) const;

 private:
  Napi::Value required(size_t index, const char* name, const char* expected) const;
  const Napi::CallbackInfo& info_;
};

/// Integer property of an object argument.
int64_t integer_property(const Napi::Object& object, const char* name, int64_t min, int64_t max);
/// Its property `isa`.
base::Isa isa_property(const Napi::Object& object);

template <typename T>
ArrayView<T> array_view(const Napi::Value& value, const char* name);
/// Array property of an object argument with at least `min_length` elements.
template <typename T>
ArrayView<T> array_property(const Napi::Object& object, const char* name, uint64_t min_length);

using Function = Napi::Value (*)(const Arguments&);

/// Runs `function` and turns whatever it throws into a JavaScript error.
Napi::Value run_guarded(const Napi::CallbackInfo& info, Function function);
template <Function function>
Napi::Value guarded(const Napi::CallbackInfo& info) {
  return run_guarded(info, function);
}

}  // namespace lutra::addon
