// The scanners of the pre-tokenizers. See pretokenizer.h.
#include "tokenizer/pretokenizer.h"

#include "tokenizer/unicode.h"

namespace lutra::tokenizer {
namespace {

struct Range {
  uint32_t first, last;
};

// Cased letters as Unicode 11 had them, without Georgian Mkhedruli: the explicit list of deepseek-llm's pattern.
constexpr Range kDeepseekLetterRanges[] = {
    {0x41, 0x5a},       {0x61, 0x7a},       {0xb5, 0xb5},       {0xc0, 0xd6},       {0xd8, 0xf6},
    {0xf8, 0x1ba},      {0x1bc, 0x1bf},     {0x1c4, 0x293},     {0x295, 0x2af},     {0x370, 0x373},
    {0x376, 0x376},     {0x377, 0x377},     {0x37b, 0x37d},     {0x37f, 0x37f},     {0x386, 0x386},
    {0x388, 0x38a},     {0x38c, 0x38c},     {0x38e, 0x3a1},     {0x3a3, 0x3f5},     {0x3f7, 0x481},
    {0x48a, 0x52f},     {0x531, 0x556},     {0x10a0, 0x10c5},   {0x13a0, 0x13f5},   {0x13f8, 0x13fd},
    {0x1c90, 0x1cba},   {0x1cbd, 0x1cbf},   {0x1d00, 0x1d2b},   {0x1d6b, 0x1d77},   {0x1d79, 0x1d9a},
    {0x1e00, 0x1f15},   {0x1f18, 0x1f1d},   {0x1f20, 0x1f45},   {0x1f48, 0x1f4d},   {0x1f50, 0x1f57},
    {0x1f59, 0x1f59},   {0x1f5b, 0x1f5b},   {0x1f5d, 0x1f5d},   {0x1f5f, 0x1f7d},   {0x1f80, 0x1fb4},
    {0x1fb6, 0x1fbc},   {0x1fbe, 0x1fbe},   {0x1fc2, 0x1fc4},   {0x1fc6, 0x1fcc},   {0x1fd0, 0x1fd3},
    {0x1fd6, 0x1fdb},   {0x1fe0, 0x1fec},   {0x1ff2, 0x1ff4},   {0x1ff6, 0x1ffc},   {0x2102, 0x2102},
    {0x2107, 0x2107},   {0x210a, 0x2113},   {0x2115, 0x2115},   {0x2119, 0x211d},   {0x2124, 0x2124},
    {0x2126, 0x2126},   {0x2128, 0x2128},   {0x212a, 0x212d},   {0x212f, 0x2134},   {0x2139, 0x2139},
    {0x213c, 0x213f},   {0x2145, 0x2149},   {0x214e, 0x214e},   {0x2183, 0x2183},   {0x2184, 0x2184},
    {0x2c00, 0x2c7b},   {0x2c7e, 0x2ce4},   {0x2ceb, 0x2cee},   {0x2cf2, 0x2cf2},   {0x2cf3, 0x2cf3},
    {0xa640, 0xa66d},   {0xa680, 0xa69b},   {0xa722, 0xa76f},   {0xa771, 0xa787},   {0xa78b, 0xa78e},
    {0xab70, 0xabbf},   {0xfb00, 0xfb06},   {0xfb13, 0xfb17},   {0xff21, 0xff3a},   {0xff41, 0xff5a},
    {0x10400, 0x1044f}, {0x104b0, 0x104d3}, {0x104d8, 0x104fb}, {0x10c80, 0x10cb2}, {0x10cc0, 0x10cf2},
    {0x118a0, 0x118df}, {0x1e900, 0x1e943},
};

bool in_deepseek_letters(uint32_t c) {
  size_t low = 0, high = sizeof(kDeepseekLetterRanges) / sizeof(Range);
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (c > kDeepseekLetterRanges[middle].last) {
      low = middle + 1;
    } else if (c < kDeepseekLetterRanges[middle].first) {
      high = middle;
    } else {
      return true;
    }
  }
  return false;
}

bool is_ascii_letter(uint32_t c) { return (c | 32) >= 'a' && (c | 32) <= 'z'; }
bool is_ascii_punctuation(uint32_t c) { return c > 32 && c < 127 && !is_ascii_letter(c) && (c < '0' || c > '9'); }
bool is_newline(uint32_t c) { return c == '\n' || c == '\r'; }

bool is_bloom_separator(uint32_t c) {
  switch (c) {
    case '(':
    case ')':
    case '|':
    case '.':
    case ',':
    case '!':
    case '?':
    case 0x2026:
    case 0x3002:
    case 0xFF0C:
    case 0x3001:
    case 0x0964:
    case 0x06D4:
    case 0x060C: return true;
    default: return false;
  }
}

bool is_math(uint32_t c) { return c == '$' || c == '+' || (c >= '<' && c <= '>') || c == '^' || c == '~' || c == '|'; }

bool contains(CharSet set, uint32_t c, uint8_t flags) {
  switch (set) {
    case CharSet::kNumbers: return flags & kNumber;
    case CharSet::kAsciiDigits: return c >= '0' && c <= '9';
    case CharSet::kLetters: return flags & kLetter;
    case CharSet::kPunctuation: return flags & kPunctuation;
    case CharSet::kPunctuationAndMath: return (flags & kPunctuation) || is_math(c) || c == '`';
    case CharSet::kPunctuationAndMathNoBacktick: return (flags & kPunctuation) || is_math(c);
    case CharSet::kNewlines: return is_newline(c);
    case CharSet::kKanaAndHan: return (c >= 0x4E00 && c <= 0x9FA5) || (c >= 0x3040 && c <= 0x30FF);
    case CharSet::kDeepseekLetters: return in_deepseek_letters(c);
    case CharSet::kDeepseekPunctuation:
      return (c >= '!' && c <= '/') || (c >= ':' && c <= '~') || (c >= 0xFF01 && c <= 0xFF0F) ||
             (c >= 0xFF1A && c <= 0xFF5E) || (c >= 0x2018 && c <= 0x201F) || (c >= 0x3000 && c <= 0x3002);
    case CharSet::kDeepseekScripts:
      return (c >= 0x4E00 && c <= 0x9FA5) || (c >= 0x0800 && c <= 0x4E00) || (c >= 0xAC00 && c <= 0xD7FF);
    case CharSet::kNotBloomSeparators: return !(flags & kSpace) && !is_bloom_separator(c);
  }
  return false;
}

struct Char {
  uint32_t value = 0;
  uint32_t size_bytes = 0;  // 0: past the end
  uint8_t flags = 0;
};

/// One piece under one stage. Matching functions return the end of the match at `at`, or `at` when there is none.
class Piece {
 public:
  Piece(const char* text, size_t begin, size_t end) : text_(text), begin_(begin), end_(end), table_(unicode_table()) {}

  size_t match(const Stage& stage, size_t at) const {
    switch (stage.kind) {
      case Stage::kRun: return match_run(*stage.run, at);
      case Stage::kWords: return match_word(*stage.words, at);
      case Stage::kDeepseekWords: return match_deepseek_word(at);
      case Stage::kTrailingSpace: return match_trailing_space(at);
      case Stage::kEnd: break;
    }
    return at;
  }

  Char read(size_t at) const {
    if (at >= end_) return {};
    const CodePoint c = read_code_point(text_ + at);
    return {c.value, c.size_bytes, table_.flags(c.value)};
  }

 private:
  /// End of the run of characters with any of the flags in `any` (or, negated, with none of them).
  size_t run_of(uint8_t any, size_t at, bool negated = false) const {
    while (at < end_) {
      const Char c = read(at);
      if (((c.flags & any) != 0) == negated) break;
      at += c.size_bytes;
    }
    return at;
  }

  size_t match_run(const RunRule& rule, size_t at) const {
    const Char first = read(at);
    size_t start = at;
    const bool prefix = rule.prefix == RunRule::kAnySpace ? (first.flags & kSpace) != 0
                                                          : rule.prefix == RunRule::kBlank && first.value == ' ';
    const Char second = prefix ? read(at + first.size_bytes) : Char{};
    if (second.size_bytes > 0 && contains(rule.set, second.value, second.flags)) start = at + first.size_bytes;
    size_t stop = start;
    uint32_t count = 0;
    while (stop < end_ && (rule.max == 0 || count < rule.max)) {
      const Char c = read(stop);
      if (!contains(rule.set, c.value, c.flags)) break;
      stop += c.size_bytes;
      ++count;
    }
    return count >= rule.min ? stop : at;
  }

  /// 's 't 're 've 'm 'll 'd; `at` is on the apostrophe.
  size_t match_contraction(size_t at, bool any_case) const {
    if (at + 1 >= end_) return at;
    const char fold = any_case ? 32 : 0;
    const char a = static_cast<char>(text_[at + 1] | fold);
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return at + 2;
    if (at + 2 >= end_) return at;
    const char b = static_cast<char>(text_[at + 2] | fold);
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? at + 3 : at;
  }

  size_t match_numbers(uint8_t max_digits, size_t at) const {
    for (uint8_t i = 0; i < max_digits; ++i) {
      const Char c = read(at);
      if (!(c.flags & kNumber)) break;
      at += c.size_bytes;
    }
    return at;
  }

  /// Whitespace at `at`: up to its last newline; else all but the last character when more text follows; else all.
  size_t match_space(bool newline_rule, size_t at) const {
    size_t stop = at, last = at, newline_end = at;
    while (stop < end_) {
      const Char c = read(stop);
      if (!(c.flags & kSpace)) break;
      last = stop;
      stop += c.size_bytes;
      if (is_newline(c.value)) newline_end = stop;
    }
    if (newline_rule && newline_end > at) return newline_end;
    return stop < end_ && last > at ? last : stop;
  }

  size_t match_punctuation(uint8_t others, const char* suffix, size_t at) const {
    size_t stop = run_of(others, at, true);
    while (stop < end_ && text_[stop] != '\0' && std::string_view(suffix).find(text_[stop]) != std::string_view::npos)
      ++stop;
    return stop;
  }

  size_t match_word(const WordRule& rule, size_t at) const {
    const Char c = read(at);
    if (c.value == '\'' && (rule.contractions == WordRule::kLower || rule.contractions == WordRule::kAnyCase)) {
      const size_t stop = match_contraction(at, rule.contractions == WordRule::kAnyCase);
      if (stop > at) return stop;
    }
    const size_t next_at = at + c.size_bytes;
    const Char next = read(next_at);
    const uint8_t word = rule.marks ? kLetter | kMark : kLetter;
    const bool prefix = rule.any_prefix ? !(c.flags & (kLetter | kNumber)) && !is_newline(c.value) : c.value == ' ';
    if (rule.cased) {
      const size_t stop = match_cased(rule, at, prefix ? next_at : at);
      if (stop > at) return stop;
    } else {
      if (c.flags & word) return run_of(word, next_at);
      if (prefix && (next.flags & word)) return run_of(word, next_at);
    }
    if (rule.max_digits > 0) {
      if (c.flags & kNumber) return match_numbers(rule.max_digits, at);
    } else if ((c.flags & kNumber) || (prefix && (next.flags & kNumber))) {
      return run_of(kNumber, next_at);
    }
    const uint8_t others = static_cast<uint8_t>(kSpace | kNumber | word);
    if (c.value == ' ' && next.size_bytes > 0 && !(next.flags & others)) {
      return match_punctuation(others, rule.punctuation_suffix, next_at);
    }
    if (!(c.flags & others)) return match_punctuation(others, rule.punctuation_suffix, at);
    return match_space(rule.newline_rule, at);
  }

  static bool may_be_upper(uint8_t flags) { return (flags & (kLetter | kMark)) && !(flags & kLower); }
  static bool may_be_lower(uint8_t flags) { return (flags & (kLetter | kMark)) && !(flags & kUpper); }

  /// `upper* lower+`, giving back the last character both sets hold when no lower one follows; `at` when none.
  size_t match_upper_lower(size_t at) const {
    size_t stop = at, both_end = at;
    while (stop < end_) {
      const Char c = read(stop);
      if (!may_be_upper(c.flags)) break;
      stop += c.size_bytes;
      if (may_be_lower(c.flags)) both_end = stop;
    }
    size_t lower_end = stop;
    while (lower_end < end_) {
      const Char c = read(lower_end);
      if (!may_be_lower(c.flags)) break;
      lower_end += c.size_bytes;
    }
    return lower_end > stop ? lower_end : both_end;
  }

  /// `upper+` (its `lower*` is empty: match_upper_lower has failed); `at` when none.
  size_t match_upper(size_t at) const {
    while (at < end_) {
      const Char c = read(at);
      if (!may_be_upper(c.flags)) break;
      at += c.size_bytes;
    }
    return at;
  }

  /// Alternatives in the pattern's order: each with its prefix character first, then without. What a failed
  /// alternative scanned is one run of upper-case letters, which the next one takes whole: linear.
  size_t match_cased(const WordRule& rule, size_t at, size_t after_prefix) const {
    size_t stop = match_upper_lower(after_prefix);
    bool found = stop > after_prefix;
    if (!found && after_prefix > at) found = (stop = match_upper_lower(at)) > at;
    if (!found) found = (stop = match_upper(after_prefix)) > after_prefix;
    if (!found && after_prefix > at) found = (stop = match_upper(at)) > at;
    if (!found) return at;
    if (rule.contractions == WordRule::kAnyCaseSuffix && stop < end_ && text_[stop] == '\'')
      return match_contraction(stop, true);
    return stop;
  }

  size_t match_deepseek_word(size_t at) const {
    const Char c = read(at);
    const size_t next_at = at + c.size_bytes;
    const Char next = read(next_at);
    if (is_ascii_punctuation(c.value) && next_at < end_ && is_ascii_letter(next.value)) {
      size_t stop = next_at;
      while (stop < end_ && is_ascii_letter(static_cast<uint8_t>(text_[stop]))) ++stop;
      return stop;
    }
    const uint8_t word = kLetter | kMark, mark = kPunctuation | kSymbol;
    if (c.flags & word) return run_of(word, next_at);
    if (!is_newline(c.value) && !(c.flags & mark) && (next.flags & word)) return run_of(word, next_at);
    const size_t start = c.value == ' ' && (next.flags & mark) ? next_at : at;
    if (start > at || (c.flags & mark)) {
      size_t stop = run_of(mark, start);
      while (stop < end_ && is_newline(static_cast<uint8_t>(text_[stop]))) ++stop;
      return stop;
    }
    return c.flags & kSpace ? match_space(true, at) : at;
  }

  /// Only the first character of a run is tried: a run that does not reach the end fails once.
  size_t match_trailing_space(size_t at) const {
    if (at > begin_) {
      size_t previous = at - 1;
      while (previous > begin_ && (static_cast<uint8_t>(text_[previous]) & 0xC0) == 0x80) --previous;
      if (read(previous).flags & kSpace) return at;
    }
    return run_of(kSpace, at) == end_ ? end_ : at;
  }

  const char* text_;
  size_t begin_, end_;
  const UnicodeTable& table_;
};

/// Recursion depth is the number of stages, which the table fixes.
void split_piece(const Stage* stage, const char* text, size_t begin, size_t end, WordSink& sink) {
  if (stage->kind == Stage::kEnd) {
    sink.word({text + begin, end - begin});
    return;
  }
  const Piece piece(text, begin, end);
  size_t at = begin, gap = begin;
  while (at < end) {
    const size_t stop = piece.match(*stage, at);
    if (stop == at) {
      at += piece.read(at).size_bytes;
      continue;
    }
    if (gap < at) split_piece(stage + 1, text, gap, at, sink);
    split_piece(stage + 1, text, at, stop, sink);
    at = gap = stop;
  }
  if (gap < end) split_piece(stage + 1, text, gap, end, sink);
}

}  // namespace

void split_words(const PreTokenizer& pre, std::string_view text, WordSink& sink) {
  if (!text.empty()) split_piece(pre.stages, text.data(), 0, text.size(), sink);
}

}  // namespace lutra::tokenizer
