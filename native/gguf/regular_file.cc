#include "gguf/regular_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <limits>
#include <system_error>
#include <utility>

#include "gguf/text.h"

namespace lutra::gguf {

// Header fields and weights are used as stored: GGUF is little-endian.
static_assert(std::endian::native == std::endian::little, "big-endian hosts are not supported");

namespace {

std::string system_message(int error) { return std::generic_category().message(error); }

const char* kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISSOCK(mode)) return "a socket";
  if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
  return "something else";
}

FileIdentity identity_of(const struct stat& info) {
#ifdef __APPLE__
  const struct timespec modified = info.st_mtimespec;
#else
  const struct timespec modified = info.st_mtim;
#endif
  return {static_cast<uint64_t>(info.st_dev), static_cast<uint64_t>(info.st_ino), static_cast<uint64_t>(info.st_size),
          static_cast<int64_t>(modified.tv_sec), static_cast<int64_t>(modified.tv_nsec)};
}

}  // namespace

std::string FileIdentity::text() const {
  return std::to_string(device) + ":" + std::to_string(inode) + ":" + std::to_string(size_bytes) + ":" +
         std::to_string(modified_seconds) + "." + std::to_string(modified_nanoseconds);
}

RegularFile::~RegularFile() { close(); }

RegularFile::RegularFile(RegularFile&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      missing_(other.missing_),
      identity_(other.identity_),
      path_(std::move(other.path_)) {}

RegularFile& RegularFile::operator=(RegularFile&& other) noexcept {
  if (this != &other) {
    close();
    descriptor_ = std::exchange(other.descriptor_, -1);
    missing_ = other.missing_;
    identity_ = other.identity_;
    path_ = std::move(other.path_);
  }
  return *this;
}

void RegularFile::close() noexcept {
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = -1;
}

base::Status RegularFile::open(const std::string& path) {
  close();
  path_ = path;
  missing_ = false;
  if (path.empty() || path.find('\0') != std::string::npos) {
    return {"E_IO", "path: expected a non-empty path without NUL, found " + quote(path)};
  }
  // O_NONBLOCK: opening a FIFO without a writer must fail or return at once. It has no effect on regular files.
  do {
    descriptor_ = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
  } while (descriptor_ < 0 && errno == EINTR);
  if (descriptor_ < 0) {
    const int error = errno;
    missing_ = error == ENOENT || error == ENOTDIR;
    return {"E_IO", "cannot open " + quote_path(path) + ": " + system_message(error)};
  }
  struct stat info{};
  if (::fstat(descriptor_, &info) != 0) {
    const int error = errno;
    close();
    return {"E_IO", "cannot inspect " + quote_path(path) + ": " + system_message(error)};
  }
  if (!S_ISREG(info.st_mode)) {
    close();
    return {"E_IO", quote_path(path) + ": expected a regular file, found " + kind_of(info.st_mode)};
  }
  identity_ = identity_of(info);
  return {};
}

base::Status RegularFile::current_identity(FileIdentity* out) const {
  struct stat info{};
  if (::fstat(descriptor_, &info) != 0) {
    return {"E_IO", "cannot inspect " + quote_path(path_) + ": " + system_message(errno)};
  }
  *out = identity_of(info);
  return {};
}

base::Status RegularFile::read(uint64_t offset, void* out, size_t size) const {
  // One system call moves at most 2^31 bytes; larger reads take several turns anyway.
  constexpr size_t kMaxRead = size_t{1} << 30;
  uint64_t end = 0;
  if (__builtin_add_overflow(offset, static_cast<uint64_t>(size), &end) ||
      end > static_cast<uint64_t>(std::numeric_limits<off_t>::max())) {
    return {"GGUF_TRUNCATED", quote_path(path_) + ": a read of " + std::to_string(size) + " bytes at " +
                                  std::to_string(offset) + " is beyond any file"};
  }
  auto* bytes = static_cast<uint8_t*>(out);
  size_t done = 0;
  while (done < size) {
    const size_t wanted = std::min(size - done, kMaxRead);
    const ssize_t got = ::pread(descriptor_, bytes + done, wanted, static_cast<off_t>(offset + done));
    if (got > 0) {
      done += static_cast<size_t>(got);
    } else if (got == 0) {
      return {"GGUF_TRUNCATED", quote_path(path_) + ": expected " + std::to_string(size) + " bytes at offset " +
                                    std::to_string(offset) + ", found " + std::to_string(done)};
    } else if (errno != EINTR) {
      return {"E_IO", "cannot read " + quote_path(path_) + ": " + system_message(errno)};
    }
  }
  return {};
}

}  // namespace lutra::gguf
