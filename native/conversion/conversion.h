// A model file with its tensors in other types, as a stream: the new header, then each tensor's bytes, a stretch at a
// time.
//
// Memory: the header and a fixed scratch for each thread, whatever the sizes of the tensors. The stretches of a tensor
// are shared out to a team of threads; the bytes are the same for any number of them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/status.h"
#include "base/tensor_type.h"
#include "base/thread_team.h"
#include "gguf/gguf.h"

namespace lutra::conversion {

/// A tensor keeps its type, and then its bytes, or gets one that quant::can_encode.
struct Plan {
  std::vector<uint32_t> types;  ///< GGUF type id of each tensor, in the file's order
  uint32_t file_type;           ///< general.file_type
  int threads;
};

/// How far the new values are from the old ones: sums over the elements of a stretch.
struct Distance {
  double error_squares = 0;
  double squares = 0;
};

class Conversion {
 public:
  /// Stretches start at multiples of it.
  static constexpr uint64_t kUnit = 256;

  /// Codes of gguf::File::open; MODEL_CHANGED when the file does not have plan.types.size() tensors,
  /// MODEL_UNSUPPORTED_TYPE for a type that cannot be read or written, GGUF_BAD_TENSOR for rows that are not whole
  /// blocks of the new type, E_OUT_OF_MEMORY.
  static base::Result<std::shared_ptr<Conversion>> open(const std::string& path, const Plan& plan);

  /// Everything before the first tensor. Metadata as in the source, but for the file's type and what says it is split.
  const std::vector<uint8_t>& header() const { return header_; }
  /// Of the new file, padding after the last tensor included.
  uint64_t size_bytes() const;
  /// As they will be in the new file.
  const std::vector<gguf::TensorInfo>& tensors() const { return tensors_; }

  /// The new bytes of elements [first, first + count) of a tensor; both are multiples of kUnit, but for the tensor's
  /// end. MODEL_NONFINITE for NaN or infinity, MODEL_OUT_OF_RANGE for what the new type cannot hold, GGUF_TRUNCATED,
  /// E_IO. One call at a time.
  base::Status convert(size_t tensor, uint64_t first, uint64_t count, uint8_t* out, Distance* distance);
  /// Bytes that many elements of a tensor take in the new file.
  uint64_t bytes_of(size_t tensor, uint64_t count) const;
  uint64_t elements_of(size_t tensor) const;

  base::Status check_unchanged() const { return file_->check_unchanged(); }

 private:
  struct Slice;
  Conversion(std::shared_ptr<gguf::File> file, int threads) : file_(std::move(file)), team_(threads) {}
  base::Status prepare(const Plan& plan);
  base::Status check_tensor(const gguf::TensorInfo& source, uint32_t type) const;
  void write_header(const Plan& plan);
  base::Status convert_slice(const Slice& slice, int member, uint8_t* out, Distance* distance);

  std::shared_ptr<gguf::File> file_;
  base::ThreadTeam team_;
  std::vector<gguf::TensorInfo> tensors_;
  std::vector<uint8_t> header_;
  base::AlignedBuffer scratch_;  ///< [member] bytes as in the source, values, new values: kSliceElements floats each
};

}  // namespace lutra::conversion
