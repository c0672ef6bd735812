// The two-stage Unicode table and UTF-8 repair. See unicode.h.
#include "tokenizer/unicode.h"

#include <cstring>
#include <unordered_map>

namespace lutra::tokenizer {

UnicodeTable::UnicodeTable() {
  std::unordered_map<std::string, uint16_t> known;
  std::string block(128, '\0');
  size_t range = 0;
  for (uint32_t first = 0; first < 0x110000; first += 128) {
    for (uint32_t i = 0; i < 128; ++i) {
      while (range + 1 < kUnicodeRangeCount && (kUnicodeRanges[range + 1] >> 8) <= first + i) ++range;
      block[i] = static_cast<char>(kUnicodeRanges[range] & 0xFF);
    }
    auto [entry, added] = known.emplace(block, static_cast<uint16_t>(known.size()));
    if (added) storage += block;
    stage[first >> 7] = entry->second;
  }
  blocks = reinterpret_cast<const uint8_t*>(storage.data());
}

const UnicodeTable& unicode_table() {
  static const UnicodeTable table;
  return table;
}

void append_utf8(std::string& out, uint32_t code_point) {
  if (code_point < 0x80) {
    out += static_cast<char>(code_point);
  } else if (code_point < 0x800) {
    out += static_cast<char>(0xC0 | code_point >> 6);
    out += static_cast<char>(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    out += static_cast<char>(0xE0 | code_point >> 12);
    out += static_cast<char>(0x80 | (code_point >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (code_point & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | code_point >> 18);
    out += static_cast<char>(0x80 | (code_point >> 12 & 0x3F));
    out += static_cast<char>(0x80 | (code_point >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (code_point & 0x3F));
  }
}

size_t utf8_character(const char* at, const char* end, size_t* skip) {
  const auto* p = reinterpret_cast<const uint8_t*>(at);
  const size_t left = static_cast<size_t>(end - at);
  const uint8_t lead = p[0];
  *skip = 1;
  if (lead < 0x80) return 1;
  // Bounds of the second byte exclude overlong forms, surrogates and values above U+10FFFF.
  size_t size = 0;
  uint8_t low = 0x80, high = 0xBF;
  if (lead >= 0xC2 && lead <= 0xDF) {
    size = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    size = 3;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    size = 4;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  } else {
    return 0;
  }
  for (size_t i = 1; i < size; ++i) {
    if (i >= left || p[i] < low || p[i] > high) return 0;
    *skip = i + 1;
    low = 0x80;
    high = 0xBF;
  }
  return size;
}

std::string_view repair_utf8(std::string_view text, std::string& storage) {
  const char* at = text.data();
  const char* const end = at + text.size();
  const char* valid_from = at;
  bool repaired = false;
  while (at < end) {
    uint64_t eight = 0;
    if (end - at >= 8) {
      std::memcpy(&eight, at, 8);
      if ((eight & 0x8080808080808080ull) == 0) {
        at += 8;
        continue;
      }
    }
    size_t skip = 0;
    const size_t size = utf8_character(at, end, &skip);
    if (size > 0) {
      at += size;
      continue;
    }
    if (!repaired) storage.clear();
    repaired = true;
    storage.append(valid_from, at);
    storage += "\xEF\xBF\xBD";
    at += skip;
    valid_from = at;
  }
  if (!repaired) return text;
  storage.append(valid_from, end);
  return storage;
}

}  // namespace lutra::tokenizer
