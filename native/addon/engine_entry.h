// How a call gets hold of an engine: by its handle, and alone.
#pragma once

#include <memory>

#include "addon/functions.h"

namespace lutra::addon {

constexpr int64_t kMaxHandle = INT32_MAX;

inline std::shared_ptr<forward::Engine> engine_of(const Arguments& arguments) {
  return engines().get(arguments.integer(0, "handle", 0, kMaxHandle));
}

/// Marks an engine as busy for one call, whatever way the call ends. Throws Failure INVALID_OPTION when it is already.
class Entry {
 public:
  explicit Entry(forward::Engine& engine) : engine_(engine) {
    if (!engine.enter()) throw Failure{"INVALID_OPTION", "engine: a step is running already"};
  }
  ~Entry() { engine_.leave(); }
  Entry(const Entry&) = delete;
  Entry& operator=(const Entry&) = delete;

 private:
  forward::Engine& engine_;
};

}  // namespace lutra::addon
