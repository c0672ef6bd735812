// The metadata section: keys, typed values, arrays. One level of arrays; every count is checked against the bytes
// left in the file before anything is reserved for it.
#include <algorithm>

#include "base/checked_size.h"
#include "gguf/part.h"
#include "gguf/text.h"

namespace lutra::gguf {

namespace {

/// Stored bytes of a fixed-size value; 0 for strings, arrays and unknown types.
uint32_t stored_bytes(ValueType type) {
  switch (type) {
    case ValueType::kU8:
    case ValueType::kI8:
    case ValueType::kBool: return 1;
    case ValueType::kU16:
    case ValueType::kI16: return 2;
    case ValueType::kU32:
    case ValueType::kI32:
    case ValueType::kF32: return 4;
    case ValueType::kU64:
    case ValueType::kI64:
    case ValueType::kF64: return 8;
    default: return 0;
  }
}

uint8_t fold(char c) { return static_cast<uint8_t>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c); }

int compare_folded(std::string_view a, std::string_view b) {
  const size_t shared = std::min(a.size(), b.size());
  for (size_t i = 0; i < shared; ++i) {
    if (fold(a[i]) != fold(b[i])) return fold(a[i]) < fold(b[i]) ? -1 : 1;
  }
  return a.size() == b.size() ? 0 : (a.size() < b.size() ? -1 : 1);
}

template <typename T>
bool read_unsigned(HeaderCursor& cursor, const char* what, Value* out) {
  T stored = 0;
  if (!cursor.read(&stored, what)) return false;
  out->u = stored;
  out->i = static_cast<int64_t>(std::min<uint64_t>(out->u, INT64_MAX));
  return true;
}

template <typename T>
bool read_signed(HeaderCursor& cursor, const char* what, Value* out) {
  T stored = 0;
  if (!cursor.read(&stored, what)) return false;
  out->i = stored;
  out->u = static_cast<uint64_t>(out->i);
  return true;
}

template <typename T>
bool read_real(HeaderCursor& cursor, const char* what, Value* out) {
  T stored = 0;
  if (!cursor.read(&stored, what)) return false;
  out->f = stored;
  return true;
}

/// Reads the metadata entries of one file.
class MetadataReader {
 public:
  explicit MetadataReader(HeaderCursor& cursor) : cursor_(cursor) {}

  bool entry(std::pair<std::string, Value>* out) {
    if (!cursor_.read_string(&out->first, kMaxKeyBytes, "metadata key")) return false;
    const std::string& key = out->first;
    if (key.empty()) return cursor_.fail("GGUF_BAD_VALUE", "metadata key: expected a name, found an empty one");
    if (key.find('\0') != std::string::npos || !is_utf8(key)) {
      return cursor_.fail("GGUF_BAD_VALUE", "metadata key: expected UTF-8 without NUL, found " + quote(key));
    }
    field_ = "metadata " + quote(key);
    return type(&out->second.type, "type") && value(&out->second);
  }

 private:
  bool bad(const std::string& what) { return cursor_.fail("GGUF_BAD_VALUE", field_ + ": " + what); }

  bool type(ValueType* out, const char* which) {
    uint32_t id = 0;
    if (!cursor_.read(&id, field_.c_str())) return false;
    if (id > static_cast<uint32_t>(ValueType::kF64)) {
      return bad(std::string(which) + ": expected a type id from 0 to 12, found " + std::to_string(id));
    }
    *out = static_cast<ValueType>(id);
    return true;
  }

  bool value(Value* out) {
    const char* what = field_.c_str();
    switch (out->type) {
      case ValueType::kU8: return read_unsigned<uint8_t>(cursor_, what, out);
      case ValueType::kU16: return read_unsigned<uint16_t>(cursor_, what, out);
      case ValueType::kU32: return read_unsigned<uint32_t>(cursor_, what, out);
      case ValueType::kU64: return read_unsigned<uint64_t>(cursor_, what, out);
      case ValueType::kI8: return read_signed<int8_t>(cursor_, what, out);
      case ValueType::kI16: return read_signed<int16_t>(cursor_, what, out);
      case ValueType::kI32: return read_signed<int32_t>(cursor_, what, out);
      case ValueType::kI64: return read_signed<int64_t>(cursor_, what, out);
      case ValueType::kF32: return read_real<float>(cursor_, what, out);
      case ValueType::kF64: return read_real<double>(cursor_, what, out);
      case ValueType::kString: return cursor_.read_string(&out->text, kMaxValueBytes, what);
      case ValueType::kArray: return array(out);
      case ValueType::kBool: break;
    }
    if (!read_unsigned<uint8_t>(cursor_, what, out)) return false;
    return out->u <= 1 || bad("bool: expected 0 or 1, found " + std::to_string(out->u));
  }

  bool array(Value* out) {
    if (!type(&out->element_type, "element type") || !cursor_.read(&out->count, field_.c_str())) return false;
    if (out->element_type == ValueType::kArray) return bad("expected an array of plain values, found nested arrays");
    const bool strings = out->element_type == ValueType::kString;
    // A string takes at least its 8-byte length.
    const uint32_t least_bytes = strings ? 8 : stored_bytes(out->element_type);
    const base::CheckedSize size = base::CheckedSize(out->count) * least_bytes;
    if (!size.valid() || size.value() > kMaxValueBytes) {
      return bad("array: expected at most " + std::to_string(kMaxValueBytes / least_bytes) + " elements of type " +
                 value_type_name(out->element_type) + ", found " + std::to_string(out->count));
    }
    if (size.value() > cursor_.left()) {
      return cursor_.fail("GGUF_TRUNCATED", field_ + ": array: expected " + std::to_string(size.value()) +
                                                " bytes, found " + std::to_string(cursor_.left()) +
                                                " left in the file (incomplete download?)");
    }
    return strings ? string_elements(out) : plain_elements(out, static_cast<size_t>(size.value()));
  }

  bool string_elements(Value* out) {
    out->strings.resize(static_cast<size_t>(out->count));
    const uint64_t start = cursor_.position();
    for (std::string& element : out->strings) {
      if (!cursor_.read_string(&element, kMaxValueBytes, field_.c_str())) return false;
      if (cursor_.position() - start > kMaxValueBytes) {
        return bad("array: expected at most " + std::to_string(kMaxValueBytes) + " bytes of strings, found more");
      }
    }
    return true;
  }

  bool plain_elements(Value* out, size_t size) {
    out->bytes.resize(size);
    if (!cursor_.read_bytes(out->bytes.data(), size, field_.c_str())) return false;
    if (out->element_type != ValueType::kBool) return true;
    const auto wrong = std::find_if(out->bytes.begin(), out->bytes.end(), [](uint8_t byte) { return byte > 1; });
    return wrong == out->bytes.end() || bad("bool element: expected 0 or 1, found " + std::to_string(*wrong));
  }

  HeaderCursor& cursor_;
  std::string field_;
};

}  // namespace

const char* value_type_name(ValueType type) {
  static constexpr const char* kNames[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                           "bool", "string", "array", "u64", "i64", "f64"};
  const auto id = static_cast<uint32_t>(type);
  return id < std::size(kNames) ? kNames[id] : "unknown";
}

bool read_metadata(HeaderCursor& cursor, uint64_t count, Metadata* out) {
  MetadataReader reader(cursor);
  out->reserve(static_cast<size_t>(count));
  for (uint64_t entry = 0; entry < count; ++entry) {
    out->emplace_back(std::string(), Value{});
    if (!reader.entry(&out->back())) return false;
  }
  return true;
}

base::Status index_metadata(const Metadata& metadata, std::vector<uint32_t>* order) {
  order->resize(metadata.size());
  for (uint32_t i = 0; i < order->size(); ++i) (*order)[i] = i;
  // Sorted rather than hashed: no set of keys can make it slower than n log n.
  std::sort(order->begin(), order->end(),
            [&](uint32_t a, uint32_t b) { return compare_folded(metadata[a].first, metadata[b].first) < 0; });
  for (size_t i = 1; i < order->size(); ++i) {
    const std::string& previous = metadata[(*order)[i - 1]].first;
    const std::string& key = metadata[(*order)[i]].first;
    if (compare_folded(previous, key) != 0) continue;
    if (previous == key) return {"GGUF_DUPLICATE", "metadata " + quote(key) + ": expected one entry, found two"};
    return {"GGUF_DUPLICATE",
            "metadata " + quote(key) + ": expected one spelling, found " + quote(previous) + " too (letter case)"};
  }
  return {};
}

const Value* Part::find(std::string_view key) const {
  const auto found = std::lower_bound(
      metadata_order.begin(), metadata_order.end(), key,
      [&](uint32_t index, std::string_view wanted) { return compare_folded(metadata[index].first, wanted) < 0; });
  if (found == metadata_order.end() || metadata[*found].first != key) return nullptr;
  return &metadata[*found].second;
}

}  // namespace lutra::gguf
