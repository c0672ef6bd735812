#include "gguf/header_cursor.h"

#include <algorithm>
#include <utility>

namespace lutra::gguf {

HeaderCursor::HeaderCursor(const RegularFile& file) : file_(file) {
  window_.resize(static_cast<size_t>(std::min<uint64_t>(kWindowBytes, file.size_bytes())));
}

bool HeaderCursor::fail(const char* code, std::string message) {
  if (status_.ok()) status_ = base::Status(code, std::move(message));
  window_start_ = position();
  used_ = filled_ = 0;  // later fast-path reads must fail too
  return false;
}

bool HeaderCursor::refill(const char* what) {
  const uint64_t start = position();
  if (start >= kMaxHeaderBytes) {
    return fail("GGUF_BAD_VALUE", std::string(what) + ": expected a header of at most " +
                                      std::to_string(kMaxHeaderBytes) + " bytes, found a longer one");
  }
  const size_t size = static_cast<size_t>(std::min<uint64_t>(window_.size(), left()));
  base::Status read = file_.read(start, window_.data(), size);
  window_start_ = start;
  used_ = filled_ = 0;
  if (!read.ok()) return fail(read.code(), std::string(what) + ": " + read.message());
  filled_ = size;
  return true;
}

bool HeaderCursor::read_bytes(void* out, uint64_t size, const char* what) {
  if (!ok()) return false;
  if (size > left()) {
    return fail("GGUF_TRUNCATED", std::string(what) + ": expected " + std::to_string(size) + " bytes at offset " +
                                      std::to_string(position()) + ", found " + std::to_string(left()) +
                                      " left in the file (incomplete download?)");
  }
  auto* bytes = static_cast<uint8_t*>(out);
  while (size > 0) {
    if (used_ == filled_ && !refill(what)) return false;
    const size_t now = static_cast<size_t>(std::min<uint64_t>(size, filled_ - used_));
    std::memcpy(bytes, window_.data() + used_, now);
    bytes += now;
    used_ += now;
    size -= now;
  }
  return true;
}

bool HeaderCursor::read_string(std::string* out, uint64_t max_bytes, const char* what) {
  uint64_t size = 0;
  if (!read(&size, what)) return false;
  if (size > max_bytes) {
    return fail("GGUF_BAD_VALUE", std::string(what) + ": expected a length of at most " + std::to_string(max_bytes) +
                                      " bytes, found " + std::to_string(size) + " at offset " +
                                      std::to_string(position() - sizeof(size)));
  }
  if (filled_ - used_ >= size) {
    out->assign(reinterpret_cast<const char*>(window_.data() + used_), static_cast<size_t>(size));
    used_ += static_cast<size_t>(size);
    return true;
  }
  if (size > left()) return read_bytes(nullptr, size, what);  // reports the truncation
  out->resize(static_cast<size_t>(size));
  return read_bytes(out->data(), size, what);
}

}  // namespace lutra::gguf
