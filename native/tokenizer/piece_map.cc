// Flat hash tables of a vocabulary. See piece_map.h.
#include "tokenizer/piece_map.h"

#include <bit>
#include <cstring>
#include <random>

namespace lutra::tokenizer {
namespace {

constexpr uint64_t kMultiplier = 0x9E3779B97F4A7C15ull;
constexpr uint64_t kNoKey = ~0ull;

uint64_t process_seed() {
  static const uint64_t seed = [] {
    std::random_device device;
    return (uint64_t{device()} << 32 | device()) | 1;
  }();
  return seed;
}

uint64_t mix(uint64_t value) {
  value *= kMultiplier;
  return value ^ (value >> 32);
}

uint64_t hash_bytes(std::string_view bytes) {
  uint64_t hash = process_seed() ^ bytes.size();
  const char* at = bytes.data();
  size_t left = bytes.size();
  for (; left >= 8; at += 8, left -= 8) {
    uint64_t eight;
    std::memcpy(&eight, at, 8);
    hash = mix(hash ^ eight);
  }
  uint64_t tail = 0;
  for (size_t i = 0; i < left; ++i) tail |= uint64_t{static_cast<uint8_t>(at[i])} << (8 * i);
  return mix(mix(hash ^ tail));
}

/// At most half full.
size_t table_size(size_t expected) { return std::bit_ceil(expected * 2 + 16); }

}  // namespace

void PieceStore::reserve(size_t n_pieces, size_t n_bytes) {
  ends_.reserve(n_pieces + 1);
  bytes_.reserve(n_bytes);
}

PieceMap::PieceMap(const PieceStore& pieces, size_t expected)
    : pieces_(pieces), slots_(table_size(expected), Slot{0, -1}), mask_(slots_.size() - 1) {}

void PieceMap::insert(int32_t id) {
  const std::string_view piece = pieces_[static_cast<size_t>(id)];
  if (piece.empty()) return;
  const uint64_t hash = hash_bytes(piece);
  const auto tag = static_cast<uint32_t>(hash >> 32);
  size_t slot = hash & mask_;
  for (; slots_[slot].id >= 0; slot = (slot + 1) & mask_) {
    if (slots_[slot].tag == tag && pieces_[static_cast<size_t>(slots_[slot].id)] == piece) return;
  }
  slots_[slot] = {tag, id};
  if (piece.size() > max_piece_bytes_) max_piece_bytes_ = piece.size();
}

int32_t PieceMap::find(std::string_view piece) const {
  if (piece.empty() || piece.size() > max_piece_bytes_) return -1;
  const uint64_t hash = hash_bytes(piece);
  const auto tag = static_cast<uint32_t>(hash >> 32);
  for (size_t slot = hash & mask_; slots_[slot].id >= 0; slot = (slot + 1) & mask_) {
    if (slots_[slot].tag == tag && pieces_[static_cast<size_t>(slots_[slot].id)] == piece) return slots_[slot].id;
  }
  return -1;
}

MergeMap::MergeMap(size_t expected) : slots_(table_size(expected), Slot{kNoKey, {0, -1}}), mask_(slots_.size() - 1) {}

size_t MergeMap::slot_of(uint64_t key) const {
  size_t slot = mix(mix(key ^ process_seed())) & mask_;
  while (slots_[slot].key != key && slots_[slot].key != kNoKey) slot = (slot + 1) & mask_;
  return slot;
}

void MergeMap::insert(int32_t left, int32_t right, Merge merge) {
  const uint64_t key = uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  Slot& slot = slots_[slot_of(key)];
  if (slot.key == kNoKey) slot = {key, merge};
}

const Merge* MergeMap::find(int32_t left, int32_t right) const {
  // An unknown symbol is -1: as the left half it would collide with the empty key.
  if (left < 0 || right < 0) return nullptr;
  const Slot& slot = slots_[slot_of(uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right))];
  return slot.key == kNoKey ? nullptr : &slot.merge;
}

}  // namespace lutra::tokenizer
