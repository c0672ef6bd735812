// Untrusted text in error messages, and the UTF-8 check keys and tensor names must pass.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace lutra::gguf {

/// Bytes of file-supplied text a message shows at most.
constexpr size_t kMaxQuotedBytes = 64;

/// The text in double quotes, control and non-ASCII bytes escaped, cut after kMaxQuotedBytes.
std::string quote(std::string_view text);
/// Like quote, for a path the caller named: long enough to find the file, and UTF-8 is kept.
std::string quote_path(std::string_view path);
/// Strict UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF.
bool is_utf8(std::string_view text);

}  // namespace lutra::gguf
