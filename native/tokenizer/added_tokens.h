// Finds added tokens in text: leftmost, then longest, in one pass.
//
// An Aho–Corasick automaton over the reversed spellings reads the text from its end, so at every byte its state knows
// the longest token that starts there; a forward walk then takes them greedily. Linear whatever the tokens are.
// Source: Aho and Corasick, "Efficient string matching", CACM 18(6), 1975.
// Contract: immutable after build(). Spellings are valid UTF-8 and not empty (others are left out), so matches never
// cut a character of valid text.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace lutra::tokenizer {

struct AddedToken {
  std::string_view text;
  int32_t id;
  bool special;  ///< found only when special tokens are parsed
};

struct AddedMatch {
  size_t begin, end;
  int32_t id;
};

class AddedTokens {
 public:
  void build(const std::vector<AddedToken>& tokens);
  bool any(bool with_special) const { return with_special ? any_ : any_plain_; }
  /// Matches in ascending order, not overlapping. Text below 4 GiB.
  std::vector<AddedMatch> find(std::string_view text, bool with_special) const;

 private:
  struct Output {
    int32_t id = -1;
    uint32_t size_bytes = 0;
  };
  struct Node {
    uint32_t fail = 0, parent = 0, depth = 0;
    uint8_t byte = 0;
    Output all, plain;  ///< longest token that ends here, reversed
  };
  uint32_t child(uint32_t node, uint8_t byte) const;
  uint32_t step(uint32_t node, uint8_t byte) const;
  void add(const AddedToken& token);
  void link();
  void grow();

  std::vector<Node> nodes_;
  std::vector<uint32_t> slots_;  ///< open addressing by (parent, byte): node index, 0 when free
  uint32_t root_[256] = {};
  bool any_ = false, any_plain_ = false;
};

}  // namespace lutra::tokenizer
