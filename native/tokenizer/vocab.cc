// The shared half of a tokenizer: checks of the metadata, special tokens, end-of-generation ids. See vocab.h.
#include "tokenizer/vocab.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "tokenizer/unicode.h"

namespace lutra::tokenizer {
namespace {

/// Spellings that end an answer, whatever the file's eos is.
constexpr std::string_view kEndSpellings[] = {
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<turn|>",
    "</s>",
    "<eos>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<end_of_utterance>",
    "<\xEF\xBD\x9C"
    "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>",
};

/// Those that end a turn, for info().eot.
constexpr std::string_view kTurnSpellings[] = {"<|eot_id|>",    "<|im_end|>", "<|end|>", "<end_of_turn>",
                                               "<|endoftext|>", "<EOT>",      "_<EOT>"};

bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

bool is_phi3(std::string name) {
  for (char& c : name) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return name.find("phi-3") != std::string::npos || name.find("phi3") != std::string::npos;
}

base::Status length_mismatch(const char* key, size_t found, size_t expected) {
  return {"TOKENIZER_BAD_VOCAB", std::string(key) + ": expected " + std::to_string(expected) +
                                     " entries, one per token, found " + std::to_string(found)};
}

}  // namespace

base::Status VocabTokenizer::load_common(const VocabSource& source) {
  const size_t size = source.tokens.size();
  if (size == 0) return {"TOKENIZER_BAD_VOCAB", "tokenizer.ggml.tokens: expected at least 1 token, found 0"};
  if (size > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    return {"TOKENIZER_BAD_VOCAB",
            "tokenizer.ggml.tokens: expected at most 2147483647 tokens, found " + std::to_string(size)};
  }
  info_.size = static_cast<uint32_t>(size);
  info_.pre = source.pre;
  if (auto status = load_types(source); !status.ok()) return status;
  if (auto status = load_special_ids(source); !status.ok()) return status;
  strip_after_special_ = is_phi3(source.name);
  load_added(source);
  return {};
}

base::Status VocabTokenizer::load_types(const VocabSource& source) {
  const size_t size = source.tokens.size();
  if (source.scores && source.scores->size() != size) {
    return length_mismatch("tokenizer.ggml.scores", source.scores->size(), size);
  }
  types_.assign(size, TokenType::kNormal);
  if (!source.types) return {};
  if (source.types->size() != size) return length_mismatch("tokenizer.ggml.token_type", source.types->size(), size);
  for (size_t id = 0; id < size; ++id) {
    const int32_t type = (*source.types)[id];
    if (type < 0 || type > static_cast<int32_t>(TokenType::kByte)) {
      return {"TOKENIZER_BAD_VOCAB", "tokenizer.ggml.token_type[" + std::to_string(id) +
                                         "]: expected a type from 0 to 6, found " + std::to_string(type)};
    }
    types_[id] = static_cast<TokenType>(type);
  }
  return {};
}

base::Status VocabTokenizer::load_special_ids(const VocabSource& source) {
  int32_t eom = -1;
  const std::pair<const char*, std::pair<const std::optional<uint64_t>*, int32_t*>> ids[] = {
      {"tokenizer.ggml.bos_token_id", {&source.bos, &info_.bos}},
      {"tokenizer.ggml.eos_token_id", {&source.eos, &info_.eos}},
      {"tokenizer.ggml.eot_token_id", {&source.eot, &info_.eot}},
      {"tokenizer.ggml.eom_token_id", {&source.eom, &eom}},
      {"tokenizer.ggml.unknown_token_id", {&source.unk, &info_.unk}},
      {"tokenizer.ggml.padding_token_id", {&source.pad, &info_.pad}},
  };
  for (const auto& [key, slot] : ids) {
    const std::optional<uint64_t>& value = *slot.first;
    if (!value) continue;
    if (*value >= info_.size) {
      return {"MODEL_BAD_METADATA", std::string(key) + ": expected an id below the vocabulary's " +
                                        std::to_string(info_.size) + ", found " + std::to_string(*value)};
    }
    *slot.second = static_cast<int32_t>(*value);
  }
  // A file without types still has its special tokens.
  if (!source.types) {
    for (const int32_t id : {info_.bos, info_.eos, info_.eot, eom}) {
      if (id >= 0) types_[static_cast<size_t>(id)] = TokenType::kControl;
    }
  }
  find_end_of_generation(source, eom);
  return {};
}

void VocabTokenizer::find_end_of_generation(const VocabSource& source, int32_t eom) {
  std::vector<int32_t>& ends = info_.end_of_generation;
  int32_t harmony_end = -1;
  bool has_return = false, has_call = false;
  size_t best_turn = std::size(kTurnSpellings);
  const bool find_turn = info_.eot < 0;
  for (size_t id = 0; id < info_.size; ++id) {
    if (types_[id] != TokenType::kControl) continue;
    const std::string& text = source.tokens[id];
    const auto token = static_cast<int32_t>(id);
    if (std::find(std::begin(kEndSpellings), std::end(kEndSpellings), text) != std::end(kEndSpellings))
      ends.push_back(token);
    if (text == "<|end|>") harmony_end = token;
    has_return = has_return || text == "<|return|>";
    has_call = has_call || text == "<|call|>";
    const size_t turn = static_cast<size_t>(std::find(std::begin(kTurnSpellings), std::end(kTurnSpellings), text) -
                                            std::begin(kTurnSpellings));
    if (find_turn && turn < best_turn) {
      best_turn = turn;
      info_.eot = token;
    }
  }
  // In the harmony format <|end|> closes a message, not the answer.
  const bool harmony = has_return && has_call && harmony_end >= 0;
  if (harmony) std::erase(ends, harmony_end);
  for (const int32_t id : {info_.eos, info_.eot, eom}) {
    if (id >= 0 && !(harmony && id == harmony_end)) ends.push_back(id);
  }
  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
}

void VocabTokenizer::load_added(const VocabSource& source) {
  std::vector<AddedToken> added;
  for (size_t id = 0; id < info_.size; ++id) {
    const TokenType type = types_[id];
    if (type != TokenType::kControl && type != TokenType::kUser && type != TokenType::kUnknown) continue;
    added.push_back({source.tokens[id], static_cast<int32_t>(id), type != TokenType::kUser});
  }
  added_.build(added);
}

bool VocabTokenizer::is_control(int32_t id) const {
  if (!in_vocabulary(id)) return false;
  const TokenType type = type_of(id);
  return type == TokenType::kControl || type == TokenType::kUnknown || type == TokenType::kUnused;
}

void VocabTokenizer::encode_slice(std::string_view text, bool parse_special, MergeScratch& scratch,
                                  std::vector<int32_t>& ids) const {
  size_t from = 0;
  bool after_special = true;
  for (const AddedMatch& match : added_.find(text, parse_special)) {
    if (match.begin > from) encode_text(text.substr(from, match.begin - from), after_special, scratch, ids);
    ids.push_back(match.id);
    from = match.end;
    after_special = true;
    const bool plain = match.id == info_.bos || match.id == info_.eos || match.id == info_.unk;
    if (!strip_after_special_ || plain || type_of(match.id) != TokenType::kControl) continue;
    while (from < text.size() && is_blank(text[from])) ++from;
  }
  if (from < text.size()) encode_text(text.substr(from), after_special, scratch, ids);
}

std::vector<int32_t> VocabTokenizer::encode(std::string_view utf8, const EncodeOptions& options) const {
  // Positions are 32 bits wide; no string of JavaScript reaches this.
  constexpr size_t kSliceBytes = size_t{1} << 31;
  std::string storage;
  std::string_view text = repair_utf8(utf8, storage);
  std::vector<int32_t> ids;
  MergeScratch scratch;
  if (options.add_special && info_.add_bos && info_.bos >= 0) ids.push_back(info_.bos);
  while (!text.empty()) {
    size_t size = std::min(text.size(), kSliceBytes);
    while (size < text.size() && (static_cast<uint8_t>(text[size]) & 0xC0) == 0x80) --size;
    encode_slice(text.substr(0, size), options.parse_special, scratch, ids);
    text.remove_prefix(size);
  }
  if (options.add_special && info_.add_eos && info_.eos >= 0) ids.push_back(info_.eos);
  return ids;
}

base::Result<std::shared_ptr<const Tokenizer>> build_tokenizer(const VocabSource& source) {
  if (source.model == "gpt2") return build_bpe(source);
  if (source.model == "llama") return build_spm(source);
  return base::Status("TOKENIZER_UNSUPPORTED", "tokenizer.ggml.model: expected \"gpt2\" or \"llama\", found \"" +
                                                   source.model.substr(0, 64) + "\"");
}

}  // namespace lutra::tokenizer
