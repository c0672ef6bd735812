// Splits text into the words byte-level BPE merges inside, as the named patterns of public GGUF files do.
//
// A pre-tokenizer is a short pipeline of stages. Each stage cuts every piece of the one before into its matches and
// the gaps between them; look-aheads of a pattern end at the piece's end. Hand-written scanners, linear in the text,
// recursion over the stages (at most 6) only. Contract: text is valid UTF-8.
// Source: the patterns of the models' tokenizer.json files and GGUF's names for them (tokenizer.ggml.pre).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace lutra::tokenizer {

/// Sets of characters a run may consist of.
enum class CharSet : uint8_t {
  kNumbers,
  kAsciiDigits,
  kLetters,
  kPunctuation,
  kPunctuationAndMath,
  kPunctuationAndMathNoBacktick,
  kNewlines,
  kKanaAndHan,
  kDeepseekLetters,
  kDeepseekPunctuation,
  kDeepseekScripts,
  kNotBloomSeparators,
};

/// `prefix? set{min,max}`
struct RunRule {
  enum Prefix : uint8_t { kNone, kBlank, kAnySpace };
  CharSet set;
  Prefix prefix = kNone;
  uint32_t min = 1, max = 0;  ///< max 0: unbounded
};

/// The family of patterns GPT-2 began: contractions, words, numbers, punctuation, whitespace, tried in this order.
struct WordRule {
  enum Contractions : uint8_t { kNone, kLower, kAnyCase, kAnyCaseSuffix };
  Contractions contractions;
  bool any_prefix;     ///< words take any one non-letter, non-number, non-newline before them, not just a blank
  bool marks;          ///< combining marks belong to words
  bool cased;          ///< words are upper* lower+ or upper+ lower* (o200k)
  uint8_t max_digits;  ///< 0: unbounded, with an optional blank before
  const char* punctuation_suffix;  ///< characters that may follow a punctuation run
  bool newline_rule;               ///< whitespace up to its last newline is one piece
};

struct Stage {
  enum Kind : uint8_t { kEnd, kRun, kWords, kDeepseekWords, kTrailingSpace };
  Kind kind = kEnd;
  const RunRule* run = nullptr;
  const WordRule* words = nullptr;
};

constexpr int kMaxStages = 6;

struct PreTokenizer {
  const char* name;
  const Stage* stages;         ///< ends with kEnd, at most kMaxStages before it
  bool ignore_merges = false;  ///< a word that is a token needs no merges
  bool add_bos = false;        ///< default when the file does not say
};

/// nullptr for names this engine does not know exactly. "" and "default" are the format's documented default.
const PreTokenizer* find_pretokenizer(std::string_view name);

/// Takes the words of a text in order.
class WordSink {
 public:
  virtual void word(std::string_view word) = 0;

 protected:
  ~WordSink() = default;
};

/// Gives every word of `text` to the sink; together they are the text. Allocates nothing.
void split_words(const PreTokenizer& pre, std::string_view text, WordSink& sink);

}  // namespace lutra::tokenizer
