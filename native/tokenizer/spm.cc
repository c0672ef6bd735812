// SentencePiece's BPE ("llama" vocabularies: llama, gemma, phi-3): blanks become U+2581, adjacent symbols merge into
// the piece of the best score, characters without a piece fall back to <0xXX> byte tokens.
//
// The text is cut before each U+2581 that no piece holds behind the same character: no merge can cross such a
// place, so words merge on their own and the result is that of the whole text.
// Source: Kudo and Richardson, "SentencePiece: A simple and language independent subword tokenizer and detokenizer for
// Neural Text Processing", EMNLP 2018.
#include <algorithm>
#include <array>
#include <cmath>

#include "tokenizer/unicode.h"
#include "tokenizer/vocab.h"

namespace lutra::tokenizer {
namespace {

constexpr std::string_view kBlank = "\xE2\x96\x81";

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

/// Byte of a `<0xXX>` spelling, or -1.
int byte_of_spelling(std::string_view text) {
  if (text.size() != 6 || text.substr(0, 3) != "<0x" || text[5] != '>') return -1;
  const int high = hex_digit(text[3]), low = hex_digit(text[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

void append_replaced(std::string_view text, std::string_view from, std::string_view to, std::string& out) {
  size_t at = 0;
  for (size_t found = text.find(from); found != std::string_view::npos; found = text.find(from, at)) {
    out.append(text, at, found - at);
    out += to;
    at = found + from.size();
  }
  out.append(text, at, std::string_view::npos);
}

class SpmTokenizer final : public VocabTokenizer {
 public:
  base::Status load(const VocabSource& source) {
    if (!source.scores) {
      return {"TOKENIZER_BAD_VOCAB", "tokenizer.ggml.scores: expected the scores of a \"llama\" tokenizer, found none"};
    }
    VocabSource defaulted = source;
    const size_t size = source.tokens.size();
    if (!source.bos && size > 1) defaulted.bos = 1;
    if (!source.eos && size > 2) defaulted.eos = 2;
    if (!source.unk && size > 0) defaulted.unk = 0;
    if (auto status = load_common(defaulted); !status.ok()) return status;
    info_.model = "spm";
    info_.add_bos = source.add_bos.value_or(true);
    info_.add_eos = source.add_eos.value_or(false);
    add_space_prefix_ = source.add_space_prefix.value_or(true);
    load_pieces(source);
    return load_ranks(*source.scores);
  }

  std::string token_bytes(int32_t id, bool show_special) const override {
    std::string bytes;
    append_token(id, show_special, bytes);
    return bytes;
  }

  /// A blank that encoding put before text (at the start and after added tokens) is taken away again.
  std::string decode(const int32_t* ids, size_t n, bool show_special) const override {
    std::string text;
    bool after_special = true;
    for (size_t i = 0; i < n; ++i) {
      if (!in_vocabulary(ids[i])) continue;
      const TokenType type = type_of(ids[i]);
      const size_t before = text.size();
      append_token(ids[i], show_special, text);
      if (type == TokenType::kControl || type == TokenType::kUser || type == TokenType::kUnknown) {
        after_special = true;
        continue;
      }
      if (add_space_prefix_ && after_special && text.size() > before && text[before] == ' ') text.erase(before, 1);
      after_special = false;
    }
    return text;
  }

 protected:
  void encode_text(std::string_view text, bool after_special, MergeScratch& scratch,
                   std::vector<int32_t>& ids) const override {
    std::string escaped;
    escaped.reserve(text.size() + text.size() / 2 + kBlank.size());
    if (add_space_prefix_ && after_special) escaped += kBlank;
    append_replaced(text, " ", kBlank, escaped);
    size_t begin = 0, at = 0;
    uint32_t previous = 0;
    while (at < escaped.size()) {
      const CodePoint c = read_code_point(escaped.data() + at);
      const bool cut = c.value == kBlankCodePoint && !may_precede_blank(previous);
      if (at > begin && (cut || at - begin + 4 > kMaxWordBytes)) {
        encode_word(std::string_view(escaped).substr(begin, at - begin), scratch, ids);
        begin = at;
      }
      previous = c.value;
      at += c.size_bytes;
    }
    encode_word(std::string_view(escaped).substr(begin), scratch, ids);
  }

 private:
  static constexpr uint32_t kBlankCodePoint = 0x2581;

  bool may_precede_blank(uint32_t code_point) const {
    return std::binary_search(before_blank_.begin(), before_blank_.end(), code_point);
  }

  void load_pieces(const VocabSource& source) {
    size_t n_bytes = 0;
    for (const std::string& token : source.tokens) n_bytes += token.size();
    pieces_.reserve(info_.size, n_bytes);
    byte_ids_.fill(-1);
    for (size_t id = 0; id < info_.size; ++id) {
      const std::string& token = source.tokens[id];
      pieces_.bytes() += token;
      pieces_.finish_piece();
      const int byte = byte_of_spelling(token);
      if (byte < 0 || (source.types && types_[id] != TokenType::kByte)) continue;
      types_[id] = TokenType::kByte;
      if (byte_ids_[static_cast<size_t>(byte)] < 0) byte_ids_[static_cast<size_t>(byte)] = static_cast<int32_t>(id);
    }
    map_ = std::make_unique<PieceMap>(pieces_, info_.size);
    for (uint32_t id = 0; id < info_.size; ++id) {
      const TokenType type = types_[id];
      if (type == TokenType::kControl || type == TokenType::kUnknown || type == TokenType::kByte) continue;
      map_->insert(static_cast<int32_t>(id));
      note_inner_blanks(pieces_[id]);
    }
    std::sort(before_blank_.begin(), before_blank_.end());
    before_blank_.erase(std::unique(before_blank_.begin(), before_blank_.end()), before_blank_.end());
  }

  void note_inner_blanks(std::string_view piece) {
    for (size_t at = piece.find(kBlank, 1); at != std::string_view::npos; at = piece.find(kBlank, at + 1)) {
      size_t previous = at - 1;
      while (previous > 0 && (static_cast<uint8_t>(piece[previous]) & 0xC0) == 0x80) --previous;
      size_t skip = 0;
      const char* first = piece.data() + previous;
      if (utf8_character(first, piece.data() + at, &skip) > 0) before_blank_.push_back(read_code_point(first).value);
    }
  }

  /// Rank 0 is the best score; equal scores share a rank.
  base::Status load_ranks(const std::vector<float>& scores) {
    for (size_t id = 0; id < scores.size(); ++id) {
      if (std::isnan(scores[id])) {
        return {"TOKENIZER_BAD_VOCAB",
                "tokenizer.ggml.scores[" + std::to_string(id) + "]: expected a number, found NaN"};
      }
    }
    std::vector<uint32_t> order(scores.size());
    for (uint32_t id = 0; id < order.size(); ++id) order[id] = id;
    const auto better = [&](uint32_t a, uint32_t b) { return scores[a] > scores[b]; };
    if (!std::is_sorted(order.begin(), order.end(), better)) std::stable_sort(order.begin(), order.end(), better);
    ranks_.resize(scores.size());
    n_ranks_ = 0;
    for (size_t i = 0; i < order.size(); ++i) {
      if (i > 0 && scores[order[i]] != scores[order[i - 1]]) ++n_ranks_;
      ranks_[order[i]] = n_ranks_;
    }
    ++n_ranks_;
    return {};
  }

  void append_token(int32_t id, bool show_special, std::string& out) const {
    if (!in_vocabulary(id) || (is_control(id) && !show_special)) return;
    const std::string_view piece = pieces_[static_cast<size_t>(id)];
    const int byte = type_of(id) == TokenType::kByte ? byte_of_spelling(piece) : -1;
    if (byte >= 0) {
      out += static_cast<char>(byte);
    } else if (is_control(id)) {
      out += piece;
    } else {
      append_replaced(piece, kBlank, " ", out);
    }
  }

  void encode_word(std::string_view word, MergeScratch& scratch, std::vector<int32_t>& ids) const {
    std::vector<Symbol>& symbols = scratch.symbols;
    symbols.clear();
    for (uint32_t at = 0; at < word.size();) {
      const auto index = static_cast<uint32_t>(symbols.size());
      const uint32_t size = read_code_point(word.data() + at).size_bytes;
      symbols.push_back({at, size, -1, index == 0 ? kNoSymbol : index - 1, index + 1, kNoRank, -1});
      at += size;
    }
    if (symbols.empty()) return;
    symbols.back().next = kNoSymbol;
    const auto lookup = [this, word](const Symbol& left, const Symbol& right, Merge& merge) {
      const int32_t id = map_->find(word.substr(left.begin, size_t{left.size_bytes} + right.size_bytes));
      if (id < 0) return false;
      merge = {ranks_[static_cast<size_t>(id)], id};
      return true;
    };
    Merger(scratch, lookup).run(n_ranks_);
    for (uint32_t i = 0; i != kNoSymbol; i = symbols[i].next) {
      const std::string_view text = word.substr(symbols[i].begin, symbols[i].size_bytes);
      const int32_t id = symbols[i].id >= 0 ? symbols[i].id : map_->find(text);
      if (id >= 0) {
        ids.push_back(id);
      } else {
        push_bytes(text, ids);
      }
    }
  }

  /// A character without a piece: its bytes, or the unknown token when the vocabulary lacks one of them.
  void push_bytes(std::string_view text, std::vector<int32_t>& ids) const {
    const bool complete =
        std::all_of(text.begin(), text.end(), [this](char c) { return byte_ids_[static_cast<uint8_t>(c)] >= 0; });
    if (complete) {
      for (const char c : text) ids.push_back(byte_ids_[static_cast<uint8_t>(c)]);
    } else if (info_.unk >= 0) {
      ids.push_back(info_.unk);
    }
  }

  std::unique_ptr<PieceMap> map_;
  std::vector<uint32_t> ranks_;
  uint32_t n_ranks_ = 0;
  std::array<int32_t, 256> byte_ids_{};
  std::vector<uint32_t> before_blank_;  ///< code points some piece holds before a U+2581, ascending
  bool add_space_prefix_ = true;
};

}  // namespace

base::Result<std::shared_ptr<const Tokenizer>> build_spm(const VocabSource& source) {
  auto tokenizer = std::make_shared<SpmTokenizer>();
  if (auto status = tokenizer->load(source); !status.ok()) return status;
  return std::shared_ptr<const Tokenizer>(std::move(tokenizer));
}

}  // namespace lutra::tokenizer
