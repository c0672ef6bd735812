// The one way to fail in native code: a static code (the same string the TypeScript error table lists) and a
// message that names the field, the expected and the found value. No exceptions cross a room's border.
#pragma once

#include <string>
#include <utility>
#include <variant>

namespace lutra::base {

class [[nodiscard]] Status {
 public:
  Status() = default;
  /// @param code a string literal, e.g. "GGUF_TRUNCATED"; it is kept by pointer.
  Status(const char* code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == nullptr; }
  const char* code() const { return code_ == nullptr ? "OK" : code_; }
  const std::string& message() const { return message_; }

 private:
  const char* code_ = nullptr;
  std::string message_;
};

/// A value, or the Status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}         // NOLINT: implicit by design
  Result(Status status) : state_(std::move(status)) {}  // NOLINT: implicit by design

  bool ok() const { return std::holds_alternative<T>(state_); }
  T& value() { return std::get<T>(state_); }
  const T& value() const { return std::get<T>(state_); }
  Status status() const { return ok() ? Status() : std::get<Status>(state_); }

 private:
  std::variant<T, Status> state_;
};

}  // namespace lutra::base
