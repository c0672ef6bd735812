// Where the time of an engine's steps goes, by operator: one clock reading at the end of each (about 25 ns, 0.2 % of
// the shortest step), so it is always on. Owned by the engine, written by the thread that runs the step.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>

namespace lutra::forward {

/// What a stretch of a step is charged to. A fused stretch is charged to the matrix product in it.
enum class Stage : uint8_t {
  kPrepare,
  kNorm,
  kQkv,
  kPosition,
  kAttend,
  kOutput,
  kGateUp,
  kDown,
  kChoose,
  kHead,
  kReduce,
  kCount
};

constexpr const char* kStageNames[] = {"prepare", "norm", "qkv",    "position", "attend", "output",
                                       "gate_up", "down", "choose", "head",     "reduce"};
static_assert(sizeof kStageNames / sizeof *kStageNames == static_cast<size_t>(Stage::kCount));

class Profile {
 public:
  struct Entry {
    uint64_t calls = 0;
    uint64_t ns = 0;
  };
  static constexpr size_t kStages = static_cast<size_t>(Stage::kCount);

  void begin_step() { last_ = started_ = Clock::now(); }
  /// Charges everything since the last lap, or the step's begin, to `stage`.
  void lap(Stage stage) {
    const Clock::time_point now = Clock::now();
    charge(stages_[static_cast<size_t>(stage)], now - last_);
    last_ = now;
  }
  void end_step() { charge(steps_, last_ - started_); }
  void reset() { *this = {}; }

  const std::array<Entry, kStages>& stages() const { return stages_; }
  const Entry& steps() const { return steps_; }

 private:
  using Clock = std::chrono::steady_clock;
  static void charge(Entry& entry, Clock::duration spent) {
    ++entry.calls;
    entry.ns += static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(spent).count());
  }

  std::array<Entry, kStages> stages_{};
  Entry steps_;
  Clock::time_point last_{}, started_{};
};

}  // namespace lutra::forward
