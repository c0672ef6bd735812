#include "conversion/conversion.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <new>

#include "base/checked_size.h"
#include "gguf/header_writer.h"
#include "quant/encode.h"
#include "quant/quant.h"

namespace lutra::conversion {

using base::Status;
using base::TensorType;
using gguf::TensorInfo;

namespace {

/// What a thread converts at a time; no type takes more than 4 bytes an element.
constexpr uint64_t kSliceElements = 16384;
constexpr size_t kFloatsOfMember = 3 * kSliceElements;
/// Of the format: 2 since the types of this table have their layout.
constexpr uint32_t kQuantizationVersion = 2;

std::string name_of(uint32_t type) {
  const char* name = base::tensor_type_traits(type).name;
  return name == nullptr ? "type id " + std::to_string(type) : name;
}

uint64_t bytes_of_elements(uint32_t type, uint64_t count) {
  const base::TensorTypeTraits& traits = base::tensor_type_traits(type);
  return count / traits.block_elements * traits.block_bytes;
}

uint64_t elements_of_info(const TensorInfo& info) { return info.dims[0] * info.rows(); }

std::string text_of(float value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", static_cast<double>(value));
  return text;
}

bool is_split_key(const std::string& key) { return key.rfind("split.", 0) == 0; }

}  // namespace

/// A stretch of one tensor for one thread.
struct Conversion::Slice {
  size_t tensor;
  uint64_t first, count;
};

base::Result<std::shared_ptr<Conversion>> Conversion::open(const std::string& path, const Plan& plan) {
  auto file = gguf::File::open(path);
  if (!file.ok()) return file.status();
  try {
    std::shared_ptr<Conversion> conversion(new Conversion(std::move(file.value()), plan.threads));
    const Status status = conversion->prepare(plan);
    if (!status.ok()) return status;
    return conversion;
  } catch (const std::bad_alloc&) {
    return Status("E_OUT_OF_MEMORY", "not enough memory for the header of a model file");
  }
}

Status Conversion::prepare(const Plan& plan) {
  tensors_ = file_->tensors();
  if (tensors_.size() != plan.types.size()) {
    return {"MODEL_CHANGED", "tensor count: expected the " + std::to_string(plan.types.size()) +
                                 " that were planned for, found " + std::to_string(tensors_.size())};
  }
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const Status status = check_tensor(tensors_[i], plan.types[i]);
    if (!status.ok()) return status;
    tensors_[i].type_id = plan.types[i];
    tensors_[i].size_bytes = bytes_of_elements(plan.types[i], elements_of_info(tensors_[i]));
    tensors_[i].file = 0;
  }
  write_header(plan);
  scratch_ = base::AlignedBuffer(kFloatsOfMember * sizeof(float) * static_cast<size_t>(team_.size()));
  if (scratch_.data() == nullptr) return {"E_OUT_OF_MEMORY", "not enough memory for the scratch of a conversion"};
  return {};
}

Status Conversion::check_tensor(const TensorInfo& source, uint32_t type) const {
  if (type == source.type_id) return {};
  const std::string field = "tensor " + source.name + ": ";
  if (!base::tensor_type_traits(source.type_id).supported) {
    return {"MODEL_UNSUPPORTED_TYPE",
            field + "expected a type that can be dequantised, found " + name_of(source.type_id)};
  }
  if (!quant::can_encode(static_cast<TensorType>(type))) {
    return {"MODEL_UNSUPPORTED_TYPE", field + "expected a type to write, found " + name_of(type)};
  }
  const uint32_t block = base::tensor_type_traits(type).block_elements;
  if (source.dims[0] % block == 0) return {};
  return {"GGUF_BAD_TENSOR", field + "row length: expected a multiple of " + std::to_string(block) + " for " +
                                 name_of(type) + ", found " + std::to_string(source.dims[0])};
}

void Conversion::write_header(const Plan& plan) {
  gguf::HeaderWriter writer;
  for (const auto& [key, value] : file_->metadata()) {
    if (key == "general.file_type" || key == "general.quantization_version" || is_split_key(key)) continue;
    writer.add(key, value);
  }
  writer.add_unsigned("general.file_type", plan.file_type);
  writer.add_unsigned("general.quantization_version", kQuantizationVersion);
  header_ = writer.finish(&tensors_, file_->alignment());
}

uint64_t Conversion::size_bytes() const {
  if (tensors_.empty()) return header_.size();
  const uint64_t end = tensors_.back().offset_bytes + tensors_.back().size_bytes;
  return base::CheckedSize(end).padded_to(file_->alignment()).value();
}

uint64_t Conversion::bytes_of(size_t tensor, uint64_t count) const {
  return bytes_of_elements(tensors_[tensor].type_id, count);
}

uint64_t Conversion::elements_of(size_t tensor) const { return elements_of_info(tensors_[tensor]); }

Status Conversion::convert(size_t tensor, uint64_t first, uint64_t count, uint8_t* out, Distance* distance) {
  const uint32_t type = tensors_[tensor].type_id;
  const TensorInfo& source = file_->tensors()[tensor];
  *distance = {};
  if (type == source.type_id) {
    return file_->read(source.file, source.offset_bytes + bytes_of_elements(type, first), out,
                       static_cast<size_t>(bytes_of_elements(type, count)));
  }
  const auto n_slices = static_cast<uint32_t>((count + kSliceElements - 1) / kSliceElements);
  std::vector<Status> states(n_slices);
  std::vector<Distance> distances(n_slices);
  team_.parallel_for(n_slices, [&](uint32_t chunk, int member) {
    const uint64_t begin = chunk * kSliceElements;
    const Slice slice{tensor, first + begin, std::min(kSliceElements, count - begin)};
    states[chunk] = convert_slice(slice, member, out + bytes_of_elements(type, begin), &distances[chunk]);
  });
  for (uint32_t i = 0; i < n_slices; ++i) {
    if (!states[i].ok()) return states[i];
    distance->error_squares += distances[i].error_squares;
    distance->squares += distances[i].squares;
  }
  return {};
}

Status Conversion::convert_slice(const Slice& slice, int member, uint8_t* out, Distance* distance) {
  const TensorInfo& source = file_->tensors()[slice.tensor];
  const auto from = static_cast<TensorType>(source.type_id);
  const auto to = static_cast<TensorType>(tensors_[slice.tensor].type_id);
  float* values = scratch_.as<float>() + kFloatsOfMember * static_cast<size_t>(member);
  float* decoded = values + kSliceElements;
  auto* bytes = reinterpret_cast<uint8_t*>(decoded + kSliceElements);
  const Status read = file_->read(source.file, source.offset_bytes + bytes_of_elements(source.type_id, slice.first),
                                  bytes, static_cast<size_t>(bytes_of_elements(source.type_id, slice.count)));
  if (!read.ok()) return read;
  quant::dequantize_row(from, bytes, slice.count, values);
  const float largest = quant::largest_encodable(to);
  for (uint64_t i = 0; i < slice.count; ++i) {
    if (std::fabs(values[i]) <= largest) continue;
    const std::string row = "tensor " + source.name + ", row " + std::to_string((slice.first + i) / source.dims[0]);
    if (!std::isfinite(values[i])) return {"MODEL_NONFINITE", row + ": expected numbers, found NaN or infinity"};
    return {"MODEL_OUT_OF_RANGE", row + ": expected magnitudes up to " + text_of(largest) + ", the most that " +
                                      name_of(tensors_[slice.tensor].type_id) + " holds, found " + text_of(values[i])};
  }
  quant::encode_row(to, values, slice.count, out);
  quant::dequantize_row(to, out, slice.count, decoded);
  for (uint64_t i = 0; i < slice.count; ++i) {
    const double value = values[i], error = value - static_cast<double>(decoded[i]);
    distance->error_squares += error * error;
    distance->squares += value * value;
  }
  return {};
}

}  // namespace lutra::conversion
