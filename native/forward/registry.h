// Models and vocabularies of the process. Every load of the same file shares one copy, whichever thread asks; threads
// hold shared pointers, JavaScript holds small integer handles (native/addon).
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "base/status.h"
#include "model/model.h"
#include "tokenizer/tokenizer.h"

namespace lutra::forward {

struct Vocabulary {
  std::shared_ptr<const tokenizer::Tokenizer> tokenizer;
  std::string chat_template;
  bool has_chat_template = false;
};

struct LoadedModel {
  std::shared_ptr<const model::Model> model;
  std::shared_ptr<const Vocabulary> vocabulary;
};

base::Result<std::shared_ptr<const Vocabulary>> load_vocabulary(const gguf::File& file);

class ModelRegistry {
 public:
  static ModelRegistry& instance();

  /// The one copy of the file at `path` (one for each choice of bit planes), loading it unless it is in
  /// memory. Concurrent calls for one file wait for the first; when that one fails or is aborted, the next takes over.
  base::Result<std::shared_ptr<const LoadedModel>> acquire(const std::string& path, const model::LoadOptions& options);

 private:
  struct Entry {
    std::weak_ptr<const LoadedModel> loaded;
    bool loading = false;
  };
  void finish(const std::string& key, const std::shared_ptr<const LoadedModel>& loaded);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, Entry> entries_;  ///< by the file's identity and how its weights lie
};

}  // namespace lutra::forward
