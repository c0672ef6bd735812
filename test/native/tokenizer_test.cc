// Tokenizers over vocabularies made by hand (no file): pre-tokenizers, merges, added tokens, byte fallback, repair of
// text, and every way a vocabulary can be refused.
#include <ctime>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer/unicode.h"
#include "tokenizer/vocab.h"

using namespace lutra::tokenizer;
using Ids = std::vector<int32_t>;
using Strings = std::vector<std::string>;

static std::ostream& operator<<(std::ostream& out, const Ids& ids) {
  for (const int32_t id : ids) out << id << ' ';
  return out;
}
static std::ostream& operator<<(std::ostream& out, const Strings& strings) {
  for (const std::string& s : strings) out << '[' << s << ']';
  return out;
}

static Strings words_of(const char* pre, std::string_view text) {
  struct Collect final : WordSink {
    Strings words;
    void word(std::string_view word) override { words.emplace_back(word); }
  } collect;
  const PreTokenizer* found = find_pretokenizer(pre);
  CHECK(found != nullptr);
  if (found != nullptr) split_words(*found, text, collect);
  return collect.words;
}

static void test_pretokenizers() {
  CHECK_EQ(words_of("gpt-2", "I'll  go 123 x!"), (Strings{"I", "'ll", " ", " go", " 123", " x", "!"}));
  CHECK_EQ(words_of("gpt-2", "a\n\n b \n"), (Strings{"a", "\n\n", " b", " \n"}));
  CHECK_EQ(words_of("gpt-2", "I'LL"), (Strings{"I", "'", "LL"}));
  CHECK_EQ(words_of("smollm", "x 123"), (Strings{"x", " ", "1", "2", "3"}));
  CHECK_EQ(words_of("llama-bpe", "I'LL  go 12345\r\n\n x!\n\n"),
           (Strings{"I", "'LL", " ", " go", " ", "123", "45", "\r\n\n", " x", "!\n\n"}));
  CHECK_EQ(words_of("llama-bpe", "(hello) \n  z"), (Strings{"(hello", ")", " \n", " ", " z"}));
  CHECK_EQ(words_of("qwen2", "a 12"), (Strings{"a", " ", "1", "2"}));
  CHECK_EQ(words_of("qwen2", "e\xCC\x81x"), (Strings{"e", "\xCC\x81x"}));
  CHECK_EQ(words_of("qwen35", "e\xCC\x81x"), (Strings{"e\xCC\x81x"}));
  CHECK_EQ(words_of("falcon", "a+=1 12345"), (Strings{"a", "+=", "1", " ", "123", "45"}));
  CHECK_EQ(words_of("gpt-4o", "HelloWorld ABCdef it's"), (Strings{"Hello", "World", " ABCdef", " it's"}));
  CHECK_EQ(words_of("gpt-4o",
                    "ABC\xE3\x81\x82"
                    "DEF 1234/\n"),
           (Strings{"ABC\xE3\x81\x82", "DEF", " ", "123", "4", "/\n"}));
  CHECK_EQ(words_of("tekken", "don't 2024"), (Strings{"don", "'t", " ", "2", "0", "2", "4"}));
  CHECK_EQ(words_of("deepseek-v3",
                    "x=y 1234 \xE6\xBC\xA2"
                    "a"),
           (Strings{"x", "=y", " ", "123", "4", " ", "\xE6\xBC\xA2", "a"}));
  CHECK_EQ(words_of("deepseek-coder", "a  b\n12!"), (Strings{"a", " ", " b", "\n", "1", "2", "!"}));
  CHECK_EQ(words_of("deepseek-llm", "ab  \n12 "), (Strings{"ab", "  ", "\n", "12", " "}));
  CHECK_EQ(words_of("bloom", "Hi there, you"), (Strings{"Hi", " there", ",", " you"}));
  CHECK_EQ(words_of("viking", "a12"), (Strings{"a", "1", "2"}));
  CHECK_EQ(words_of("default", "a 123!"), (Strings{"a", " ", "123", "!"}));
  CHECK(find_pretokenizer("no-such-name") == nullptr);
}

/// Every name gives back the whole text, cut at characters, whatever the text is.
static void test_pretokenizers_keep_text() {
  const char* names[] = {"gpt-2",  "llama-bpe", "qwen2",        "qwen35",         "seed-coder",
                         "gpt-4o", "tekken",    "smollm",       "falcon",         "default",
                         "bloom",  "viking",    "deepseek-llm", "deepseek-coder", "deepseek-v3"};
  const uint32_t pool[] = {'a',    'Z',   ' ',     ' ',    '\n',   '\r',   '\t',     '\'',   's',
                           'l',    '7',   '.',     '(',    '$',    0xA0,   0x301,    0x3042, 0x6F22,
                           0x3000, 0x661, 0x1F600, 0x200D, 0x2019, 0xFF01, 0x10FFFF, 0};
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    std::string text;
    for (size_t i = random() % 40; i-- > 0;) append_utf8(text, pool[random() % (sizeof(pool) / sizeof(pool[0]))]);
    for (const char* name : names) {
      std::string joined;
      bool whole = true;
      for (const std::string& word : words_of(name, text)) {
        whole = whole && !word.empty() && (static_cast<uint8_t>(word[0]) & 0xC0) != 0x80;
        joined += word;
      }
      CHECK(whole && joined == text);
    }
  }
}

static void test_unicode() {
  const UnicodeTable& table = unicode_table();
  CHECK_EQ(int{table.flags('A')}, kLetter | kUpper);
  CHECK_EQ(int{table.flags(0x301)}, int{kMark});
  CHECK_EQ(int{table.flags(0x85)}, int{kSpace});
  CHECK_EQ(int{table.flags(0xFEFF)}, 0);
  CHECK_EQ(int{table.flags(0xBD)}, int{kNumber});
  CHECK_EQ(int{table.flags(0x10FFFF)}, 0);
  const std::string bad = "\xEF\xBF\xBD";
  std::string storage;
  CHECK_EQ(repair_utf8("a\xF0\x9F\x98z", storage), "a" + bad + "z");          // a truncated sequence is one subpart
  CHECK_EQ(repair_utf8("\xC0\x80\xFF", storage), bad + bad + bad);            // overlong, never a lead
  CHECK_EQ(repair_utf8("\xED\xA0\x80", storage), bad + bad + bad);            // a surrogate
  CHECK_EQ(repair_utf8("\xF4\x90\x80\x80", storage), bad + bad + bad + bad);  // above U+10FFFF
  CHECK_EQ(repair_utf8(std::string_view("\0\xF4\x8F\xBF\xBF", 5), storage), std::string_view("\0\xF4\x8F\xBF\xBF", 5));
  CHECK_EQ(repair_utf8("\xE2\x82", storage), bad);
}

/// GPT-2's byte alphabet, then the pieces; ids of bytes are the bytes' values.
static Strings byte_tokens() {
  Strings tokens;
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    std::string token;
    const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    append_utf8(token, static_cast<uint32_t>(printable ? byte : next++));
    tokens.push_back(token);
  }
  return tokens;
}

struct Vocabulary {
  Strings tokens = byte_tokens(), merges;
  VocabSource source;
  Vocabulary() {
    source.model = "gpt2";
    source.pre = "gpt-2";
    source.types = std::vector<int32_t>(256, 1);
  }
  int32_t add(const std::string& token, int32_t type = 1) {
    tokens.push_back(token);
    source.types->push_back(type);
    return static_cast<int32_t>(tokens.size() - 1);
  }
  lutra::base::Result<std::shared_ptr<const Tokenizer>> build() {
    source.tokens = tokens;
    source.merges = merges;
    return build_tokenizer(source);
  }
  std::string error() {
    auto built = build();
    return built.ok() ? "ok" : built.status().code();
  }
};

static void test_bpe() {
  Vocabulary v;
  v.merges = {"b c", "a b", "ab c", "a bc", "x nope", "\xC4\xA0 a"};
  const int32_t bc = v.add("bc"), ab = v.add("ab"),
                blank_a = v.add(
                    "\xC4\xA0"
                    "a");
  const int32_t bc_again = v.add("bc"), abc = v.add("abc");
  const int32_t user = v.add("<tool>", 4), user_long = v.add("<tool>s", 4), control = v.add("<|im_end|>", 3);
  v.source.eos = static_cast<uint64_t>(control);
  v.source.bos = 1;
  v.source.add_bos = true;
  v.source.add_eos = true;
  auto built = v.build();
  CHECK(built.ok());
  if (!built.ok()) return;
  const Tokenizer& t = *built.value();
  CHECK_EQ(t.encode("abc", {false, false}), Ids{abc});
  CHECK_EQ(t.encode("ab bc a", {false, false}), (Ids{ab, ' ', bc, blank_a}));
  CHECK_EQ(t.encode("x", {true, false}), (Ids{1, 'x', control}));
  CHECK_EQ(t.encode("", {true, false}), (Ids{1, control}));
  CHECK_EQ(t.encode("<tool>z<tool>s", {false, false}), (Ids{user, 'z', user_long}));
  CHECK_EQ(t.encode("a<|im_end|>", {false, true}), (Ids{'a', control}));
  CHECK_EQ(t.encode("a<|im_end|>", {false, false}).size(), size_t{11});
  CHECK_EQ(t.decode(Ids{abc, control, -1, 9999, user}.data(), 5, false), std::string("abc<tool>"));
  CHECK_EQ(t.decode(Ids{abc, control}.data(), 2, true), std::string("abc<|im_end|>"));
  CHECK_EQ(t.token_bytes(blank_a, false), std::string(" a"));
  CHECK_EQ(t.token_bytes(bc_again, false), std::string("bc"));
  CHECK_EQ(t.token_bytes(200, false), std::string("\xC8"));
  CHECK_EQ(t.token_bytes(-5, true), std::string());
  CHECK(t.is_control(control) && !t.is_control(user) && !t.is_control(-1) && !t.is_control(1 << 30));
  CHECK_EQ(t.info().end_of_generation, Ids{control});
  CHECK_EQ(t.info().eot, control);
  CHECK_EQ(t.info().size, static_cast<uint32_t>(v.tokens.size()));
}

/// A byte without a token is left out, or becomes the unknown token, but never a control token.
static void test_missing_byte() {
  for (const int32_t type : {2, 3}) {
    Vocabulary v;
    v.merges = {"a b"};
    v.tokens[7] = "gone";
    v.source.unk = static_cast<uint64_t>(v.add("<unk>", type));
    auto built = v.build();
    CHECK(built.ok());
    if (built.ok())
      CHECK_EQ(built.value()->encode("x\ay", {false, false}), (type == 2 ? Ids{'x', 256, 'y'} : Ids{'x', 'y'}));
  }
}

static void test_ignore_merges() {
  for (const char* pre : {"llama-bpe", "dbrx"}) {
    Vocabulary v;
    v.source.pre = pre;
    const int32_t word = v.add("word");
    v.merges = {"o r"};
    auto built = v.build();
    CHECK(built.ok());
    if (!built.ok()) continue;
    const bool whole = built.value()->encode("word", {false, false}) == Ids{word};
    CHECK_EQ(whole, pre == std::string("llama-bpe"));
    CHECK_EQ(built.value()->info().add_bos, pre == std::string("llama-bpe"));
  }
}

static const std::string kBlank = "\xE2\x96\x81";

static Vocabulary spm_vocabulary(bool bytes) {
  Vocabulary v;
  v.tokens = {"<unk>", "<s>", "</s>"};
  v.source.types = std::vector<int32_t>{2, 3, 3};
  v.source.model = "llama";
  v.source.pre = "default";
  if (bytes) {
    for (int byte = 0; byte < 256; ++byte) {
      char name[8];
      std::snprintf(name, sizeof name, "<0x%02X>", byte);
      v.add(name, 6);
    }
  }
  return v;
}

static void test_spm() {
  for (const bool bytes : {true, false}) {
    Vocabulary v = spm_vocabulary(bytes);
    const int32_t blank = v.add(kBlank), a = v.add("a"), b = v.add("b"), aa = v.add("aa"), ab = v.add("ab");
    const int32_t blank_a = v.add(kBlank + "a"), user = v.add("<t>", 4);
    v.source.scores = std::vector<float>(v.tokens.size(), 0.0f);
    auto set = [&](int32_t id, float score) { (*v.source.scores)[static_cast<size_t>(id)] = score; };
    set(aa, -1), set(ab, -1), set(blank_a, -2), set(blank, -9), set(a, -9), set(b, -9);
    auto built = v.build();
    CHECK(built.ok());
    if (!built.ok()) continue;
    const Tokenizer& t = *built.value();
    CHECK_EQ(t.encode("a", {true, false}), (Ids{1, blank_a}));
    CHECK_EQ(t.encode("aab", {false, false}), (Ids{blank, aa, b}));  // equal scores: the leftmost pair first
    CHECK_EQ(t.encode("b  b", {false, false}), (Ids{blank, b, blank, blank, b}));
    CHECK_EQ(t.encode("b<t>b", {false, false}), (Ids{blank, b, user, blank, b}));
    CHECK_EQ(t.encode("<s>", {false, false}).size(), size_t{4});
    CHECK_EQ(t.encode("<s>a", {false, true}), (Ids{1, blank_a}));
    const Ids unknown = t.encode("\xC3\xA4", {false, false});
    CHECK_EQ(unknown, (bytes ? Ids{blank, 3 + 0xC3, 3 + 0xA4} : Ids{blank, 0}));
    for (const char* text : {"aab b", " a", "  ", "", "b<t>b", "b<t> b", "ab <t>"}) {
      const Ids ids = t.encode(text, {true, false});
      CHECK_EQ(t.decode(ids.data(), ids.size(), false), std::string(text));
    }
    CHECK_EQ(t.token_bytes(blank_a, false), std::string(" a"));
    CHECK_EQ(t.info().add_bos, true);
    v.source.add_space_prefix = false;
    auto plain = v.build();
    CHECK(plain.ok() && plain.value()->encode("a", {false, false}) == Ids{a});
  }
}

static void test_refused() {
  CHECK_EQ(Vocabulary().error(), std::string("TOKENIZER_BAD_VOCAB"));  // no merges
  auto with = [](auto change) {
    Vocabulary v;
    v.merges = {"a b"};
    change(v);
    return v.error();
  };
  CHECK_EQ(with([](Vocabulary&) {}), std::string("ok"));
  CHECK_EQ(with([](Vocabulary& v) { v.source.pre = "mystery"; }), std::string("TOKENIZER_UNSUPPORTED"));
  CHECK_EQ(with([](Vocabulary& v) { v.source.model = "bert"; }), std::string("TOKENIZER_UNSUPPORTED"));
  CHECK_EQ(with([](Vocabulary& v) { v.merges = {"ab"}; }), std::string("TOKENIZER_BAD_VOCAB"));
  CHECK_EQ(with([](Vocabulary& v) { v.merges = {""}; }), std::string("TOKENIZER_BAD_VOCAB"));
  CHECK_EQ(with([](Vocabulary& v) { v.merges = {"a "}; }), std::string("TOKENIZER_BAD_VOCAB"));
  CHECK_EQ(with([](Vocabulary& v) { v.tokens.clear(); }), std::string("TOKENIZER_BAD_VOCAB"));
  CHECK_EQ(with([](Vocabulary& v) { v.source.types->pop_back(); }), std::string("TOKENIZER_BAD_VOCAB"));
  CHECK_EQ(with([](Vocabulary& v) { (*v.source.types)[3] = 77; }), std::string("TOKENIZER_BAD_VOCAB"));
  CHECK_EQ(with([](Vocabulary& v) { v.source.scores = std::vector<float>(3); }), std::string("TOKENIZER_BAD_VOCAB"));
  CHECK_EQ(with([](Vocabulary& v) { v.source.bos = 256; }), std::string("MODEL_BAD_METADATA"));
  CHECK_EQ(with([](Vocabulary& v) { v.source.eos = UINT64_MAX; }), std::string("MODEL_BAD_METADATA"));
  Vocabulary spm = spm_vocabulary(true);
  CHECK_EQ(spm.error(), std::string("TOKENIZER_BAD_VOCAB"));  // no scores
  spm.source.scores = std::vector<float>(spm.tokens.size(), std::numeric_limits<float>::quiet_NaN());
  CHECK_EQ(spm.error(), std::string("TOKENIZER_BAD_VOCAB"));
}

static double cpu_ms() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

/// Merges of a word of n equal letters, where every doubling is a token, and of one whose merges are all equal.
static void test_long_words() {
  Vocabulary v;
  std::string run = "a";
  for (int i = 0; i < 10; ++i) {
    v.merges.push_back(run + " " + run);
    run += run;
    v.add(run);
  }
  auto built = v.build();
  CHECK(built.ok());
  if (!built.ok()) return;
  CHECK_EQ(built.value()->encode(std::string(1 << 20, 'a'), {false, false}).size(), size_t{1024});
  double best[2] = {1e9, 1e9};
  for (int round = 0; round < 3; ++round) {
    for (int size = 0; size < 2; ++size) {
      const std::string text(size_t{1 << 18} << size, 'a');
      const double start = cpu_ms();
      built.value()->encode(text, {false, false});
      best[size] = std::min(best[size], cpu_ms() - start);
    }
  }
  CHECK(best[1] < best[0] * 3.5 + 20);
}

static void test_many_added_tokens() {
  Vocabulary v;
  v.merges = {"a b"};
  for (int i = 0; i < 100000; ++i) v.add("<extra_" + std::to_string(i) + ">", 4);
  v.add(std::string(1 << 20, 'a') + "!", 4);  // a token of 1 MB whose every prefix is text
  auto built = v.build();
  CHECK(built.ok());
  if (!built.ok()) return;
  CHECK_EQ(built.value()->encode("x<extra_7><extra_77>", {false, false}), (Ids{'x', 256 + 7, 256 + 77}));
  const double start = cpu_ms();
  CHECK_EQ(built.value()->encode(std::string(1 << 20, 'a'), {false, false}).size(), size_t{1} << 20);
  CHECK(cpu_ms() - start < 5000);
}

int main() {
  test_unicode();
  test_pretokenizers();
  test_pretokenizers_keep_text();
  test_bpe();
  test_missing_byte();
  test_ignore_merges();
  test_spm();
  test_refused();
  test_long_words();
  test_many_added_tokens();
  return lutra_test_summary();
}
