// Reads a header front to back through one bounded window, so that a vocabulary of 262,144 strings costs a few dozen
// system calls and no file can make the reader buffer more than kWindowBytes at a time.
//
// Contract: the first failure sticks; every later read returns false and leaves its target unchanged or partly
// written. Lengths are compared with what is left of the file before anything is allocated for them.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "base/status.h"
#include "gguf/regular_file.h"

namespace lutra::gguf {

/// No key or tensor name is longer.
constexpr uint64_t kMaxKeyBytes = uint64_t{64} << 10;
/// No metadata value (string, or all elements of an array as stored) is longer.
constexpr uint64_t kMaxValueBytes = uint64_t{64} << 20;
/// No header is longer: bounds what a sparse file can make the process allocate.
constexpr uint64_t kMaxHeaderBytes = uint64_t{128} << 20;

class HeaderCursor {
 public:
  explicit HeaderCursor(const RegularFile& file);

  uint64_t position() const { return window_start_ + used_; }
  uint64_t left() const { return file_.size_bytes() - position(); }
  bool ok() const { return status_.ok(); }
  const base::Status& status() const { return status_; }
  /// Records the first failure; always false, so that callers can return it.
  bool fail(const char* code, std::string message);

  /// `size` bytes into `out`; `what` names the field in the message.
  bool read_bytes(void* out, uint64_t size, const char* what);

  template <typename T>
  bool read(T* out, const char* what) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (filled_ - used_ >= sizeof(T)) {
      std::memcpy(out, window_.data() + used_, sizeof(T));
      used_ += sizeof(T);
      return true;
    }
    return read_bytes(out, sizeof(T), what);
  }

  /// A length-prefixed string of at most `max_bytes`.
  bool read_string(std::string* out, uint64_t max_bytes, const char* what);

 private:
  static constexpr size_t kWindowBytes = size_t{256} << 10;
  bool refill(const char* what);
  const RegularFile& file_;
  std::vector<uint8_t> window_;
  uint64_t window_start_ = 0;  // file offset of window_[0]
  size_t used_ = 0;            // bytes of the window already handed out
  size_t filled_ = 0;          // bytes of the window that hold file content; 0 after a failure
  base::Status status_;
};

}  // namespace lutra::gguf
