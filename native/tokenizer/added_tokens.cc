// The automaton of added tokens. See added_tokens.h.
#include "tokenizer/added_tokens.h"

#include <algorithm>
#include <numeric>

#include "tokenizer/unicode.h"

namespace lutra::tokenizer {
namespace {

size_t slot_hash(uint32_t parent, uint8_t byte) {
  const uint64_t hash = (uint64_t{parent} << 8 | byte) * 0x9E3779B97F4A7C15ull;
  return static_cast<size_t>(hash >> 20);
}

bool is_valid_utf8(std::string_view text) {
  std::string storage;
  return repair_utf8(text, storage).data() == text.data();
}

}  // namespace

uint32_t AddedTokens::child(uint32_t node, uint8_t byte) const {
  if (node == 0) return root_[byte];
  const size_t mask = slots_.size() - 1;
  for (size_t slot = slot_hash(node, byte) & mask; slots_[slot] != 0; slot = (slot + 1) & mask) {
    const Node& found = nodes_[slots_[slot]];
    if (found.parent == node && found.byte == byte) return slots_[slot];
  }
  return 0;
}

void AddedTokens::grow() {
  std::vector<uint32_t> slots(slots_.size() * 2, 0);
  slots_.swap(slots);
  const size_t mask = slots_.size() - 1;
  for (uint32_t node = 1; node < nodes_.size(); ++node) {
    size_t slot = slot_hash(nodes_[node].parent, nodes_[node].byte) & mask;
    while (slots_[slot] != 0) slot = (slot + 1) & mask;
    slots_[slot] = node;
  }
}

void AddedTokens::add(const AddedToken& token) {
  uint32_t node = 0;
  for (size_t i = token.text.size(); i-- > 0;) {
    const auto byte = static_cast<uint8_t>(token.text[i]);
    uint32_t next = child(node, byte);
    if (next == 0) {
      next = static_cast<uint32_t>(nodes_.size());
      Node fresh;
      fresh.parent = node;
      fresh.depth = nodes_[node].depth + 1;
      fresh.byte = byte;
      nodes_.push_back(fresh);
      if (node == 0) root_[byte] = next;
      const size_t mask = slots_.size() - 1;
      size_t slot = slot_hash(node, byte) & mask;
      while (slots_[slot] != 0) slot = (slot + 1) & mask;
      slots_[slot] = next;
      if (nodes_.size() * 2 > slots_.size()) grow();
    }
    node = next;
  }
  const Output output{token.id, static_cast<uint32_t>(token.text.size())};
  if (nodes_[node].all.id < 0) nodes_[node].all = output;
  if (!token.special && nodes_[node].plain.id < 0) nodes_[node].plain = output;
}

/// Failure links in order of depth; outputs are inherited along them.
void AddedTokens::link() {
  std::vector<uint32_t> order(nodes_.size() - 1);
  std::iota(order.begin(), order.end(), 1u);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return nodes_[a].depth < nodes_[b].depth; });
  for (const uint32_t index : order) {
    Node& node = nodes_[index];
    node.fail = node.depth == 1 ? 0 : step(nodes_[node.parent].fail, node.byte);
    if (node.all.id < 0) node.all = nodes_[node.fail].all;
    if (node.plain.id < 0) node.plain = nodes_[node.fail].plain;
  }
}

void AddedTokens::build(const std::vector<AddedToken>& tokens) {
  nodes_.assign(1, Node());
  slots_.assign(64, 0);
  for (const AddedToken& token : tokens) {
    if (token.text.empty() || !is_valid_utf8(token.text)) continue;
    add(token);
    any_ = true;
    any_plain_ = any_plain_ || !token.special;
  }
  link();
}

uint32_t AddedTokens::step(uint32_t node, uint8_t byte) const {
  for (;;) {
    const uint32_t next = child(node, byte);
    if (next != 0 || node == 0) return next;
    node = nodes_[node].fail;
  }
}

std::vector<AddedMatch> AddedTokens::find(std::string_view text, bool with_special) const {
  std::vector<AddedMatch> matches;
  if (!any(with_special)) return matches;
  struct Start {
    uint32_t begin, node;
  };
  std::vector<Start> starts;
  uint32_t node = 0;
  for (size_t i = text.size(); i-- > 0;) {
    node = step(node, static_cast<uint8_t>(text[i]));
    const Output& output = with_special ? nodes_[node].all : nodes_[node].plain;
    if (output.id >= 0) starts.push_back({static_cast<uint32_t>(i), node});
  }
  size_t from = 0;
  for (size_t i = starts.size(); i-- > 0;) {
    const size_t begin = starts[i].begin;
    if (begin < from) continue;
    const Node& found = nodes_[starts[i].node];
    const Output& output = with_special ? found.all : found.plain;
    from = begin + output.size_bytes;
    matches.push_back({begin, from, output.id});
  }
  return matches;
}

}  // namespace lutra::tokenizer
