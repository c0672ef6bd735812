// One GGUF file on disk, parsed and validated: a whole model, or one part of a split one. Private to this room.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gguf/gguf.h"
#include "gguf/header_cursor.h"
#include "gguf/regular_file.h"

namespace lutra::gguf {

constexpr uint32_t kDefaultAlignment = 32;
constexpr uint32_t kMaxAlignment = uint32_t{64} << 10;
constexpr uint64_t kMaxMetadataEntries = uint64_t{1} << 16;
constexpr uint64_t kMaxTensors = uint64_t{1} << 18;

using Metadata = std::vector<std::pair<std::string, Value>>;

struct Part {
  std::string path;
  RegularFile file;
  uint32_t version = 0;
  uint32_t alignment = kDefaultAlignment;
  Metadata metadata;
  std::vector<uint32_t> metadata_order;  ///< indices into metadata, by ascending key
  std::vector<TensorInfo> tensors;

  const Value* find(std::string_view key) const;
};

/// Opens part->path and fills the rest. Every check of a single file happens here.
base::Status read_part(Part* part);

/// Metadata section: `count` entries.
bool read_metadata(HeaderCursor& cursor, uint64_t count, Metadata* out);
/// Refuses repeated keys (also when they differ by letter case only) and fills the look-up order.
base::Status index_metadata(const Metadata& metadata, std::vector<uint32_t>* order);

/// Tensor directory: `count` entries, then their places in the file.
bool read_tensors(HeaderCursor& cursor, uint64_t count, uint32_t alignment, std::vector<TensorInfo>* out);
base::Status place_tensors(const RegularFile& file, uint64_t header_end, uint32_t alignment,
                           std::vector<TensorInfo>* tensors);
/// Fills the look-up order; `first_repeat` gets the place in `order` of a name's second use, or 0.
std::vector<uint32_t> order_tensors(const std::vector<TensorInfo>& tensors, size_t* first_repeat);

/// Reads the named file, and every further part when its metadata says it is split. GGUF_SPLIT on any disagreement.
base::Status read_all_parts(const std::string& path, std::vector<Part>* parts);

}  // namespace lutra::gguf
