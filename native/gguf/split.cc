// Split models: `name-00001-of-0000N.gguf` beside its siblings, each with split.no (from 0), split.count and
// split.tensors.count in its metadata. Only the first part holds the model's metadata; it is the one to open.
#include <algorithm>
#include <cstdio>

#include "gguf/part.h"
#include "gguf/text.h"

namespace lutra::gguf {

namespace {

/// More open descriptors than this would starve the process.
constexpr uint64_t kMaxParts = 512;

struct PartName {
  bool matches = false;
  std::string prefix;
  uint64_t number = 0;  ///< from 1
  uint64_t count = 0;
};

bool parse_five_digits(std::string_view text, uint64_t* out) {
  *out = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
    *out = *out * 10 + static_cast<uint64_t>(c - '0');
  }
  return text.size() == 5;
}

PartName parse_part_name(const std::string& path) {
  constexpr std::string_view kTail = "-00001-of-00001.gguf";
  PartName name;
  if (path.size() <= kTail.size()) return name;
  const std::string_view tail = std::string_view(path).substr(path.size() - kTail.size());
  name.matches = tail[0] == '-' && tail.substr(6, 4) == "-of-" && tail.substr(15) == ".gguf" &&
                 parse_five_digits(tail.substr(1, 5), &name.number) &&
                 parse_five_digits(tail.substr(10, 5), &name.count);
  name.prefix = path.substr(0, path.size() - kTail.size());
  return name;
}

std::string part_path(const std::string& prefix, uint64_t number, uint64_t count) {
  char tail[64];
  std::snprintf(tail, sizeof(tail), "-%05llu-of-%05llu.gguf", static_cast<unsigned long long>(number),
                static_cast<unsigned long long>(count));
  return prefix + tail;
}

base::Status bad_split(const std::string& path, const std::string& what) {
  return {"GGUF_SPLIT", quote_path(path) + ": " + what};
}

/// split.* numbers are written as u16 or i32; any integer type is taken, absent ones give `fallback`.
base::Status split_number(const Part& part, const char* key, uint64_t fallback, uint64_t* out) {
  *out = fallback;
  const Value* value = part.find(key);
  if (value == nullptr) return {};
  switch (value->type) {
    case ValueType::kI8:
    case ValueType::kI16:
    case ValueType::kI32:
    case ValueType::kI64:
      if (value->i < 0) {
        return bad_split(part.path, std::string(key) + ": expected at least 0, found " + std::to_string(value->i));
      }
      break;
    case ValueType::kU8:
    case ValueType::kU16:
    case ValueType::kU32:
    case ValueType::kU64: break;
    default:
      return bad_split(part.path, std::string(key) + ": expected an integer, found " + value_type_name(value->type));
  }
  *out = value->u;
  return {};
}

constexpr uint64_t kNoNumber = ~uint64_t{0};

struct SplitInfo {
  uint64_t number = 0;  ///< from 0
  uint64_t count = 1;
  uint64_t n_tensors = kNoNumber;
};

base::Status split_info(const Part& part, SplitInfo* out) {
  base::Status status = split_number(part, "split.count", 1, &out->count);
  if (status.ok()) status = split_number(part, "split.no", 0, &out->number);
  if (status.ok()) status = split_number(part, "split.tensors.count", kNoNumber, &out->n_tensors);
  if (out->count == 0) out->count = 1;  // how some writers say "not split"
  return status;
}

/// Decides from the first file's name and metadata whether there are further parts.
base::Status check_first(const Part& first, const PartName& name, SplitInfo* info) {
  base::Status status = split_info(first, info);
  if (!status.ok()) return status;
  const bool named = name.matches && name.count > 1;
  if ((named && name.number != 1) || info->number != 0) {
    const uint64_t count = name.matches ? name.count : info->count;
    const std::string where = name.matches ? quote_path(part_path(name.prefix, 1, count)) : "the first part";
    const uint64_t number = info->number != 0 ? info->number + 1 : name.number;
    return bad_split(first.path, "this is part " + std::to_string(number) + " of " + std::to_string(count) + "; open " +
                                     where + " instead");
  }
  if (named && info->count != name.count) {
    return bad_split(first.path, "split.count: expected " + std::to_string(name.count) +
                                     " as the file is named, found " + std::to_string(info->count));
  }
  if (info->count == 1) return {};
  if (!named) {
    return bad_split(first.path, "split.count: the model has " + std::to_string(info->count) +
                                     " parts; expected a file name ending in " +
                                     quote(part_path("", 1, std::min<uint64_t>(info->count, 99999))));
  }
  if (info->count > kMaxParts) {
    return bad_split(first.path, "split.count: expected at most " + std::to_string(kMaxParts) + ", found " +
                                     std::to_string(info->count));
  }
  return {};
}

/// A further part must name its own place and the same model.
base::Status check_further(const Part& first, const SplitInfo& expected, const Part& part, uint64_t number) {
  SplitInfo info;
  const base::Status status = split_info(part, &info);
  if (!status.ok()) return status;
  if (info.count != expected.count) {
    return bad_split(part.path, "split.count: expected " + std::to_string(expected.count) +
                                    " as in the first part, found " + std::to_string(info.count));
  }
  if (part.find("split.no") == nullptr || info.number != number) {
    return bad_split(part.path, "split.no: expected " + std::to_string(number) + ", found " +
                                    (part.find("split.no") == nullptr ? "none" : std::to_string(info.number)) +
                                    " (renamed or swapped parts?)");
  }
  if (info.n_tensors != kNoNumber && info.n_tensors != expected.n_tensors) {
    return bad_split(part.path, "split.tensors.count: expected " + std::to_string(expected.n_tensors) +
                                    " as in the first part, found " + std::to_string(info.n_tensors) +
                                    " (parts of different models?)");
  }
  for (const char* key : {"general.architecture", "general.name"}) {
    const Value* mine = part.find(key);
    const Value* theirs = first.find(key);
    if (mine != nullptr && theirs != nullptr && mine->text != theirs->text) {
      return bad_split(part.path, std::string(key) + ": expected " + quote(theirs->text) +
                                      " as in the first part, found " + quote(mine->text));
    }
  }
  return {};
}

base::Status check_totals(const std::vector<Part>& parts, const SplitInfo& info) {
  uint64_t n_tensors = 0;
  for (const Part& part : parts) n_tensors += part.tensors.size();
  if (info.n_tensors == kNoNumber) {
    return bad_split(parts[0].path, "split.tensors.count: expected a number, found none");
  }
  if (n_tensors != info.n_tensors) {
    return bad_split(parts[0].path, "split.tensors.count: expected " + std::to_string(info.n_tensors) + ", found " +
                                        std::to_string(n_tensors) + " tensors in all parts");
  }
  return {};
}

}  // namespace

base::Status read_all_parts(const std::string& path, std::vector<Part>* parts) {
  parts->emplace_back();
  parts->back().path = path;
  base::Status status = read_part(&parts->back());
  if (!status.ok()) return status;
  const PartName name = parse_part_name(path);
  SplitInfo info;
  status = check_first(parts->front(), name, &info);
  if (!status.ok() || info.count == 1) return status;
  for (uint64_t number = 1; number < info.count; ++number) {
    parts->emplace_back();
    Part& part = parts->back();
    part.path = part_path(name.prefix, number + 1, info.count);
    status = read_part(&part);
    if (!status.ok() && part.file.missing()) {
      return bad_split(path, "part " + std::to_string(number + 1) + " of " + std::to_string(info.count) +
                                 " is missing: " + status.message());
    }
    if (status.ok()) status = check_further(parts->front(), info, part, number);
    if (!status.ok()) return status;
  }
  return check_totals(*parts, info);
}

}  // namespace lutra::gguf
