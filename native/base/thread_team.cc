// How a generation of work runs:
// - `ticket` packs (generation, chunks not yet claimed). A member claims a chunk by compare-and-swap on the whole word,
//   so a helper that wakes late and still holds an older generation can claim nothing. The job's fields are read before
//   the claim and used only when it succeeds: a count above zero says that a chunk of this generation is open, and the
//   caller rewrites the fields only after all of them are complete. (Counting up to a separate limit would not do: a
//   late helper could pair the old counter with the next job's limit.)
// - `completed` counts finished chunks; a member adds what it ran once it finds no more, and touches nothing of the job
//   afterwards. The caller returns when completed == n_chunks.
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
  const auto deadline = std::chrono::steady_clock::now() + kSpinTime;
  do {
    for (int i = 0; i < 32; ++i) {
      if (ready()) return true;
      pause_cpu();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return ready();
}

constexpr uint32_t generation_of(uint64_t ticket) { return static_cast<uint32_t>(ticket >> 32); }
constexpr uint32_t open_chunks(uint64_t ticket) { return static_cast<uint32_t>(ticket); }

}  // namespace

struct ThreadTeam::State {
  alignas(64) std::atomic<uint64_t> ticket{0};
  alignas(64) std::atomic<uint32_t> completed{0};
  alignas(64) std::atomic<Task> task{nullptr};
  std::atomic<void*> context{nullptr};
  std::atomic<uint32_t> n_chunks{0};
  alignas(64) std::atomic<int> sleepers{0};
  std::atomic<bool> caller_sleeps{false};
  std::atomic<bool> stopping{false};
  std::mutex mutex;
  std::condition_variable work_ready;
  std::condition_variable work_done;
  std::vector<std::thread> helpers;

  /// Runs chunks of `generation` until none is left; returns how many.
  uint32_t run_chunks(uint32_t generation, int member) {
    uint32_t ran = 0;
    uint64_t seen = ticket.load(std::memory_order_acquire);
    while (generation_of(seen) == generation && open_chunks(seen) > 0) {
      const Task job = task.load(std::memory_order_relaxed);
      void* const job_context = context.load(std::memory_order_relaxed);
      const uint32_t chunk = n_chunks.load(std::memory_order_relaxed) - open_chunks(seen);
      if (!ticket.compare_exchange_weak(seen, seen - 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
      job(job_context, chunk, member);
      ++ran;
      seen = ticket.load(std::memory_order_acquire);
    }
    return ran;
  }

  bool has_news(uint32_t generation) const {
    return generation_of(ticket.load(std::memory_order_seq_cst)) != generation ||
           stopping.load(std::memory_order_seq_cst);
  }

  void sleep_until_news(uint32_t generation) {
    std::unique_lock<std::mutex> lock(mutex);
    // Sleeper: count up, then look for news. Publisher: publish, then look at the count. One of them sees the other.
    sleepers.fetch_add(1, std::memory_order_seq_cst);
    while (!has_news(generation)) work_ready.wait(lock);
    sleepers.fetch_sub(1, std::memory_order_seq_cst);
  }

  void help(int member) {
    uint32_t generation = 0;
    for (;;) {
      if (!spin_until([&] { return has_news(generation); })) sleep_until_news(generation);
      if (stopping.load(std::memory_order_seq_cst)) return;
      generation = generation_of(ticket.load(std::memory_order_acquire));
      report(run_chunks(generation, member));
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
  for (int member = 1; member < wanted; ++member) {
    try {
      state_->helpers.emplace_back([state = state_.get(), member] { state->help(member); });
    } catch (const std::system_error&) {
      break;  // the system refuses more threads: work with those it gave
    }
  }
}

ThreadTeam::~ThreadTeam() {
  {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    state_->stopping.store(true, std::memory_order_seq_cst);
  }
  state_->work_ready.notify_all();
  for (std::thread& helper : state_->helpers) helper.join();
}

int ThreadTeam::size() const { return static_cast<int>(state_->helpers.size()) + 1; }

void ThreadTeam::parallel_for(uint32_t n_chunks, Task task, void* context) {
  if (n_chunks <= 1 || state_->helpers.empty()) {
    for (uint32_t chunk = 0; chunk < n_chunks; ++chunk) task(context, chunk, 0);
    return;
  }
  State& state = *state_;
  state.task.store(task, std::memory_order_relaxed);
  state.context.store(context, std::memory_order_relaxed);
  state.n_chunks.store(n_chunks, std::memory_order_relaxed);
  state.completed.store(0, std::memory_order_relaxed);
  const uint32_t generation = generation_of(state.ticket.load(std::memory_order_relaxed)) + 1;
  state.ticket.store(uint64_t{generation} << 32 | n_chunks, std::memory_order_seq_cst);
  state.wake_helpers();
  const uint32_t ran = state.run_chunks(generation, 0);
  if (state.completed.fetch_add(ran, std::memory_order_seq_cst) + ran == n_chunks) return;
  state.wait_until_completed(n_chunks);
}

}  // namespace lutra::base
