// How a generation of work runs:
// - Every member owns a range of neighbouring chunks, one word of (generation, next, end) on a cache line of its own.
//   It takes its chunks from the front; when none is left it steals from the back of the others. So a member's reads
//   stay one stream, which memory serves far better than chunks dealt out in turn (24 KiB of weights a chunk, two
//   threads: 23 against 15 GB/s), and a preempted core still costs a chunk and not its share.
// - A chunk is claimed by compare-and-swap on the whole word: a helper that wakes late and still holds an older
//   generation can claim nothing. The job's fields are read before the claim and used only when it succeeds: an open
//   chunk of this generation says that the caller has not rewritten them, which it does only after all are complete.
// - `completed` counts finished chunks; a member adds what it ran once it finds no more, and touches nothing of the job
//   afterwards. The caller returns when completed == n_chunks.
// - A helper whose core is taken away in the middle of a chunk holds everyone up for a time slice, milliseconds. When
//   the caller has waited far longer than its own chunks took, it works alone for a while: beside a busy thread, on two
//   cores, decode went from 125 to 156 tokens/s, of 240 undisturbed.
#include "base/thread_team.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace lutra::base {
namespace {

/// Long enough to bridge the gap between two layers' jobs, short enough to leave the core to others when idle.
constexpr std::chrono::microseconds kSpinTime{30};
constexpr int kMaxThreads = 256;
/// Yields between the caller's spinning and its sleeping.
constexpr int kYields = 64;
/// A wait this long, and this many times as long as the caller's own chunks took, means a helper that does not run.
constexpr std::chrono::microseconds kStall{250};
constexpr int kStallChunks = 4;
/// How long the caller then works alone.
constexpr std::chrono::milliseconds kAlone{50};

using Clock = std::chrono::steady_clock;

void pause_cpu() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Polls `ready` for kSpinTime; true as soon as it holds.
template <typename Ready>
bool spin_until(Ready ready) {
  const auto deadline = Clock::now() + kSpinTime;
  do {
    for (int i = 0; i < 32; ++i) {
      if (ready()) return true;
      pause_cpu();
    }
  } while (Clock::now() < deadline);
  return ready();
}

// A range: generation in 24 bits, next and end in 20 each.
constexpr int kIndexBits = 20;
constexpr uint32_t kMaxChunks = (1u << kIndexBits) - 1;
constexpr uint32_t kGenerationMask = (1u << 24) - 1;
constexpr uint64_t kOneFromFront = uint64_t{1} << kIndexBits;
constexpr uint64_t kOneFromBack = 1;

constexpr uint64_t make_range(uint32_t generation, uint32_t next, uint32_t end) {
  return uint64_t{generation} << (2 * kIndexBits) | uint64_t{next} << kIndexBits | end;
}
constexpr uint32_t generation_of(uint64_t range) { return static_cast<uint32_t>(range >> (2 * kIndexBits)); }
constexpr uint32_t next_of(uint64_t range) { return static_cast<uint32_t>(range >> kIndexBits) & kMaxChunks; }
constexpr uint32_t end_of(uint64_t range) { return static_cast<uint32_t>(range) & kMaxChunks; }

struct alignas(64) Range {
  std::atomic<uint64_t> word{0};
};

}  // namespace

struct ThreadTeam::State {
  std::unique_ptr<Range[]> ranges;  ///< one a member
  int n_members = 1;                ///< final before the first job
  uint32_t generation = 0;          ///< the caller's
  bool alone = false;               ///< the caller works alone until alone_until
  Clock::time_point alone_until{};
  alignas(64) std::atomic<uint32_t> completed{0};
  alignas(64) std::atomic<Task> task{nullptr};
  std::atomic<void*> context{nullptr};
  std::atomic<uint32_t> first_chunk{0};
  alignas(64) std::atomic<int> sleepers{0};
  std::atomic<bool> caller_sleeps{false};
  std::atomic<bool> stopping{false};
  std::mutex mutex;
  std::condition_variable work_ready;
  std::condition_variable work_done;
  std::vector<std::thread> helpers;

  /// Runs chunks of `generation` from one member's range until none is left there; returns how many.
  uint32_t run_range(uint32_t for_generation, int owner, int member) {
    std::atomic<uint64_t>& word = ranges[owner].word;
    uint32_t ran = 0;
    uint64_t seen = word.load(std::memory_order_acquire);
    while (generation_of(seen) == for_generation && next_of(seen) < end_of(seen)) {
      const Task job = task.load(std::memory_order_relaxed);
      void* const job_context = context.load(std::memory_order_relaxed);
      const uint32_t first = first_chunk.load(std::memory_order_relaxed);
      const uint32_t chunk = owner == member ? next_of(seen) : end_of(seen) - 1;
      const uint64_t rest = owner == member ? seen + kOneFromFront : seen - kOneFromBack;
      if (!word.compare_exchange_weak(seen, rest, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
      job(job_context, first + chunk, member);
      ++ran;
      seen = word.load(std::memory_order_acquire);
    }
    return ran;
  }

  uint32_t run_chunks(uint32_t for_generation, int member) {
    uint32_t ran = 0;
    for (int i = 0; i < n_members; ++i) ran += run_range(for_generation, (member + i) % n_members, member);
    return ran;
  }

  bool has_news(uint32_t seen_generation, int member) const {
    return generation_of(ranges[member].word.load(std::memory_order_seq_cst)) != seen_generation ||
           stopping.load(std::memory_order_seq_cst);
  }

  void sleep_until_news(uint32_t seen_generation, int member) {
    std::unique_lock<std::mutex> lock(mutex);
    // Sleeper: count up, then look for news. Publisher: publish, then look at the count. One of them sees the other.
    sleepers.fetch_add(1, std::memory_order_seq_cst);
    while (!has_news(seen_generation, member)) work_ready.wait(lock);
    sleepers.fetch_sub(1, std::memory_order_seq_cst);
  }

  void help(int member) {
    uint32_t seen_generation = 0;
    for (;;) {
      if (!spin_until([&] { return has_news(seen_generation, member); })) sleep_until_news(seen_generation, member);
      if (stopping.load(std::memory_order_seq_cst)) return;
      seen_generation = generation_of(ranges[member].word.load(std::memory_order_acquire));
      report(run_chunks(seen_generation, member));
    }
  }

  void report(uint32_t ran) {
    if (ran == 0) return;
    completed.fetch_add(ran, std::memory_order_seq_cst);
    if (!caller_sleeps.load(std::memory_order_seq_cst)) return;
    const std::lock_guard<std::mutex> lock(mutex);
    work_done.notify_one();
  }

  void wake_helpers() {
    if (sleepers.load(std::memory_order_seq_cst) == 0) return;
    {
      const std::lock_guard<std::mutex> lock(mutex);
    }
    work_ready.notify_all();
  }

  void run(Task job, void* job_context, uint32_t first, uint32_t n_chunks) {
    task.store(job, std::memory_order_relaxed);
    context.store(job_context, std::memory_order_relaxed);
    first_chunk.store(first, std::memory_order_relaxed);
    completed.store(0, std::memory_order_relaxed);
    generation = (generation + 1) & kGenerationMask;
    const auto share = [&](int member) { return static_cast<uint32_t>(uint64_t{n_chunks} * member / n_members); };
    for (int member = n_members - 1; member >= 0; --member) {
      ranges[member].word.store(make_range(generation, share(member), share(member + 1)), std::memory_order_seq_cst);
    }
    wake_helpers();
    const Clock::time_point begin = Clock::now();
    const uint32_t ran = run_chunks(generation, 0);
    if (completed.fetch_add(ran, std::memory_order_seq_cst) + ran == n_chunks) return;
    const Clock::time_point idle = Clock::now();
    wait_until_completed(n_chunks);
    const Clock::time_point end = Clock::now();
    if (end - idle < kStall || (end - idle) * ran < (idle - begin) * kStallChunks) return;
    alone = true;
    alone_until = end + kAlone;
  }

  bool must_work_alone() {
    if (alone && Clock::now() >= alone_until) alone = false;
    return alone;
  }

  void wait_until_completed(uint32_t wanted) {
    const auto done = [&] { return completed.load(std::memory_order_seq_cst) == wanted; };
    if (spin_until(done)) return;
    for (int i = 0; i < kYields; ++i) {
      std::this_thread::yield();
      if (done()) return;
    }
    std::unique_lock<std::mutex> lock(mutex);
    caller_sleeps.store(true, std::memory_order_seq_cst);
    while (!done()) work_done.wait(lock);
    caller_sleeps.store(false, std::memory_order_seq_cst);
  }
};

ThreadTeam::ThreadTeam(int n_threads) : state_(std::make_unique<State>()) {
  const int wanted = n_threads > kMaxThreads ? kMaxThreads : n_threads;
  if (wanted > 1) state_->helpers.reserve(static_cast<size_t>(wanted - 1));
  state_->ranges = std::make_unique<Range[]>(static_cast<size_t>(wanted > 1 ? wanted : 1));
  for (int member = 1; member < wanted; ++member) {
    try {
      state_->helpers.emplace_back([state = state_.get(), member] { state->help(member); });
    } catch (const std::system_error&) {
      break;  // the system refuses more threads: work with those it gave
    }
  }
  state_->n_members = static_cast<int>(state_->helpers.size()) + 1;
}

ThreadTeam::~ThreadTeam() {
  {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    state_->stopping.store(true, std::memory_order_seq_cst);
  }
  state_->work_ready.notify_all();
  for (std::thread& helper : state_->helpers) helper.join();
}

int ThreadTeam::size() const { return state_->n_members; }

void ThreadTeam::parallel_for(uint32_t n_chunks, Task task, void* context) {
  if (n_chunks <= 1 || state_->helpers.empty() || state_->must_work_alone()) {
    for (uint32_t chunk = 0; chunk < n_chunks; ++chunk) task(context, chunk, 0);
    return;
  }
  for (uint64_t first = 0; first < n_chunks; first += kMaxChunks) {
    const uint64_t left = n_chunks - first;
    state_->run(task, context, static_cast<uint32_t>(first),
                static_cast<uint32_t>(left < kMaxChunks ? left : kMaxChunks));
  }
}

}  // namespace lutra::base
