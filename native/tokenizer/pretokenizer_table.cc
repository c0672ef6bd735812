// The named pre-tokenizers: which stages each name stands for. See pretokenizer.h.
#include "tokenizer/pretokenizer.h"

namespace lutra::tokenizer {
namespace {

constexpr RunRule kOneNumber{CharSet::kNumbers, RunRule::kNone, 1, 1};
constexpr RunRule kThreeNumbers{CharSet::kNumbers, RunRule::kNone, 1, 3};
constexpr RunRule kAllNumbers{CharSet::kNumbers};
constexpr RunRule kDigitTriple{CharSet::kAsciiDigits, RunRule::kNone, 3, 3};
constexpr RunRule kMathPunctuation{CharSet::kPunctuationAndMath};
constexpr RunRule kMathPunctuationNoBacktick{CharSet::kPunctuationAndMathNoBacktick};
constexpr RunRule kOneNewline{CharSet::kNewlines, RunRule::kNone, 1, 1};
constexpr RunRule kSpacedLetters{CharSet::kLetters, RunRule::kAnySpace};
constexpr RunRule kSpacedPunctuation{CharSet::kPunctuation, RunRule::kAnySpace};
constexpr RunRule kKanaAndHan{CharSet::kKanaAndHan};
constexpr RunRule kDeepseekLetters{CharSet::kDeepseekLetters, RunRule::kAnySpace};
constexpr RunRule kDeepseekPunctuation{CharSet::kDeepseekPunctuation, RunRule::kAnySpace};
constexpr RunRule kDeepseekScripts{CharSet::kDeepseekScripts};
constexpr RunRule kBloomWords{CharSet::kNotBloomSeparators, RunRule::kBlank};

//                            contractions              any_prefix marks  cased max_digits suffix   newline_rule
constexpr WordRule kGpt2Rule{WordRule::kLower, false, false, false, 0, "", false};
constexpr WordRule kLlama3Rule{WordRule::kAnyCase, true, false, false, 3, "\r\n", true};
constexpr WordRule kQwen2Rule{WordRule::kAnyCase, true, false, false, 1, "\r\n", true};
constexpr WordRule kQwen35Rule{WordRule::kAnyCase, true, true, false, 1, "\r\n", true};
constexpr WordRule kSeedCoderRule{WordRule::kAnyCase, true, false, false, 1, "", true};
constexpr WordRule kO200kRule{WordRule::kAnyCaseSuffix, true, false, true, 3, "\r\n/", true};
constexpr WordRule kTekkenRule{WordRule::kNone, true, false, true, 1, "\r\n/", true};

constexpr Stage run(const RunRule& rule) { return {Stage::kRun, &rule, nullptr}; }
constexpr Stage words(const WordRule& rule) { return {Stage::kWords, nullptr, &rule}; }
constexpr Stage of_kind(Stage::Kind kind) { return {kind, nullptr, nullptr}; }
constexpr Stage kEnd = of_kind(Stage::kEnd);

constexpr Stage kGpt2[] = {words(kGpt2Rule), kEnd};
constexpr Stage kDigitsGpt2[] = {run(kOneNumber), words(kGpt2Rule), kEnd};
constexpr Stage kLlama3[] = {words(kLlama3Rule), kEnd};
constexpr Stage kQwen2[] = {words(kQwen2Rule), kEnd};
constexpr Stage kQwen35[] = {words(kQwen35Rule), kEnd};
constexpr Stage kSeedCoder[] = {words(kSeedCoderRule), kEnd};
constexpr Stage kO200k[] = {words(kO200kRule), kEnd};
constexpr Stage kTekken[] = {words(kTekkenRule), kEnd};
constexpr Stage kFalcon[] = {run(kMathPunctuation), words(kGpt2Rule), run(kDigitTriple), kEnd};
constexpr Stage kDefault[] = {run(kMathPunctuationNoBacktick), words(kGpt2Rule), run(kAllNumbers), run(kDigitTriple),
                              kEnd};
constexpr Stage kBloom[] = {run(kBloomWords), kEnd};
constexpr Stage kViking[] = {run(kBloomWords), run(kOneNumber), kEnd};
constexpr Stage kDeepseek3[] = {run(kThreeNumbers), run(kKanaAndHan), of_kind(Stage::kDeepseekWords), kEnd};
constexpr Stage kDeepseekLlm[] = {run(kOneNewline),
                                  run(kDeepseekLetters),
                                  run(kDeepseekPunctuation),
                                  of_kind(Stage::kTrailingSpace),
                                  run(kDeepseekScripts),
                                  run(kAllNumbers),
                                  kEnd};
constexpr Stage kDeepseekCoder[] = {run(kOneNewline),      run(kSpacedLetters), run(kSpacedPunctuation),
                                    run(kDeepseekScripts), run(kOneNumber),     kEnd};

//                                name, stages, ignore_merges, add_bos
constexpr PreTokenizer kTable[] = {
    {"", kDefault},
    {"default", kDefault},
    {"llama-bpe", kLlama3, true, true},
    {"llama3", kLlama3, true, true},
    {"llama-v3", kLlama3, true, true},
    {"falcon3", kLlama3, true, true},
    {"falcon-h1", kLlama3, true, true},
    {"pixtral", kLlama3, true, true},
    {"midm-2.0", kLlama3, true, true},
    {"lfm2", kLlama3, true, true},
    {"dbrx", kLlama3},
    {"smaug-bpe", kLlama3},
    {"glm4", kLlama3},
    {"chatglm-bpe", kLlama3},
    {"qwen2", kQwen2},
    {"deepseek-r1-qwen", kQwen2},
    {"stablelm2", kQwen2},
    {"hunyuan", kQwen2},
    {"solar-open", kQwen2},
    {"kormo", kQwen2},
    {"f2llmv2", kQwen2},
    {"megrez", kQwen2},
    {"grok-2", kQwen2},
    {"bailingmoe", kQwen2},
    {"bailingmoe2", kQwen2},
    {"llada-moe", kQwen2},
    {"qwen35", kQwen35},
    {"seed-coder", kSeedCoder},
    {"gpt-4o", kO200k},
    {"o200k", kO200k},
    {"llama4", kO200k},
    {"kanana2", kO200k},
    {"minimax-m2", kO200k},
    {"tekken", kTekken, true, true},
    {"smollm", kDigitsGpt2},
    {"starcoder", kDigitsGpt2},
    {"refact", kDigitsGpt2},
    {"command-r", kDigitsGpt2},
    {"codeshell", kDigitsGpt2},
    {"exaone", kDigitsGpt2},
    {"minerva-7b", kDigitsGpt2},
    {"mellum2", kDigitsGpt2},
    {"gpt-2", kGpt2},
    {"gpt-neox", kGpt2},
    {"phi-2", kGpt2},
    {"olmo", kGpt2},
    {"mpt", kGpt2},
    {"jais", kGpt2},
    {"trillion", kGpt2},
    {"granite-docling", kGpt2},
    {"exaone4", kGpt2},
    {"gigachat", kGpt2},
    {"a.x-4.0", kGpt2},
    {"mellum", kGpt2},
    {"modern-bert", kGpt2},
    {"falcon", kFalcon},
    {"bloom", kBloom},
    {"poro-chat", kBloom},
    {"gpt3-finnish", kBloom},
    {"viking", kViking},
    {"deepseek-llm", kDeepseekLlm},
    {"deepseek-coder", kDeepseekCoder},
    {"deepseek-v3", kDeepseek3},
    {"hunyuan-dense", kDeepseek3},
    {"joyai-llm", kDeepseek3},
};

}  // namespace

const PreTokenizer* find_pretokenizer(std::string_view name) {
  for (const PreTokenizer& pre : kTable) {
    if (name == pre.name) return &pre;
  }
  return nullptr;
}

}  // namespace lutra::tokenizer
