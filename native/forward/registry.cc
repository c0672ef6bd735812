#include "forward/registry.h"

#include <chrono>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace lutra::forward {

using base::Result;
using base::Status;

Result<std::shared_ptr<const Vocabulary>> load_vocabulary(const gguf::File& file) {
  auto tokenizer = tokenizer::Tokenizer::load(file);
  if (!tokenizer.ok()) return tokenizer.status();
  auto vocabulary = std::make_shared<Vocabulary>();
  vocabulary->tokenizer = std::move(tokenizer.value());
  vocabulary->has_chat_template = file.find("tokenizer.chat_template") != nullptr;
  if (vocabulary->has_chat_template) {
    auto text = gguf::require_string(file, "tokenizer.chat_template");
    if (!text.ok()) return text.status();
    vocabulary->chat_template = std::move(text.value());
  }
  return std::shared_ptr<const Vocabulary>(std::move(vocabulary));
}

namespace {

Result<std::shared_ptr<const LoadedModel>> load(const std::shared_ptr<gguf::File>& file,
                                                const model::LoadOptions& options) {
  auto model = model::Model::load(file, options);
  if (!model.ok()) return model.status();
  auto vocabulary = load_vocabulary(*file);
  if (!vocabulary.ok()) return vocabulary.status();
  return std::shared_ptr<const LoadedModel>(
      std::make_shared<LoadedModel>(LoadedModel{model.value(), vocabulary.value()}));
}

}  // namespace

ModelRegistry& ModelRegistry::instance() {
  static auto* registry = new ModelRegistry();  // never destroyed: threads may outlive static destructors
  return *registry;
}

Result<std::shared_ptr<const LoadedModel>> ModelRegistry::acquire(const std::string& path,
                                                                  const model::LoadOptions& options) {
  auto file = gguf::File::open(path);
  if (!file.ok()) return file.status();
  std::string key = file.value()->identity();
  for (const std::string& kind : options.tiles.kinds) key += ", tiles of " + kind;
  for (const std::string& name : options.columns) key += ", columns of " + name;
  {
    std::unique_lock lock(mutex_);
    while (true) {
      Entry& entry = entries_[key];
      if (auto loaded = entry.loaded.lock()) return loaded;
      if (!entry.loading) {
        entry.loading = true;
        break;
      }
      changed_.wait_for(lock, std::chrono::milliseconds(20));
      if (options.abort != nullptr && options.abort->load(std::memory_order_relaxed) != 0) {
        return Status("ABORTED", "the load was aborted");
      }
    }
  }
  try {
    auto loaded = load(file.value(), options);
    file = Status();  // the header's strings are not needed any more
#if defined(__GLIBC__)
    malloc_trim(0);  // a large vocabulary leaves tens of megabytes of small free blocks that nothing would reuse
#endif
    finish(key, loaded.ok() ? loaded.value() : nullptr);
    return loaded;
  } catch (...) {
    finish(key, nullptr);
    throw;  // bad_alloc: translated in addon/
  }
}

void ModelRegistry::finish(const std::string& key, const std::shared_ptr<const LoadedModel>& loaded) {
  std::lock_guard lock(mutex_);
  entries_[key] = {loaded, false};
  std::erase_if(entries_, [](const auto& item) { return !item.second.loading && item.second.loaded.expired(); });
  changed_.notify_all();
}

}  // namespace lutra::forward
