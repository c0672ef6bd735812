// Small integer handles for native objects. Handles are valid in every thread; each environment (main thread or worker)
// remembers those it acquired and its cleanup hook releases what it left behind. An object lives while any handle to
// it or any running call does.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "addon/arguments.h"

namespace lutra::addon {

template <typename T>
class HandleTable {
 public:
  explicit HandleTable(const char* kind) : kind_(kind) {}

  int32_t add(std::shared_ptr<T> object, const void* owner) {
    std::lock_guard lock(mutex_);
    const int32_t handle = next_++;
    items_.emplace(handle, Item{std::move(object), owner});
    return handle;
  }
  /// Throws Failure DISPOSED for a handle that is unknown or was released.
  std::shared_ptr<T> get(int64_t handle) const {
    std::lock_guard lock(mutex_);
    const auto found = items_.find(static_cast<int32_t>(handle));
    if (found == items_.end()) throw Failure{"DISPOSED", disposed(handle)};
    return found->second.object;
  }
  void release(int64_t handle) {
    std::shared_ptr<T> last;  // destroyed outside the lock
    std::lock_guard lock(mutex_);
    const auto found = items_.find(static_cast<int32_t>(handle));
    if (found == items_.end()) throw Failure{"DISPOSED", disposed(handle)};
    last = std::move(found->second.object);
    items_.erase(found);
  }
  void release_owned_by(const void* owner) {
    std::unordered_map<int32_t, Item> left;  // destroyed outside the lock
    std::lock_guard lock(mutex_);
    for (auto it = items_.begin(); it != items_.end();) {
      const auto item = it++;
      if (item->second.owner == owner) left.insert(items_.extract(item));
    }
  }
  template <typename Visit>
  void for_each(Visit visit) const {
    std::lock_guard lock(mutex_);
    for (const auto& [handle, item] : items_) visit(*item.object);
  }
  size_t size() const {
    std::lock_guard lock(mutex_);
    return items_.size();
  }

 private:
  struct Item {
    std::shared_ptr<T> object;
    const void* owner;
  };
  std::string disposed(int64_t handle) const {
    return std::string(kind_) + " " + std::to_string(handle) + " does not exist or was disposed";
  }

  const char* kind_;
  mutable std::mutex mutex_;
  int32_t next_ = 1;
  std::unordered_map<int32_t, Item> items_;
};

}  // namespace lutra::addon
