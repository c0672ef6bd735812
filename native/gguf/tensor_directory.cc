// The tensor directory: names, dimensions, types, and places. The data section must be exactly the tensors in
// directory order, each padded to the alignment: no gaps, no overlaps, nothing after the last one but padding.
#include <algorithm>

#include "base/checked_size.h"
#include "gguf/part.h"
#include "gguf/text.h"

namespace lutra::gguf {

namespace {

constexpr uint32_t kMaxDims = 4;

class TensorReader {
 public:
  TensorReader(HeaderCursor& cursor, uint32_t alignment) : cursor_(cursor), alignment_(alignment) {}

  bool entry(TensorInfo* out) {
    if (!name(out) || !dims(out) || !size(out)) return false;
    uint64_t offset = 0;
    if (!cursor_.read(&offset, field_.c_str())) return false;
    if (offset != next_offset_) {
      const char* aligned = offset % alignment_ == 0 ? "" : " (not a multiple of the alignment)";
      return bad("offset: expected " + std::to_string(next_offset_) + " (right after the tensor before it), found " +
                 std::to_string(offset) + aligned);
    }
    const base::CheckedSize next = (base::CheckedSize(offset) + out->size_bytes).padded_to(alignment_);
    if (!next.valid() || next.value() > INT64_MAX) return bad("size: the data section is larger than 2^63 bytes");
    out->offset_bytes = offset;
    next_offset_ = next.value();
    return true;
  }

 private:
  bool bad(const std::string& what) { return cursor_.fail("GGUF_BAD_TENSOR", field_ + ": " + what); }

  bool name(TensorInfo* out) {
    if (!cursor_.read_string(&out->name, kMaxKeyBytes, "tensor name")) return false;
    field_ = "tensor " + quote(out->name);
    if (out->name.empty()) return bad("expected a name, found an empty one");
    if (out->name.find('\0') != std::string::npos || !is_utf8(out->name)) return bad("expected UTF-8 without NUL");
    return true;
  }

  bool dims(TensorInfo* out) {
    if (!cursor_.read(&out->n_dims, field_.c_str())) return false;
    if (out->n_dims < 1 || out->n_dims > kMaxDims) {
      return bad("dimensions: expected 1 to 4, found " + std::to_string(out->n_dims));
    }
    for (uint32_t i = 0; i < kMaxDims; ++i) out->dims[i] = 1;
    for (uint32_t i = 0; i < out->n_dims; ++i) {
      if (!cursor_.read(&out->dims[i], field_.c_str())) return false;
      if (out->dims[i] == 0 || out->dims[i] > INT64_MAX) {
        return bad("dimension " + std::to_string(i) + ": expected 1 to 2^63 - 1, found " +
                   std::to_string(out->dims[i]));
      }
    }
    return true;
  }

  bool size(TensorInfo* out) {
    if (!cursor_.read(&out->type_id, field_.c_str())) return false;
    const base::TensorTypeTraits& traits = base::tensor_type_traits(out->type_id);
    if (traits.name == nullptr) {
      return cursor_.fail("MODEL_UNSUPPORTED_TYPE", field_ + ": expected a tensor type of the GGUF format, found id " +
                                                        std::to_string(out->type_id) + " (unknown or removed)");
    }
    if (out->dims[0] % traits.block_elements != 0) {
      return bad("dimension 0: expected a multiple of " + std::to_string(traits.block_elements) + " for type " +
                 traits.name + ", found " + std::to_string(out->dims[0]));
    }
    base::CheckedSize elements(out->dims[0]);
    base::CheckedSize bytes = base::CheckedSize(out->dims[0] / traits.block_elements) * traits.block_bytes;
    for (uint32_t i = 1; i < kMaxDims; ++i) {
      elements = elements * out->dims[i];
      bytes = bytes * out->dims[i];
    }
    const base::CheckedSize padded = bytes.padded_to(alignment_);
    if (!elements.valid() || elements.value() > INT64_MAX || !padded.valid() || padded.value() > INT64_MAX) {
      return bad("size: the dimensions' product does not fit in 63 bits");
    }
    out->size_bytes = bytes.value();
    return true;
  }

  HeaderCursor& cursor_;
  const uint32_t alignment_;
  uint64_t next_offset_ = 0;
  std::string field_;
};

}  // namespace

bool read_tensors(HeaderCursor& cursor, uint64_t count, uint32_t alignment, std::vector<TensorInfo>* out) {
  TensorReader reader(cursor, alignment);
  out->reserve(static_cast<size_t>(count));
  for (uint64_t entry = 0; entry < count; ++entry) {
    out->emplace_back(TensorInfo{});
    if (!reader.entry(&out->back())) return false;
  }
  return true;
}

base::Status place_tensors(const RegularFile& file, uint64_t header_end, uint32_t alignment,
                           std::vector<TensorInfo>* tensors) {
  const base::CheckedSize data_start = base::CheckedSize(header_end).padded_to(alignment);
  uint64_t end = header_end;
  for (TensorInfo& tensor : *tensors) {
    const base::CheckedSize start = data_start + tensor.offset_bytes;
    const base::CheckedSize stop = start + tensor.size_bytes;
    if (!stop.valid() || stop.value() > file.size_bytes()) {
      return {"GGUF_TRUNCATED", "tensor " + quote(tensor.name) + ": expected " + std::to_string(tensor.size_bytes) +
                                    " bytes at offset " + std::to_string(start.value()) + ", found a file of " +
                                    std::to_string(file.size_bytes()) + " bytes (incomplete download?)"};
    }
    tensor.offset_bytes = start.value();
    end = stop.value();
  }
  // `end` is at most the file's size, so its padding cannot wrap.
  const uint64_t padded_end = base::CheckedSize(end).padded_to(alignment).value();
  if (file.size_bytes() > padded_end) {
    return {"GGUF_BAD_TENSOR", "data section: expected the file to end at byte " + std::to_string(padded_end) +
                                   ", found " + std::to_string(file.size_bytes() - padded_end) + " bytes after it"};
  }
  return {};
}

std::vector<uint32_t> order_tensors(const std::vector<TensorInfo>& tensors, size_t* first_repeat) {
  std::vector<uint32_t> order(tensors.size());
  for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    const int difference = tensors[a].name.compare(tensors[b].name);
    return difference != 0 ? difference < 0 : a < b;
  });
  *first_repeat = 0;
  for (size_t i = 1; i < order.size() && *first_repeat == 0; ++i) {
    if (tensors[order[i - 1]].name == tensors[order[i]].name) *first_repeat = i;
  }
  return order;
}

}  // namespace lutra::gguf
