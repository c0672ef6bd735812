// The open model file: parts joined into one metadata view and one tensor directory, and reads of tensor data.
#include <algorithm>
#include <new>

#include "gguf/part.h"
#include "gguf/text.h"

namespace lutra::gguf {

struct File::State {
  std::vector<Part> parts;
  std::vector<std::string> paths;
  std::vector<TensorInfo> tensors;     // of all parts
  std::vector<uint32_t> tensor_order;  // indices into tensors, by ascending name
  uint64_t total_bytes = 0;

  base::Status join() {
    for (uint32_t index = 0; index < parts.size(); ++index) {
      Part& part = parts[index];
      paths.push_back(part.path);
      total_bytes += part.file.size_bytes();
      for (TensorInfo& tensor : part.tensors) {
        tensor.file = index;
        tensors.push_back(std::move(tensor));
      }
      part.tensors.clear();
      part.tensors.shrink_to_fit();
    }
    size_t repeat = 0;
    tensor_order = order_tensors(tensors, &repeat);
    if (repeat == 0) return {};
    const TensorInfo& tensor = tensors[tensor_order[repeat]];
    return {"GGUF_SPLIT", quote_path(paths[tensor.file]) + ": tensor " + quote(tensor.name) +
                              ": expected in one part, found in another too (parts of different models?)"};
  }
};

File::File() : state_(std::make_unique<State>()) {}
File::~File() = default;

base::Result<std::shared_ptr<File>> File::open(const std::string& path) {
  try {
    std::shared_ptr<File> file(new File());
    base::Status status = read_all_parts(path, &file->state_->parts);
    if (status.ok()) status = file->state_->join();
    if (!status.ok()) return status;
    return file;
  } catch (const std::bad_alloc&) {
    return base::Status("E_OUT_OF_MEMORY", "not enough memory for the header of a model file");
  }
}

uint32_t File::version() const { return state_->parts[0].version; }
uint32_t File::alignment() const { return state_->parts[0].alignment; }
const std::vector<std::string>& File::paths() const { return state_->paths; }
uint64_t File::total_bytes() const { return state_->total_bytes; }

std::string File::identity() const {
  std::string key;
  for (const Part& part : state_->parts) key += part.file.identity().text() + ";";
  return key;
}

const Metadata& File::metadata() const { return state_->parts[0].metadata; }
const Value* File::find(std::string_view key) const { return state_->parts[0].find(key); }
const std::vector<TensorInfo>& File::tensors() const { return state_->tensors; }

const TensorInfo* File::find_tensor(std::string_view name) const {
  const std::vector<uint32_t>& order = state_->tensor_order;
  const auto found = std::lower_bound(order.begin(), order.end(), name, [&](uint32_t index, std::string_view wanted) {
    return state_->tensors[index].name < wanted;
  });
  if (found == order.end() || state_->tensors[*found].name != name) return nullptr;
  return &state_->tensors[*found];
}

base::Status File::read(uint32_t file, uint64_t offset, void* out, size_t size) const {
  if (file >= state_->parts.size()) {
    return {"INTERNAL", "part: expected an index below " + std::to_string(state_->parts.size()) + ", found " +
                            std::to_string(file)};
  }
  return state_->parts[file].file.read(offset, out, size);
}

base::Status File::check_unchanged() const {
  for (const Part& part : state_->parts) {
    FileIdentity now;
    base::Status status = part.file.current_identity(&now);
    if (!status.ok()) return status;
    if (now != part.file.identity()) {
      return {"MODEL_CHANGED", quote_path(part.path) + ": the file was written to since it was opened: expected " +
                                   part.file.identity().text() + ", found " + now.text() +
                                   " (device:inode:bytes:modified)"};
    }
  }
  return {};
}

}  // namespace lutra::gguf
