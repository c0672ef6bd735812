// One file's fixed header: magic, version, counts, alignment. Then its two sections.
#include <algorithm>
#include <cstring>

#include "base/checked_size.h"
#include "gguf/part.h"
#include "gguf/text.h"

namespace lutra::gguf {

namespace {

// The least an entry takes: a key's length, one byte of it, a type, one byte of value; and a name's length, one byte
// of it, the number of dimensions, one dimension, a type, an offset.
constexpr uint64_t kMinMetadataBytes = 8 + 1 + 4 + 1;
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;

uint32_t swap_bytes(uint32_t value) { return __builtin_bswap32(value); }

/// What a file without the GGUF magic looks like, from its first bytes.
const char* guess_format(std::string_view head) {
  const auto starts = [&](std::string_view prefix) { return head.substr(0, prefix.size()) == prefix; };
  if (starts("lmgg") || starts("ggml") || starts("GGML")) return "a GGML file, the format before GGUF";
  if (starts("tjgg") || starts("ggjt") || starts("GGJT")) return "a GGJT file, the format before GGUF";
  if (starts("fmgg") || starts("algg")) return "a GGMF or GGLA file, formats before GGUF";
  if (starts("PK\x03\x04")) return "a zip archive (a PyTorch checkpoint is one)";
  if (starts("\x1f\x8b")) return "a gzip archive";
  if (starts("version https://git-lfs")) return "a Git LFS pointer, not the file itself";
  if (head.size() > 8 && head[8] == '{') return "a safetensors file";
  const size_t text = head.find_first_not_of(" \t\r\n");
  if (text != std::string_view::npos && head[text] == '<') return "an HTML or XML page (a failed download?)";
  if (text != std::string_view::npos && head[text] == '{') return "a JSON document (a failed download?)";
  if (std::all_of(head.begin(), head.end(), [](char c) { return c == 0; })) return "zeros (an unfinished download?)";
  return "another format";
}

bool check_magic(HeaderCursor& cursor, const RegularFile& file) {
  char magic[4] = {};
  if (!cursor.read_bytes(magic, sizeof(magic), "magic")) return false;
  const std::string_view found(magic, sizeof(magic));
  if (found == "GGUF") return true;
  if (found == "FUGG") {
    return cursor.fail("GGUF_BIG_ENDIAN", "magic: expected \"GGUF\", found it byte-swapped: a big-endian file");
  }
  char head[32] = {};
  const auto size = static_cast<size_t>(std::min<uint64_t>(sizeof(head), file.size_bytes()));
  const base::Status read = file.read(0, head, size);
  if (!read.ok()) return cursor.fail(read.code(), read.message());
  return cursor.fail("GGUF_BAD_MAGIC", "magic: expected \"GGUF\", found " + quote(found) + ": this looks like " +
                                           guess_format(std::string_view(head, size)));
}

bool check_version(HeaderCursor& cursor, uint32_t* version) {
  if (!cursor.read(version, "version")) return false;
  if (*version == 2 || *version == 3) return true;
  const uint32_t swapped = swap_bytes(*version);
  if (swapped >= 1 && swapped <= 3) {
    return cursor.fail("GGUF_BIG_ENDIAN", "version: expected 2 or 3, found " + std::to_string(swapped) +
                                              " byte-swapped: a big-endian file; convert it to little-endian");
  }
  return cursor.fail("GGUF_VERSION", "version: expected 2 or 3, found " + std::to_string(*version));
}

/// A count past the limit is nonsense; one within it that the file cannot hold means the file was cut.
bool check_count(HeaderCursor& cursor, const char* field, uint64_t count, uint64_t limit, uint64_t left,
                 uint64_t entry_bytes) {
  if (count > limit) {
    return cursor.fail("GGUF_BAD_VALUE", std::string(field) + ": expected at most " + std::to_string(limit) +
                                             ", found " + std::to_string(count));
  }
  if (count > left / entry_bytes) {
    return cursor.fail("GGUF_TRUNCATED", std::string(field) + ": expected at most the " +
                                             std::to_string(left / entry_bytes) + " the file has bytes for, found " +
                                             std::to_string(count) + " (incomplete download?)");
  }
  return true;
}

base::Status find_alignment(Part* part) {
  const Value* value = part->find("general.alignment");
  if (value == nullptr) return {};
  const std::string expected = "general.alignment: expected a u32 power of two up to " + std::to_string(kMaxAlignment);
  if (value->type != ValueType::kU32) {
    return {"GGUF_BAD_VALUE", expected + ", found type " + value_type_name(value->type)};
  }
  if (value->u == 0 || value->u > kMaxAlignment || (value->u & (value->u - 1)) != 0) {
    return {"GGUF_BAD_VALUE", expected + ", found " + std::to_string(value->u)};
  }
  part->alignment = static_cast<uint32_t>(value->u);
  return {};
}

base::Status read_sections(Part* part) {
  HeaderCursor cursor(part->file);
  uint64_t n_tensors = 0;
  uint64_t n_entries = 0;
  if (!check_magic(cursor, part->file) || !check_version(cursor, &part->version) ||
      !cursor.read(&n_tensors, "tensor count") || !cursor.read(&n_entries, "metadata count")) {
    return cursor.status();
  }
  const uint64_t left = cursor.left();
  if (!check_count(cursor, "tensor count", n_tensors, kMaxTensors, left, kMinTensorBytes) ||
      !check_count(cursor, "metadata count", n_entries, kMaxMetadataEntries, left - n_tensors * kMinTensorBytes,
                   kMinMetadataBytes) ||
      !read_metadata(cursor, n_entries, &part->metadata)) {
    return cursor.status();
  }
  base::Status status = index_metadata(part->metadata, &part->metadata_order);
  if (status.ok()) status = find_alignment(part);
  if (!status.ok()) return status;
  if (!read_tensors(cursor, n_tensors, part->alignment, &part->tensors)) return cursor.status();
  size_t repeat = 0;
  const std::vector<uint32_t> order = order_tensors(part->tensors, &repeat);
  if (repeat != 0) {
    return {"GGUF_DUPLICATE", "tensor " + quote(part->tensors[order[repeat]].name) + ": expected one entry, found two"};
  }
  return place_tensors(part->file, cursor.position(), part->alignment, &part->tensors);
}

}  // namespace

base::Status read_part(Part* part) {
  base::Status status = part->file.open(part->path);
  if (!status.ok()) return status;
  status = read_sections(part);
  if (status.ok()) return status;
  return {status.code(), quote_path(part->path) + ": " + status.message()};
}

}  // namespace lutra::gguf
