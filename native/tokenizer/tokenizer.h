// Text ↔ token ids: byte-level BPE and SentencePiece (unigram-scored merges), with GGUF's vocabularies.
//
// Contract: immutable after load and safe to share between threads; linear time in the text; no recursion on input
// depth; no std::regex; never throws; any bytes are accepted (invalid UTF-8 becomes U+FFFD).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "gguf/gguf.h"

namespace lutra::tokenizer {

struct EncodeOptions {
  bool add_special = true;     ///< add BOS/EOS as the model's metadata asks
  bool parse_special = false;  ///< text that spells a control token becomes that token
};

struct VocabInfo {
  std::string model;  ///< "bpe" or "spm"
  std::string pre;    ///< pre-tokenizer name of the file
  uint32_t size = 0;
  int32_t bos = -1, eos = -1, eot = -1, unk = -1, pad = -1;  ///< -1 when absent
  bool add_bos = false, add_eos = false;
  std::vector<int32_t> end_of_generation;  ///< ids that end an answer (eos, eot and the known spellings), ascending
};

class Tokenizer {
 public:
  /// Codes: TOKENIZER_UNSUPPORTED (model or pre-tokenizer name unknown, naming it), TOKENIZER_BAD_VOCAB,
  /// MODEL_BAD_METADATA.
  static base::Result<std::shared_ptr<const Tokenizer>> load(const gguf::File& file);
  virtual ~Tokenizer() = default;

  virtual const VocabInfo& info() const = 0;
  virtual std::vector<int32_t> encode(std::string_view utf8, const EncodeOptions& options) const = 0;
  /// Bytes a token stands for in running text (may be part of a UTF-8 character). Control tokens give no bytes unless
  /// `show_special`. Ids outside the vocabulary give no bytes.
  virtual std::string token_bytes(int32_t id, bool show_special) const = 0;
  /// True for control tokens and unknown/unused ones: they are not part of the text.
  virtual bool is_control(int32_t id) const = 0;
  /// Concatenated bytes of a whole sequence, with the vocabulary's space-prefix rule applied at its start
  /// (SentencePiece models that add a space on encoding drop it here). May hold invalid UTF-8.
  virtual std::string decode(const int32_t* ids, size_t n, bool show_special) const = 0;
};

}  // namespace lutra::tokenizer
