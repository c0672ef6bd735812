// What a vocabulary file says, before and after checking; shared by both kinds of tokenizer.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/merge.h"
#include "tokenizer/piece_map.h"
#include "tokenizer/tokenizer.h"

namespace lutra::tokenizer {

/// GGUF's token types.
enum class TokenType : uint8_t {
  kUndefined = 0,
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUser = 4,
  kUnused = 5,
  kByte = 6
};

/// The metadata of a file, unchecked. Spans stay the caller's.
struct VocabSource {
  std::string model;  ///< tokenizer.ggml.model: "gpt2" or "llama"
  std::string pre;    ///< tokenizer.ggml.pre, "" when absent
  std::string name;   ///< general.name
  std::span<const std::string> tokens, merges;
  std::optional<std::vector<float>> scores;
  std::optional<std::vector<int32_t>> types;
  std::optional<uint64_t> bos, eos, eot, eom, unk, pad;
  std::optional<bool> add_bos, add_eos, add_space_prefix;
};

/// Builds the tokenizer of checked metadata. Codes as Tokenizer::load.
base::Result<std::shared_ptr<const Tokenizer>> build_tokenizer(const VocabSource& source);

/// The parts every tokenizer has, and the outer half of encode and decode: special tokens, BOS and EOS.
class VocabTokenizer : public Tokenizer {
 public:
  const VocabInfo& info() const override { return info_; }
  std::vector<int32_t> encode(std::string_view utf8, const EncodeOptions& options) const override;
  bool is_control(int32_t id) const override;

 protected:
  /// Checks lengths, types and ids; fills everything here but pieces_.
  base::Status load_common(const VocabSource& source);
  TokenType type_of(int32_t id) const { return types_[static_cast<size_t>(id)]; }
  bool in_vocabulary(int32_t id) const { return id >= 0 && static_cast<uint32_t>(id) < info_.size; }
  /// Tokens of text without special tokens in it. `after_special`: it starts the text or follows an added token.
  virtual void encode_text(std::string_view text, bool after_special, MergeScratch& scratch,
                           std::vector<int32_t>& ids) const = 0;

  VocabInfo info_;
  std::vector<TokenType> types_;
  PieceStore pieces_;
  AddedTokens added_;
  bool strip_after_special_ = false;  ///< phi-3: whitespace after a control token belongs to it

 private:
  void encode_slice(std::string_view text, bool parse_special, MergeScratch& scratch, std::vector<int32_t>& ids) const;
  base::Status load_types(const VocabSource& source);
  base::Status load_special_ids(const VocabSource& source);
  void find_end_of_generation(const VocabSource& source, int32_t eom);
  void load_added(const VocabSource& source);
};

base::Result<std::shared_ptr<const Tokenizer>> build_bpe(const VocabSource& source);
base::Result<std::shared_ptr<const Tokenizer>> build_spm(const VocabSource& source);

}  // namespace lutra::tokenizer
