// Owning, 64-byte aligned, zero-filled memory. Large buffers are anonymous mappings, so pages nobody touches cost
// nothing; a failed allocation leaves an empty buffer instead of throwing.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lutra::base {

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  /// @param size_bytes wanted size; check `data() != nullptr` (or size_bytes == 0) afterwards.
  explicit AlignedBuffer(size_t size_bytes);
  ~AlignedBuffer();
  AlignedBuffer(AlignedBuffer&& other) noexcept;
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept;
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;

  uint8_t* data() { return data_; }
  const uint8_t* data() const { return data_; }
  size_t size_bytes() const { return size_bytes_; }
  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(data_);
  }
  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(data_);
  }

 private:
  void release() noexcept;
  uint8_t* data_ = nullptr;
  size_t size_bytes_ = 0;
  bool mapped_ = false;
};

}  // namespace lutra::base
