// An array with an unreadable page right before its first or right after its last element: any over-read crashes.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace lutra_test {

enum class Guard { kBefore, kAfter };

template <typename T>
class GuardedArray {
 public:
  GuardedArray(size_t count, Guard guard) : count_(count) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t body = (count * sizeof(T) + page - 1) / page * page + page;
    mapped_bytes_ = body + 2 * page;
    void* mapping = mmap(nullptr, mapped_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED) std::abort();
    mapping_ = static_cast<uint8_t*>(mapping);
    if (mprotect(mapping_ + page, body, PROT_READ | PROT_WRITE) != 0) std::abort();
    uint8_t* start = guard == Guard::kBefore ? mapping_ + page : mapping_ + page + body - count * sizeof(T);
    data_ = reinterpret_cast<T*>(start);
  }
  ~GuardedArray() { munmap(mapping_, mapped_bytes_); }
  GuardedArray(const GuardedArray&) = delete;
  GuardedArray& operator=(const GuardedArray&) = delete;

  T* data() { return data_; }
  T& operator[](size_t i) { return data_[i]; }
  size_t size() const { return count_; }
  void copy_from(const T* source) {
    if (count_ > 0) std::memcpy(data_, source, count_ * sizeof(T));
  }

 private:
  size_t count_;
  size_t mapped_bytes_;
  uint8_t* mapping_;
  T* data_;
};

}  // namespace lutra_test
