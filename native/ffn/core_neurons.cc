#include "ffn/core_neurons.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <string>

#include "base/checked_size.h"

namespace lutra::ffn {

namespace {

using base::CheckedSize;
using base::Result;
using base::Status;

constexpr uint32_t kStretchTokens = 64;
constexpr uint32_t kLeastTokens = 32;  // of a stretch that stands alone, and of a prompt that the guard can judge
constexpr uint32_t kEarlyTokens = (kStretchTokens + kLeastTokens - 1) / 2;  // the longest first half
constexpr double kTopShare = 0.2;
// Overlaps of neighbours a layer. Those of a longer prompt (from 65536 tokens on) share the last one, as a minimum:
// the mean of minima is no more than the least mean, so the guard errs to dense.
constexpr uint32_t kMaxOverlaps = 1024;
static_assert(kStretchTokens + kLeastTokens <= UINT8_MAX, "counts of a stretch fit");

// Of items 0 to n by key, the `count` largest, ties to the lowest: those above `limit`, and those equal to it that
// stand before `tie_end`.
struct Cut {
  int32_t limit;
  uint32_t tie_end;
};

// Bit by bit from the top, each a branchless count that compilers turn into SIMD: no scratch, at most `bits` passes,
// and fewer once a bound splits off exactly `count`. `key(i)` in [0, 2^bits), 1 ≤ count ≤ n.
template <typename Key>
Cut find_cut(uint32_t n, uint32_t count, int bits, const Key& key) {
  int32_t limit = 0;
  for (int bit = bits - 1; bit >= 0; --bit) {
    const int32_t bound = limit | int32_t{1} << bit;
    uint32_t reach = 0;
    for (uint32_t i = 0; i < n; ++i) reach += key(i) >= bound ? 1 : 0;
    if (reach >= count) limit = bound;
    if (reach == count) break;
  }
  uint32_t above = 0;
  for (uint32_t i = 0; i < n; ++i) above += key(i) > limit ? 1 : 0;
  uint32_t i = 0;
  for (uint32_t ties = count - above; ties > 0; ++i) ties -= key(i) == limit ? 1 : 0;
  return {limit, i};
}

// Bits of the items [32 w, 32 w + 32) that the cut takes.
template <typename Key>
uint32_t taken(uint32_t w, const Cut& cut, const Key& key) {
  uint32_t word = 0;
  for (uint32_t i = 32 * w; i < 32 * w + 32; ++i) {
    const int32_t bound = i < cut.tie_end ? cut.limit - 1 : cut.limit;
    word = word >> 1 | static_cast<uint32_t>(key(i) > bound) << 31;
  }
  return word;
}

// Counts the items from begin to end whose key is above `bound`.
template <typename Key>
void count_taken(uint32_t begin, uint32_t end, int32_t bound, const Key& key, uint16_t* totals, uint8_t* counts) {
  for (uint32_t i = begin; i < end; ++i) {
    const int is_taken = key(i) > bound ? 1 : 0;
    totals[i] = static_cast<uint16_t>(totals[i] + (totals[i] == UINT16_MAX ? 0 : is_taken));
    counts[i] = static_cast<uint8_t>(counts[i] + is_taken);
  }
}

template <typename F>
void for_bits(uint32_t word, uint32_t first, F&& body) {
  for (; word != 0; word &= word - 1) body(first + static_cast<uint32_t>(std::countr_zero(word)));
}

uint32_t share_of(double share, uint32_t n) {
  return std::clamp<uint32_t>(static_cast<uint32_t>(std::lround(share * n)), 1, n);
}

Status wrong(const char* field, const char* expected, double found) {
  return Status("INVALID_OPTION",
                std::string("core neurons: ") + field + ": expected " + expected + ", found " + std::to_string(found));
}

bool is_share(float value) { return value > 0 && value <= 1; }

Status check(const CoreOptions& options, uint32_t n_layers, uint32_t hidden_dim, uint32_t n_slots) {
  if (!is_share(options.token_share)) return wrong("token_share", "(0, 1]", options.token_share);
  if (!(options.guard >= 0 && options.guard <= 1)) return wrong("guard", "[0, 1]", options.guard);
  if (n_layers == 0) return wrong("n_layers", "at least 1", n_layers);
  if (n_slots == 0) return wrong("n_slots", "at least 1", n_slots);
  if (hidden_dim == 0 || hidden_dim % 32 != 0) return wrong("hidden_dim", "a multiple of 32", hidden_dim);
  if (options.keep.size() != n_layers) {
    return wrong("keep", "a value a layer", static_cast<double>(options.keep.size()));
  }
  for (const float keep : options.keep) {
    if (!is_share(keep)) return wrong("keep", "(0, 1]", keep);
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<CoreNeurons>> CoreNeurons::create(const CoreOptions& options, uint32_t n_layers,
                                                         uint32_t hidden_dim, uint32_t n_slots) {
  if (Status status = check(options, n_layers, hidden_dim, n_slots); !status.ok()) return status;
  std::unique_ptr<CoreNeurons> made(new CoreNeurons());
  made->token_share_ = options.token_share;
  made->guard_ = options.guard;
  made->keep_.assign(options.keep.begin(), options.keep.end());
  made->n_layers_ = n_layers;
  made->hidden_dim_ = hidden_dim;
  const uint64_t set_bytes = hidden_dim / 8;
  CheckedSize end = sizeof(Layer::Progress);
  const auto place = [&end](CheckedSize bytes) {
    const CheckedSize at = end.padded_to(64);
    end = at + bytes;
    return at.value();
  };
  Places& places = made->places_;
  places.totals = place(CheckedSize(hidden_dim) * sizeof(uint16_t));
  places.open = place(hidden_dim);
  places.tail = place(hidden_dim);
  places.early = place(CheckedSize(set_bytes) * kEarlyTokens);
  for (uint64_t* set : {&places.first, &places.previous, &places.closing, &places.mask}) *set = place(set_bytes);
  const float most = *std::max_element(options.keep.begin(), options.keep.end());
  places.neurons = place(CheckedSize(share_of(most, hidden_dim)) * sizeof(uint32_t));
  places.overlaps = place(kMaxOverlaps * sizeof(float));
  end = end.padded_to(64);
  places.layer_bytes = end.value();
  const CheckedSize all = end * n_layers * n_slots;
  if (!all.valid()) {
    return Status("E_OUT_OF_MEMORY", "core neurons of " + std::to_string(n_slots) + " requests with " +
                                         std::to_string(n_layers) + " layers of " + std::to_string(hidden_dim) +
                                         " neurons do not fit into memory");
  }
  made->slots_.resize(n_slots);
  return made;
}

uint32_t CoreNeurons::n_kept(uint32_t layer) const { return share_of(keep_[layer], hidden_dim_); }

CoreNeurons::Layer CoreNeurons::layer_of(const Slot& slot, uint32_t layer) const {
  // A slot's arrays are what the slot stands for; only functions that may change it write through the pointers.
  auto* const bytes = const_cast<uint8_t*>(slot.bytes.data()) + layer * places_.layer_bytes;
  const auto words = [bytes](uint64_t place) { return reinterpret_cast<uint32_t*>(bytes + place); };
  return {.progress = reinterpret_cast<Layer::Progress*>(bytes),
          .totals = reinterpret_cast<uint16_t*>(bytes + places_.totals),
          .open = bytes + places_.open,
          .tail = bytes + places_.tail,
          .early = words(places_.early),
          .first = words(places_.first),
          .previous = words(places_.previous),
          .closing = words(places_.closing),
          .mask = words(places_.mask),
          .neurons = words(places_.neurons),
          .overlaps = reinterpret_cast<float*>(bytes + places_.overlaps)};
}

Status CoreNeurons::restart(uint32_t slot) {
  Slot& state = slots_[slot];
  state.started = state.settled = state.refused = false;
  state.overlap = 0;
  if (state.bytes.data() == nullptr) state.bytes = base::AlignedBuffer(slot_bytes());
  if (state.bytes.data() == nullptr) {
    return Status("E_OUT_OF_MEMORY",
                  "could not allocate " + std::to_string(slot_bytes()) + " bytes for a request's core neurons");
  }
  for (uint32_t l = 0; l < n_layers_; ++l) {
    const Layer layer = layer_of(state, l);
    *layer.progress = {};
    std::fill_n(layer.totals, hidden_dim_, uint16_t{0});
    std::fill_n(layer.open, hidden_dim_, uint8_t{0});
    std::fill_n(layer.tail, hidden_dim_, uint8_t{0});
    std::fill_n(layer.overlaps, kMaxOverlaps, 1.0f);
  }
  state.started = true;
  return {};
}

void CoreNeurons::observe(uint32_t slot, uint32_t layer_index, uint32_t position, const float* h) {
  const Slot& state = slots_[slot];
  if (!state.started || state.settled) return;
  const Layer layer = layer_of(state, layer_index);
  Layer::Progress& progress = *layer.progress;
  if (position < progress.next_position) return;
  progress.next_position = position + 1;

  uint32_t positive = 0;
  for (uint32_t i = 0; i < hidden_dim_; ++i) positive += h[i] > 0 ? 1 : 0;
  // The bits of a float without its sign order as integers do.
  const auto magnitude = [h](uint32_t i) { return std::bit_cast<int32_t>(h[i]) & INT32_MAX; };
  const uint32_t size = std::max<uint32_t>(1, static_cast<uint32_t>(std::lround(double{token_share_} * positive)));
  const Cut cut = find_cut(hidden_dim_, size, 31, magnitude);

  const bool in_tail = progress.n_open == kStretchTokens;
  uint8_t* const counts = in_tail ? layer.tail : layer.open;
  count_taken(0, cut.tie_end, cut.limit - 1, magnitude, layer.totals, counts);
  count_taken(cut.tie_end, hidden_dim_, cut.limit, magnitude, layer.totals, counts);
  if (progress.n_tokens < kEarlyTokens) {
    uint32_t* const core = layer.early + progress.n_tokens * n_words();
    for (uint32_t w = 0; w < n_words(); ++w) core[w] = taken(w, cut, magnitude);
  }
  ++progress.n_tokens;
  ++(in_tail ? progress.n_tail : progress.n_open);
  if (progress.n_tail == kLeastTokens) close_stretch(layer);
}

// The `closing` set from counts: without ties to neurons that no token used, which every stretch would share.
void CoreNeurons::top_set(const uint8_t* counts, uint32_t* set) const {
  const auto key = [counts](uint32_t i) { return int32_t{counts[i]}; };
  Cut cut = find_cut(hidden_dim_, share_of(kTopShare, hidden_dim_), 8, key);
  if (cut.limit == 0) cut.tie_end = 0;
  for (uint32_t w = 0; w < n_words(); ++w) set[w] = taken(w, cut, key);
}

float CoreNeurons::jaccard(const uint32_t* a, const uint32_t* b) const {
  int both = 0, either = 0;
  for (uint32_t w = 0; w < n_words(); ++w) {
    both += std::popcount(a[w] & b[w]);
    either += std::popcount(a[w] | b[w]);
  }
  return static_cast<float>(both) / static_cast<float>(either);  // a token has a core, so either > 0
}

// `open` is a whole stretch: compares it with the one before, and `tail` is the next one's beginning.
void CoreNeurons::close_stretch(const Layer& layer) const {
  Layer::Progress& progress = *layer.progress;
  top_set(layer.open, layer.closing);
  if (progress.n_closed == 0) {
    std::copy_n(layer.closing, n_words(), layer.first);
  } else {
    float& overlap = layer.overlaps[std::min(progress.n_closed, kMaxOverlaps) - 1];
    overlap = std::min(overlap, jaccard(layer.previous, layer.closing));
  }
  std::copy_n(layer.closing, n_words(), layer.previous);
  ++progress.n_closed;
  std::copy_n(layer.tail, hidden_dim_, layer.open);
  std::fill_n(layer.tail, hidden_dim_, uint8_t{0});
  progress.n_open = progress.n_tail;
  progress.n_tail = 0;
}

// A prompt of one stretch, whose counts are in `open`: its halves are the stretches.
void CoreNeurons::compare_halves(const Layer& layer) const {
  const uint32_t half = layer.progress->n_tokens / 2;
  for (uint32_t t = 0; t < half; ++t) {
    for (uint32_t w = 0; w < n_words(); ++w) {
      for_bits(layer.early[t * n_words() + w], 32 * w, [&](uint32_t i) {
        ++layer.tail[i];
        --layer.open[i];
      });
    }
  }
  std::swap_ranges(layer.open, layer.open + hidden_dim_, layer.tail);
  layer.progress->n_tail = layer.progress->n_tokens - half;
  close_stretch(layer);
  close_stretch(layer);
}

void CoreNeurons::close_prompt(const Layer& layer) const {
  for (uint32_t i = 0; i < hidden_dim_; ++i) layer.open[i] = static_cast<uint8_t>(layer.open[i] + layer.tail[i]);
  std::fill_n(layer.tail, hidden_dim_, uint8_t{0});
  layer.progress->n_tail = 0;
  if (layer.progress->n_closed == 0) return compare_halves(layer);
  close_stretch(layer);
}

// Closes the prompt. 0 for one too short to tell.
float CoreNeurons::least_overlap(const Slot& slot) const {
  for (uint32_t l = 0; l < n_layers_; ++l) {
    if (layer_of(slot, l).progress->n_tokens < kLeastTokens) return 0;
  }
  double ends = 0;
  for (uint32_t l = 0; l < n_layers_; ++l) {
    const Layer layer = layer_of(slot, l);
    close_prompt(layer);
    ends += jaccard(layer.first, layer.previous);
  }
  double least = ends;
  const uint32_t n_pairs = std::min(layer_of(slot, 0).progress->n_closed - 1, kMaxOverlaps);
  for (uint32_t pair = 0; pair < n_pairs; ++pair) {
    double sum = 0;
    for (uint32_t l = 0; l < n_layers_; ++l) sum += layer_of(slot, l).overlaps[pair];
    least = std::min(least, sum);
  }
  return static_cast<float>(least / n_layers_);
}

void CoreNeurons::pick(const Layer& layer, uint32_t count) const {
  const auto key = [&layer](uint32_t i) { return int32_t{layer.totals[i]}; };
  const Cut cut = find_cut(hidden_dim_, count, 16, key);
  uint32_t* next = layer.neurons;
  for (uint32_t w = 0; w < n_words(); ++w) {
    layer.mask[w] = taken(w, cut, key);
    for_bits(layer.mask[w], 32 * w, [&next](uint32_t i) { *next++ = i; });
  }
}

bool CoreNeurons::settle(uint32_t slot) {
  Slot& state = slots_[slot];
  if (state.settled) return state.refused;
  state.settled = state.refused = true;
  for (uint32_t l = 0; l < n_layers_; ++l) {
    if (!state.started || layer_of(state, l).progress->n_tokens == 0) return true;
  }
  state.overlap = least_overlap(state);
  state.refused = state.overlap < guard_;
  if (state.refused) return true;
  for (uint32_t l = 0; l < n_layers_; ++l) pick(layer_of(state, l), n_kept(l));
  return false;
}

std::span<const uint32_t> CoreNeurons::mask(uint32_t slot, uint32_t layer) const {
  const Slot& state = slots_[slot];
  if (!state.settled || state.refused) return {};
  return {layer_of(state, layer).mask, n_words()};
}

std::span<const uint32_t> CoreNeurons::neurons(uint32_t slot, uint32_t layer) const {
  const Slot& state = slots_[slot];
  if (!state.settled || state.refused) return {};
  return {layer_of(state, layer).neurons, n_kept(layer)};
}

uint64_t CoreNeurons::size_bytes() const {
  uint64_t bytes = 0;
  for (const Slot& slot : slots_) bytes += slot.bytes.size_bytes();
  return bytes;
}

}  // namespace lutra::ffn
