// A team of threads for one engine: the calling thread is member 0, helpers spin for a bounded time and then sleep.
//
// parallel_for gives each member a run of neighbouring chunks, and whoever is done steals from the end of the others'
// runs, so a preempted core costs one chunk and not a whole share (static halves lose 3–10× beside one busy JavaScript
// thread on two cores). Which thread runs a chunk never matters to the result: chunks write disjoint outputs.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace lutra::base {

class ThreadTeam {
 public:
  /// Starts `n_threads - 1` helpers; fewer when the system refuses a thread (see size()).
  explicit ThreadTeam(int n_threads);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  /// Members that really run, including the caller.
  int size() const;

  /// Runs task(context, chunk, member) for every chunk in [0, n_chunks) and returns when all are done.
  /// Called by one thread at a time; `task` must not throw.
  using Task = void (*)(void* context, uint32_t chunk, int member);
  void parallel_for(uint32_t n_chunks, Task task, void* context);

  template <typename F>
  void parallel_for(uint32_t n_chunks, F&& function) {
    using Callable = std::remove_reference_t<F>;
    Task call = [](void* context, uint32_t chunk, int member) { (*static_cast<Callable*>(context))(chunk, member); };
    parallel_for(n_chunks, call, const_cast<void*>(static_cast<const void*>(&function)));
  }

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lutra::base
