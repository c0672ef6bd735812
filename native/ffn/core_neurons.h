// Core neurons: the hidden channels of the feed-forward branch that a request's prompt keeps using, found while the
// prompt runs dense and fixed for the rest of the request. Source: CoreInfer (Wang et al. 2024), its released code.
//
// A token's core is the L largest |h|, ties to the lowest id, h being the input of `down`; L = max(1, round(token_share
// · how many h of that token are positive)). The paper ranks signed h and takes the mean of positive counts over the
// prompt: a large negative h weighs as much in the product as a positive one, and the mean is not known while tokens
// stream by. The core of a request is, per layer, the round(keep · hidden_dim) neurons that are in most tokens' cores.
//
// The guard asks whether the prompt agrees with itself. Its tokens are cut into stretches of 64 (a last one of under 32
// joins the one before; a prompt of a single stretch is cut into halves), each stretch has a top set (the fifth of all
// neurons that it uses most, and does use), and two stretches overlap by the mean over layers of their sets' Jaccard
// index. The least overlap of neighbours, and of the first with the last, must reach `guard`; a prompt of under 32
// tokens is refused too. A guard of 0 refuses nothing but a slot that saw no token.
//
// Exactness: what is picked is a function of a slot's tokens since restart(), not of how they were cut into steps.
// Threads: observe() by one thread at a time for a slot and layer, by different threads for different ones; the rest
// while no observe() of that slot runs.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/status.h"

namespace lutra::ffn {

struct CoreOptions {
  float token_share;            ///< (0, 1]: share of a token's positive neurons that is the size of its core
  std::span<const float> keep;  ///< [n_layers] (0, 1]: share of the neurons that a request keeps; copied
  float guard;                  ///< [0, 1]: least overlap of the prompt's stretches
};

class CoreNeurons {
 public:
  /// `hidden_dim`: a multiple of 32. Slots take their memory when they first restart.
  static base::Result<std::unique_ptr<CoreNeurons>> create(const CoreOptions& options, uint32_t n_layers,
                                                           uint32_t hidden_dim, uint32_t n_slots);

  /// A request begins: forgets what the slot saw. Without memory for it the slot observes nothing and is refused.
  base::Status restart(uint32_t slot);
  /// The hidden state h [hidden_dim] of the prompt's token at `position`. Positions ascend; one that is not above the
  /// last of this slot and layer was counted already and is ignored, as is any once the slot has settled.
  void observe(uint32_t slot, uint32_t layer, uint32_t position, const float* h);
  /// The prompt is over, its tokens observed at every layer: picks the neurons, once. Says whether the guard refused.
  bool settle(uint32_t slot);

  bool is_settled(uint32_t slot) const { return slots_[slot].settled; }
  bool refused(uint32_t slot) const { return slots_[slot].refused; }
  /// What the guard compared; 0 until the slot settles and for prompts of under 32 tokens.
  float overlap(uint32_t slot) const { return slots_[slot].overlap; }
  /// [hidden_dim / 32], bit i of word w set: neuron 32 w + i is kept. Empty until the slot settles, and when refused.
  std::span<const uint32_t> mask(uint32_t slot, uint32_t layer) const;
  /// The same as ascending ids.
  std::span<const uint32_t> neurons(uint32_t slot, uint32_t layer) const;

  /// Of the slots that have memory.
  uint64_t size_bytes() const;
  /// What a slot takes.
  uint64_t slot_bytes() const { return places_.layer_bytes * n_layers_; }

 private:
  /// Byte offsets of the arrays of a layer, from its first byte.
  struct Places {
    uint64_t totals, open, tail, early, first, previous, closing, mask, neurons, overlaps, layer_bytes;
  };
  /// What a slot knows of a layer.
  struct Layer {
    struct Progress {
      uint32_t next_position;  ///< the least that is not counted yet
      uint32_t n_tokens;
      uint32_t n_open;    ///< tokens in `open`
      uint32_t n_tail;    ///< tokens in `tail`
      uint32_t n_closed;  ///< stretches
    };
    Progress* progress;
    uint16_t* totals;    ///< [hidden_dim] tokens that a neuron was core of, at most 65535
    uint8_t* open;       ///< [hidden_dim] the same of the stretch that is not closed
    uint8_t* tail;       ///< [hidden_dim] of what follows it, until that is a stretch of its own
    uint32_t* early;     ///< [kEarlyTokens][words] cores of the first tokens
    uint32_t* first;     ///< [words] top set of the first stretch
    uint32_t* previous;  ///< [words] of the last closed one
    uint32_t* closing;   ///< [words] of the one being closed
    uint32_t* mask;      ///< [words]
    uint32_t* neurons;   ///< [round(keep · hidden_dim)]
    float* overlaps;     ///< [kMaxOverlaps] of neighbouring stretches
  };
  struct Slot {
    base::AlignedBuffer bytes;
    bool started = false;
    bool settled = false;
    bool refused = false;
    float overlap = 0;
  };

  CoreNeurons() = default;
  uint32_t n_words() const { return hidden_dim_ / 32; }
  uint32_t n_kept(uint32_t layer) const;
  Layer layer_of(const Slot& slot, uint32_t layer) const;
  void top_set(const uint8_t* counts, uint32_t* set) const;
  float jaccard(const uint32_t* a, const uint32_t* b) const;
  void close_stretch(const Layer& layer) const;
  void close_prompt(const Layer& layer) const;
  void compare_halves(const Layer& layer) const;
  float least_overlap(const Slot& slot) const;
  void pick(const Layer& layer, uint32_t count) const;

  float token_share_ = 0;
  float guard_ = 0;
  std::vector<float> keep_;  ///< [n_layers]
  uint32_t n_layers_ = 0;
  uint32_t hidden_dim_ = 0;
  Places places_{};
  std::vector<Slot> slots_;
};

}  // namespace lutra::ffn
