// Fuzz target of the tokenizers. Byte 0 chooses a vocabulary, byte 1 the options, the rest is text (or, for odd byte 0,
// lines that become tokens, merges and types of a vocabulary, and its last line is text).
// Properties: nothing crashes; ids are in the vocabulary; encode → decode gives back valid text without U+2581.
//
// Entry for libFuzzer, plus a main for plain compilers:
//   tokenizer_fuzz FILE...                  replays files
//   tokenizer_fuzz -t SECONDS -s SEED FILE...  seeded mutations of the files for that long
// Build with -DLUTRA_LIBFUZZER to leave main out.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "tokenizer/unicode.h"
#include "tokenizer/vocab.h"

namespace {

using lutra::tokenizer::Tokenizer;
using lutra::tokenizer::VocabSource;
using Strings = std::vector<std::string>;

constexpr const char* kNames[] = {"gpt-2",  "llama-bpe",    "qwen2",          "qwen35",      "gpt-4o",
                                  "tekken", "smollm",       "falcon",         "default",     "bloom",
                                  "viking", "deepseek-llm", "deepseek-coder", "deepseek-v3", "seed-coder"};
constexpr size_t kNameCount = sizeof(kNames) / sizeof(kNames[0]);

Strings byte_alphabet() {
  Strings tokens;
  uint32_t next = 0x100;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    std::string token;
    const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    lutra::tokenizer::append_utf8(token, printable ? byte : next++);
    tokens.push_back(token);
  }
  return tokens;
}

std::shared_ptr<const Tokenizer> build(VocabSource source, const Strings& tokens, const Strings& merges,
                                       std::vector<int32_t> types) {
  source.tokens = tokens;
  source.merges = merges;
  source.types = std::move(types);
  auto built = lutra::tokenizer::build_tokenizer(source);
  return built.ok() ? built.value() : nullptr;
}

std::shared_ptr<const Tokenizer> small_bpe(const char* pre) {
  Strings tokens = byte_alphabet(), merges = {"a a", "aa aa", "\xC4\xA0 a", "e s", "\xC3\xA3 \xC4\xA3"};
  std::vector<int32_t> types(256, 1);
  for (const char* token : {"aa", "aaaa",
                            "\xC4\xA0"
                            "a",
                            "es", "\xC3\xA3\xC4\xA3"})
    tokens.push_back(token), types.push_back(1);
  for (const char* token : {"<t>", "<t>a", "  "}) tokens.push_back(token), types.push_back(4);
  tokens.push_back("<|im_end|>"), types.push_back(3);
  VocabSource source;
  source.model = "gpt2";
  source.pre = pre;
  return build(source, tokens, merges, types);
}

std::shared_ptr<const Tokenizer> small_spm(bool space_prefix) {
  const std::string blank = "\xE2\x96\x81";
  Strings tokens = {"<unk>", "<s>", "</s>"};
  std::vector<int32_t> types = {2, 3, 3};
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", byte);
    tokens.push_back(name), types.push_back(6);
  }
  for (const std::string& token : {std::string("a"), std::string("e"), std::string("aa"), blank, blank + "a",
                                   blank + blank, "e" + blank, std::string("ea")}) {
    tokens.push_back(token), types.push_back(1);
  }
  tokens.push_back("<t>"), types.push_back(4);
  VocabSource source;
  source.model = "llama";
  source.add_space_prefix = space_prefix;
  source.scores = std::vector<float>(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) (*source.scores)[i] = -static_cast<float>(i / 2);
  return build(source, tokens, {}, types);
}

void check_text(const Tokenizer& tokenizer, std::string_view text, uint8_t options, bool lossless) {
  const bool parse_special = options & 1;
  const auto ids = tokenizer.encode(text, {(options & 2) != 0, parse_special});
  for (const int32_t id : ids) {
    if (id < 0 || static_cast<uint32_t>(id) >= tokenizer.info().size) std::abort();
  }
  const std::string back = tokenizer.decode(ids.data(), ids.size(), parse_special);
  std::string storage;
  const std::string_view repaired = lutra::tokenizer::repair_utf8(text, storage);
  if (lossless && !(options & 2) && text.find("\xE2\x96\x81") == std::string_view::npos && back != repaired)
    std::abort();
}

Strings lines_of(std::string_view text) {
  Strings lines;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    lines.emplace_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

/// Lines with a blank inside are merges, others tokens; a leading digit from 0 to 6 is the token's type.
void check_vocabulary(uint8_t kind, uint8_t options, std::string_view data) {
  VocabSource source;
  source.model = kind & 2 ? "llama" : "gpt2";
  source.pre = kNames[(kind >> 2) % kNameCount];
  source.name = options & 4 ? "phi-3" : "";
  source.add_bos = (options & 8) != 0;
  Strings tokens, merges;
  std::vector<int32_t> types;
  const Strings lines = lines_of(data);
  for (const std::string& line : lines) {
    const bool typed = !line.empty() && line[0] >= '0' && line[0] <= '6';
    if (line.find(' ', 1) != std::string::npos) merges.push_back(line);
    tokens.push_back(typed ? line.substr(1) : line);
    types.push_back(typed ? line[0] - '0' : 1);
  }
  source.scores = std::vector<float>(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) (*source.scores)[i] = static_cast<float>(i % 7);
  const auto tokenizer = build(source, tokens, merges, types);
  if (tokenizer == nullptr) return;
  check_text(*tokenizer, data, options, false);
  check_text(*tokenizer, lines.back(), options, false);
  for (int32_t id = -1; id <= static_cast<int32_t>(tokens.size()); ++id) tokenizer->token_bytes(id, id & 1);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto tokenizers = [] {
    std::vector<std::shared_ptr<const Tokenizer>> all = {small_spm(true), small_spm(false)};
    for (const char* name : kNames) all.push_back(small_bpe(name));
    return all;
  }();
  if (size < 2) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
  if (data[0] & 1) {
    check_vocabulary(data[0] >> 1, data[1], text);
  } else {
    check_text(*tokenizers[(data[0] >> 1) % tokenizers.size()], text, data[1], true);
  }
  return 0;
}

#ifndef LUTRA_LIBFUZZER
namespace {

/// Characters of every class the scanners know, whole and broken.
constexpr const char* kPieces[] = {"a",
                                   "A",
                                   " ",
                                   "  ",
                                   "\n",
                                   "\r\n",
                                   "\t",
                                   "'s",
                                   "'LL",
                                   "7",
                                   "123",
                                   ".",
                                   "!?",
                                   "$",
                                   "<t>",
                                   "<|im_end|>",
                                   "<s>",
                                   "</s>",
                                   "\xC2\xA0",
                                   "\xCC\x81",
                                   "\xE3\x81\x82",
                                   "\xE6\xBC\xA2",
                                   "\xE3\x80\x80",
                                   "\xD9\xA1",
                                   "\xF0\x9F\x98\x80",
                                   "\xF0\x9F",
                                   "\xFF",
                                   "\xED\xA0\x80",
                                   "\xE2\x96\x81",
                                   "aaaa",
                                   "\xE2\x80\x99"};

void mutate(std::string& input, std::mt19937& random) {
  for (size_t edits = 1 + random() % 8; edits-- > 0;) {
    const size_t at = random() % (input.size() + 1);
    switch (random() % 6) {
      case 0: input.insert(at, 1, static_cast<char>(random())); break;
      case 1:
        if (at < input.size()) input[at] = static_cast<char>(random());
        break;
      case 2:
        if (at < input.size()) input.erase(at, 1 + random() % 4);
        break;
      case 3: input.insert(at, input.substr(input.size() - at, random() % 64)); break;
      default: input.insert(at, kPieces[random() % (sizeof(kPieces) / sizeof(kPieces[0]))]);
    }
  }
  if (input.size() > 4096) input.resize(4096);
}

}  // namespace

int main(int argc, char** argv) {
  double seconds = 0;
  uint32_t seed = 1;
  Strings inputs;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "-t" && i + 1 < argc) {
      seconds = std::atof(argv[++i]);
    } else if (argument == "-s" && i + 1 < argc) {
      seed = static_cast<uint32_t>(std::atoi(argv[++i]));
    } else {
      std::ifstream file(argument, std::ios::binary);
      inputs.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    }
  }
  for (const std::string& input : inputs)
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
  std::mt19937 random(seed);
  const auto start = std::chrono::steady_clock::now();
  uint64_t runs = 0;
  std::string input;
  while (std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < seconds) {
    if (runs % 16 == 0) input = inputs.empty() ? std::string(2, '\0') : inputs[random() % inputs.size()];
    mutate(input, random);
    if (!input.empty() && random() % 2 == 0) input[0] = static_cast<char>(random());
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
    ++runs;
  }
  std::printf("%zu files, %llu mutations\n", inputs.size(), static_cast<unsigned long long>(runs));
  return 0;
}
#endif
