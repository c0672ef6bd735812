// Flat hash tables of a vocabulary: piece bytes → id, and (left id, right id) → merge. Open addressing, sized once.
//
// Contract: built by one thread, then read by any number. The seed differs per process, so a file cannot be made to
// collide; results never depend on it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lutra::tokenizer {

/// Bytes of every token, one after the other.
class PieceStore {
 public:
  void reserve(size_t n_pieces, size_t n_bytes);
  std::string& bytes() { return bytes_; }
  /// Ends the piece whose bytes were appended to bytes().
  void finish_piece() { ends_.push_back(bytes_.size()); }
  size_t size() const { return ends_.size() - 1; }
  std::string_view operator[](size_t id) const {
    return std::string_view(bytes_).substr(ends_[id], ends_[id + 1] - ends_[id]);
  }

 private:
  std::string bytes_;
  std::vector<size_t> ends_{0};
};

class PieceMap {
 public:
  PieceMap(const PieceStore& pieces, size_t expected);
  /// Keeps the id that came first. Empty pieces are not kept.
  void insert(int32_t id);
  /// -1 when absent.
  int32_t find(std::string_view piece) const;
  size_t max_piece_bytes() const { return max_piece_bytes_; }

 private:
  struct Slot {
    uint32_t tag;
    int32_t id;
  };
  const PieceStore& pieces_;
  std::vector<Slot> slots_;
  size_t mask_;
  size_t max_piece_bytes_ = 0;
};

struct Merge {
  uint32_t rank;
  int32_t id;
};

class MergeMap {
 public:
  explicit MergeMap(size_t expected);
  /// Keeps the merge that came first.
  void insert(int32_t left, int32_t right, Merge merge);
  const Merge* find(int32_t left, int32_t right) const;

 private:
  struct Slot {
    uint64_t key;
    Merge merge;
  };
  size_t slot_of(uint64_t key) const;
  std::vector<Slot> slots_;
  size_t mask_;
};

}  // namespace lutra::tokenizer
