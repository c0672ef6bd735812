// Bounded reader of GGUF v2/v3 files, single or split. Validation only: no meaning of any model.
//
// Contract: headers are read by pread into bounded buffers, everything is validated before anything is allocated for
// it, every size goes through base::CheckedSize, no page of the file is mapped, and no input can crash, hang or
// make it allocate more than a small multiple of the header's real size. Regular files only.
// Source: the GGUF format; catalogue of bad inputs G1–G21.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "base/tensor_type.h"

namespace lutra::gguf {

enum class ValueType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};
const char* value_type_name(ValueType type);

/// One metadata value. Scalars are widened; strings and arrays own their bytes.
struct Value {
  ValueType type;
  ValueType element_type;            ///< arrays only
  uint64_t count = 0;                ///< array length
  uint64_t u = 0;                    ///< unsigned and bool scalars; for signed ones the same bits as i
  int64_t i = 0;                     ///< signed scalars; for unsigned ones the value if it fits
  double f = 0;                      ///< float scalars
  std::string text;                  ///< string scalar
  std::vector<uint8_t> bytes;        ///< numeric array elements, little-endian, as stored
  std::vector<std::string> strings;  ///< string array elements
};

struct TensorInfo {
  std::string name;
  uint32_t type_id;  ///< GGUF id; see base::tensor_type_traits (the reader accepts known unsupported types)
  uint32_t n_dims;
  uint64_t dims[4];       ///< dims[0] is the row length; unused ones are 1
  uint64_t offset_bytes;  ///< absolute offset in its file
  uint64_t size_bytes;
  uint32_t file;  ///< index of the split part
  uint64_t rows() const { return dims[1] * dims[2] * dims[3]; }
};

/// A validated, open model file (or set of split parts). Keeps its descriptors open until destroyed.
class File {
 public:
  /// Codes: E_IO, GGUF_TRUNCATED, GGUF_BAD_MAGIC, GGUF_VERSION, GGUF_BIG_ENDIAN, GGUF_BAD_VALUE, GGUF_DUPLICATE,
  /// GGUF_BAD_TENSOR, GGUF_SPLIT, E_OUT_OF_MEMORY.
  static base::Result<std::shared_ptr<File>> open(const std::string& path);
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  uint32_t version() const;
  uint32_t alignment() const;
  const std::vector<std::string>& paths() const;  ///< one per part
  uint64_t total_bytes() const;                   ///< of all parts
  /// Device, inode, size and modification time of every part, as one key: equal keys mean the same bytes.
  std::string identity() const;

  const std::vector<std::pair<std::string, Value>>& metadata() const;  ///< in file order (first part's)
  const Value* find(std::string_view key) const;                       ///< nullptr when absent
  const std::vector<TensorInfo>& tensors() const;                      ///< all parts
  const TensorInfo* find_tensor(std::string_view name) const;

  /// Reads `size` bytes at `offset` of part `file`. Thread-safe. GGUF_TRUNCATED when the file got shorter.
  base::Status read(uint32_t file, uint64_t offset, void* out, size_t size) const;
  /// MODEL_CHANGED when a part's identity differs from what it was at open.
  base::Status check_unchanged() const;

 private:
  File();
  struct State;
  std::unique_ptr<State> state_;
};

/// Typed look-ups with one error wording. MODEL_BAD_METADATA names the key, the expected and the found type or range.
base::Result<uint64_t> require_unsigned(const File& file, std::string_view key, uint64_t min, uint64_t max);
base::Result<uint64_t> unsigned_or(const File& file, std::string_view key, uint64_t fallback, uint64_t min,
                                   uint64_t max);
base::Result<double> require_float(const File& file, std::string_view key);
base::Result<double> float_or(const File& file, std::string_view key, double fallback);
base::Result<bool> bool_or(const File& file, std::string_view key, bool fallback);
base::Result<std::string> require_string(const File& file, std::string_view key);
base::Result<std::string> string_or(const File& file, std::string_view key, std::string_view fallback);

}  // namespace lutra::gguf
