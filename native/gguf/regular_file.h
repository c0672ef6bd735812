// A read-only regular file behind a descriptor: the only platform calls of this room.
//
// Contract: open never blocks (a FIFO, socket, directory or device is refused), reads are positional, so one object
// serves many threads, and an end of file is told apart from a failure. Nothing is ever mapped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/status.h"

namespace lutra::gguf {

/// What makes two files the same bytes.
struct FileIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  uint64_t size_bytes = 0;
  int64_t modified_seconds = 0;
  int64_t modified_nanoseconds = 0;
  bool operator==(const FileIdentity&) const = default;
  std::string text() const;
};

class RegularFile {
 public:
  RegularFile() = default;
  ~RegularFile();
  RegularFile(RegularFile&& other) noexcept;
  RegularFile& operator=(RegularFile&& other) noexcept;
  RegularFile(const RegularFile&) = delete;
  RegularFile& operator=(const RegularFile&) = delete;

  /// E_IO when the path cannot be opened or is not a regular file.
  base::Status open(const std::string& path);
  /// True after an open that failed because nothing is there.
  bool missing() const { return missing_; }
  uint64_t size_bytes() const { return identity_.size_bytes; }
  const FileIdentity& identity() const { return identity_; }
  /// Identity the file has now.
  base::Status current_identity(FileIdentity* out) const;
  /// Exactly `size` bytes; GGUF_TRUNCATED at the end of the file, E_IO when the system fails.
  base::Status read(uint64_t offset, void* out, size_t size) const;

 private:
  void close() noexcept;
  int descriptor_ = -1;
  bool missing_ = false;
  FileIdentity identity_;
  std::string path_;
};

}  // namespace lutra::gguf
