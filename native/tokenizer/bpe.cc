// Byte-level BPE (GPT-2 and its many successors): words from the pre-tokenizer, bytes as first symbols, merges by rank.
//
// GGUF spells pieces in GPT-2's byte alphabet (one printable character per byte); they are turned into the bytes they
// stand for at load, so encoding and decoding see raw bytes only.
// Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019 (byte-level BPE and its
// alphabet); Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units", ACL 2016.
#include <array>
#include <limits>

#include "tokenizer/pretokenizer.h"
#include "tokenizer/unicode.h"
#include "tokenizer/vocab.h"

namespace lutra::tokenizer {
namespace {

/// Byte of each character of the alphabet, by code point; -1 for others. Printable Latin-1 bytes stand for
/// themselves, the 68 others for U+0100 and up, in order.
struct ByteAlphabet {
  std::array<int16_t, 0x144> byte_of;
  ByteAlphabet() {
    byte_of.fill(-1);
    int next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
      byte_of[static_cast<size_t>(printable ? byte : next++)] = static_cast<int16_t>(byte);
    }
  }
};

/// Appends the bytes a spelling stands for; characters outside the alphabet stand for themselves.
void append_raw_bytes(std::string_view spelling, std::string& out) {
  static const ByteAlphabet alphabet;
  const char* at = spelling.data();
  const char* const end = at + spelling.size();
  while (at < end) {
    size_t size = 1;
    uint32_t code_point = static_cast<uint8_t>(*at);
    if (code_point >= 0x80) {
      size_t skip = 0;
      size = utf8_character(at, end, &skip);
      code_point = size > 0 ? read_code_point(at).value : UINT32_MAX;
      if (size == 0) size = skip;
    }
    if (code_point < alphabet.byte_of.size() && alphabet.byte_of[code_point] >= 0) {
      out += static_cast<char>(alphabet.byte_of[code_point]);
    } else {
      out.append(at, size);
    }
    at += size;
  }
}

class BpeTokenizer final : public VocabTokenizer {
 public:
  base::Status load(const VocabSource& source) {
    if (auto status = load_common(source); !status.ok()) return status;
    info_.model = "bpe";
    pre_ = find_pretokenizer(source.pre);
    if (pre_ == nullptr) {
      return {"TOKENIZER_UNSUPPORTED",
              "tokenizer.ggml.pre: no pre-tokenizer of the name \"" + source.pre.substr(0, 64) + "\""};
    }
    if (source.merges.empty()) {
      return {"TOKENIZER_BAD_VOCAB", "tokenizer.ggml.merges: expected the merges of a \"gpt2\" tokenizer, found none"};
    }
    info_.add_bos = source.add_bos.value_or(pre_->add_bos);
    info_.add_eos = source.add_eos.value_or(false);
    load_pieces(source);
    return load_merges(source);
  }

  std::string token_bytes(int32_t id, bool show_special) const override {
    if (!in_vocabulary(id) || (is_control(id) && !show_special)) return {};
    return std::string(pieces_[static_cast<size_t>(id)]);
  }

  std::string decode(const int32_t* ids, size_t n, bool show_special) const override {
    std::string text;
    for (size_t i = 0; i < n; ++i) {
      if (in_vocabulary(ids[i]) && (show_special || !is_control(ids[i]))) text += pieces_[static_cast<size_t>(ids[i])];
    }
    return text;
  }

 protected:
  void encode_text(std::string_view text, bool, MergeScratch& scratch, std::vector<int32_t>& ids) const override {
    Encoder encoder(*this, scratch, ids);
    split_words(*pre_, text, encoder);
  }

 private:
  class Encoder final : public WordSink {
   public:
    Encoder(const BpeTokenizer& tokenizer, MergeScratch& scratch, std::vector<int32_t>& ids)
        : tokenizer_(tokenizer), scratch_(scratch), ids_(ids) {}
    void word(std::string_view word) override { tokenizer_.encode_word(word, scratch_, ids_); }

   private:
    const BpeTokenizer& tokenizer_;
    MergeScratch& scratch_;
    std::vector<int32_t>& ids_;
  };

  void load_pieces(const VocabSource& source) {
    size_t n_bytes = 0;
    for (const std::string& token : source.tokens) n_bytes += token.size();
    pieces_.reserve(info_.size, n_bytes);
    for (size_t id = 0; id < info_.size; ++id) {
      const bool spelled_raw = types_[id] == TokenType::kControl || types_[id] == TokenType::kUser;
      if (spelled_raw) {
        pieces_.bytes() += source.tokens[id];
      } else {
        append_raw_bytes(source.tokens[id], pieces_.bytes());
      }
      pieces_.finish_piece();
    }
    map_ = std::make_unique<PieceMap>(pieces_, info_.size);
    // Added tokens come second: a merge that makes such a spelling makes the ordinary token when there are both.
    for (const bool user_defined : {false, true}) {
      for (uint32_t id = 0; id < info_.size; ++id) {
        const auto token = static_cast<int32_t>(id);
        if (!is_control(token) && (type_of(token) == TokenType::kUser) == user_defined) map_->insert(token);
      }
    }
    for (int byte = 0; byte < 256; ++byte) {
      const char one = static_cast<char>(byte);
      byte_ids_[static_cast<size_t>(byte)] = map_->find({&one, 1});
    }
  }

  /// "left right", split at the first blank after the first byte. Merges of unknown pieces are left out.
  base::Status load_merges(const VocabSource& source) {
    merges_ = std::make_unique<MergeMap>(source.merges.size());
    std::string joined;
    if (source.merges.size() >= kNoRank) {
      return {"TOKENIZER_BAD_VOCAB", "tokenizer.ggml.merges: expected fewer than 4294967295 merges"};
    }
    for (size_t rank = 0; rank < source.merges.size(); ++rank) {
      const std::string_view merge = source.merges[rank];
      const size_t blank = merge.find(' ', 1);
      if (blank == std::string_view::npos || blank + 1 == merge.size()) {
        return {"TOKENIZER_BAD_VOCAB", "tokenizer.ggml.merges[" + std::to_string(rank) +
                                           "]: expected two pieces with a blank between them, found \"" +
                                           std::string(merge.substr(0, 64)) + "\""};
      }
      joined.clear();
      append_raw_bytes(merge.substr(0, blank), joined);
      const size_t left_bytes = joined.size();
      append_raw_bytes(merge.substr(blank + 1), joined);
      const int32_t left = map_->find(std::string_view(joined).substr(0, left_bytes));
      const int32_t right = map_->find(std::string_view(joined).substr(left_bytes));
      const int32_t id = left >= 0 && right >= 0 ? map_->find(joined) : -1;
      if (id >= 0) merges_->insert(left, right, {static_cast<uint32_t>(rank), id});
    }
    n_ranks_ = static_cast<uint32_t>(source.merges.size());
    return {};
  }

  void encode_word(std::string_view word, MergeScratch& scratch, std::vector<int32_t>& ids) const {
    if (pre_->ignore_merges) {
      const int32_t id = map_->find(word);
      if (id >= 0) {
        ids.push_back(id);
        return;
      }
    }
    while (word.size() > kMaxWordBytes) {
      size_t size = kMaxWordBytes;
      while ((static_cast<uint8_t>(word[size]) & 0xC0) == 0x80) --size;
      merge_word(word.substr(0, size), scratch, ids);
      word.remove_prefix(size);
    }
    merge_word(word, scratch, ids);
  }

  void merge_word(std::string_view word, MergeScratch& scratch, std::vector<int32_t>& ids) const {
    std::vector<Symbol>& symbols = scratch.symbols;
    const auto n = static_cast<uint32_t>(word.size());
    symbols.resize(n);
    for (uint32_t i = 0; i < n; ++i) {
      symbols[i] = {i,
                    1,
                    byte_ids_[static_cast<uint8_t>(word[i])],
                    i == 0 ? kNoSymbol : i - 1,
                    i + 1 == n ? kNoSymbol : i + 1,
                    kNoRank,
                    -1};
    }
    const auto lookup = [this](const Symbol& left, const Symbol& right, Merge& merge) {
      const Merge* found = merges_->find(left.id, right.id);
      if (found == nullptr) return false;
      merge = *found;
      return true;
    };
    Merger(scratch, lookup).run(n_ranks_);
    for (uint32_t i = 0; i != kNoSymbol; i = symbols[i].next) {
      // A byte the vocabulary lacks is left out unless there is a token for the unknown; files that name a control
      // token as their unknown one (SmolLM2: <|endoftext|>) must not let text make it.
      const int32_t id = symbols[i].id >= 0 ? symbols[i].id : info_.unk;
      if (id >= 0 && type_of(id) != TokenType::kControl) ids.push_back(id);
    }
  }

  const PreTokenizer* pre_ = nullptr;
  std::unique_ptr<PieceMap> map_;
  std::unique_ptr<MergeMap> merges_;
  std::array<int32_t, 256> byte_ids_{};
  uint32_t n_ranks_ = 0;
};

}  // namespace

base::Result<std::shared_ptr<const Tokenizer>> build_bpe(const VocabSource& source) {
  auto tokenizer = std::make_shared<BpeTokenizer>();
  if (auto status = tokenizer->load(source); !status.ok()) return status;
  return std::shared_ptr<const Tokenizer>(std::move(tokenizer));
}

}  // namespace lutra::tokenizer
