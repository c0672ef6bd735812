// Unicode classes of code points, and UTF-8 reading and repair.
//
// Contract: pure and thread-safe. Reading functions take text that `repair_utf8` has passed (valid UTF-8).
// Source: general categories from unicode_tables.cc; WHATWG Encoding for what replaces ill-formed bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lutra::tokenizer {

enum CharFlags : uint8_t {
  kLetter = 1,
  kNumber = 2,
  kMark = 4,
  kPunctuation = 8,
  kSymbol = 16,
  kSpace = 32,
  kUpper = 64,
  kLower = 128,
};

extern const uint32_t kUnicodeRanges[];
extern const size_t kUnicodeRangeCount;

/// Two-stage table: 128 code points a block, equal blocks stored once.
struct UnicodeTable {
  UnicodeTable();
  uint8_t flags(uint32_t code_point) const {
    return blocks[(size_t{stage[code_point >> 7]} << 7) | (code_point & 127)];
  }
  uint16_t stage[0x110000 >> 7];
  std::string storage;
  const uint8_t* blocks;
};

/// Built once, from the ranges, on first use.
const UnicodeTable& unicode_table();

struct CodePoint {
  uint32_t value;
  uint32_t size_bytes;
};

/// Reads the code point at `at` of valid UTF-8.
inline CodePoint read_code_point(const char* at) {
  const auto* p = reinterpret_cast<const uint8_t*>(at);
  if (p[0] < 0x80) return {p[0], 1};
  if (p[0] < 0xE0) return {(p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu), 2};
  if (p[0] < 0xF0) return {(p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu), 3};
  return {(p[0] & 0x07u) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu), 4};
}

void append_utf8(std::string& out, uint32_t code_point);

/// Length of the well-formed character at `at`; 0 when it is ill-formed, and then `*skip` is the length of its maximal
/// subpart (at least 1).
size_t utf8_character(const char* at, const char* end, size_t* skip);

/// The text itself when it is valid UTF-8; otherwise a copy in `storage` with U+FFFD for each maximal subpart of an
/// ill-formed sequence, as WHATWG decoders do it.
std::string_view repair_utf8(std::string_view text, std::string& storage);

}  // namespace lutra::tokenizer
