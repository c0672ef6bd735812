#include "base/aligned_buffer.h"

#include <cstdlib>
#include <cstring>
#include <utility>

#if defined(__linux__) || defined(__APPLE__)
#include <sys/mman.h>
#define LUTRA_HAVE_MMAP 1
#endif

namespace lutra::base {

namespace {
constexpr size_t kAlignment = 64;
constexpr size_t kMapFromBytes = 1 << 20;
}  // namespace

AlignedBuffer::AlignedBuffer(size_t size_bytes) {
  if (size_bytes == 0) return;
#if LUTRA_HAVE_MMAP
  if (size_bytes >= kMapFromBytes) {
    void* mapping = mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED) return;
    data_ = static_cast<uint8_t*>(mapping);
    size_bytes_ = size_bytes;
    mapped_ = true;
    return;
  }
#endif
  if (size_bytes > SIZE_MAX - kAlignment) return;
  const size_t rounded = (size_bytes + kAlignment - 1) / kAlignment * kAlignment;
#if defined(_WIN32)
  data_ = static_cast<uint8_t*>(_aligned_malloc(rounded, kAlignment));
#else
  data_ = static_cast<uint8_t*>(std::aligned_alloc(kAlignment, rounded));
#endif
  if (data_ == nullptr) return;
  std::memset(data_, 0, rounded);
  size_bytes_ = size_bytes;
}

void AlignedBuffer::prefer_huge_pages() {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (mapped_) (void)madvise(data_, size_bytes_, MADV_HUGEPAGE);
#endif
}

AlignedBuffer::~AlignedBuffer() { release(); }

AlignedBuffer::AlignedBuffer(AlignedBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)),
      mapped_(std::exchange(other.mapped_, false)) {}

AlignedBuffer& AlignedBuffer::operator=(AlignedBuffer&& other) noexcept {
  if (this != &other) {
    release();
    data_ = std::exchange(other.data_, nullptr);
    size_bytes_ = std::exchange(other.size_bytes_, 0);
    mapped_ = std::exchange(other.mapped_, false);
  }
  return *this;
}

void AlignedBuffer::release() noexcept {
  if (data_ == nullptr) return;
#if LUTRA_HAVE_MMAP
  if (mapped_) {
    munmap(data_, size_bytes_);
    data_ = nullptr;
    return;
  }
#endif
#if defined(_WIN32)
  _aligned_free(data_);
#else
  std::free(data_);
#endif
  data_ = nullptr;
}

}  // namespace lutra::base
