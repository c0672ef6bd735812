// Vocabularies: text to ids and back.
#include <cstring>

#include "addon/functions.h"
#include "gguf/gguf.h"

namespace lutra::addon {

namespace {

constexpr int64_t kMaxHandle = INT32_MAX;

std::shared_ptr<const forward::Vocabulary> vocabulary_of(const Arguments& arguments) {
  return vocabularies().get(arguments.integer(0, "handle", 0, kMaxHandle));
}

/// A copy as a typed array. A thread that is being terminated cannot make one any more: the wrapper classes would go on
/// with a null pointer.
template <typename T>
Napi::Value typed_array(Napi::Env env, napi_typedarray_type type, const T* items, size_t count) {
  void* data = nullptr;
  napi_value buffer = nullptr;
  napi_value result = nullptr;
  if (napi_create_arraybuffer(env, count * sizeof(T), &data, &buffer) != napi_ok) throw Pending{};
  if (count > 0) std::memcpy(data, items, count * sizeof(T));
  if (napi_create_typedarray(env, type, count, buffer, 0, &result) != napi_ok) throw Pending{};
  return Napi::Value(env, result);
}

Napi::Value tokenizer_acquire(const Arguments& arguments) {
  const auto file = unwrap(gguf::File::open(arguments.text(0, "path")));
  auto vocabulary = unwrap(forward::load_vocabulary(*file));
  return Napi::Number::New(arguments.env(), vocabularies().add(std::move(vocabulary), environment_of(arguments)));
}

Napi::Value tokenizer_release(const Arguments& arguments) {
  vocabularies().release(arguments.integer(0, "handle", 0, kMaxHandle));
  return arguments.env().Undefined();
}

Napi::Value vocab(const Arguments& arguments) {
  const Napi::Env env = arguments.env();
  const auto vocabulary = vocabulary_of(arguments);
  const tokenizer::VocabInfo& info = vocabulary->tokenizer->info();
  Napi::Object result = Napi::Object::New(env);
  result.Set("model", info.model);
  result.Set("pre", info.pre);
  result.Set("size", info.size);
  result.Set("bos", info.bos);
  result.Set("eos", info.eos);
  result.Set("eot", info.eot);
  result.Set("unk", info.unk);
  result.Set("pad", info.pad);
  result.Set("addBos", info.add_bos);
  result.Set("addEos", info.add_eos);
  Napi::Array ends = Napi::Array::New(env);
  for (const int32_t id : info.end_of_generation) ends.Set(ends.Length(), id);
  result.Set("endOfGeneration", ends);
  result.Set("chatTemplate", vocabulary->has_chat_template
                                 ? static_cast<Napi::Value>(Napi::String::New(env, vocabulary->chat_template))
                                 : static_cast<Napi::Value>(env.Null()));
  return result;
}

Napi::Value encode(const Arguments& arguments) {
  const auto vocabulary = vocabulary_of(arguments);
  const std::string text = arguments.text(1, "text");
  const tokenizer::EncodeOptions options{.add_special = arguments.boolean(2, "addSpecial"),
                                         .parse_special = arguments.boolean(3, "parseSpecial")};
  const std::vector<int32_t> ids = vocabulary->tokenizer->encode(text, options);
  return typed_array(arguments.env(), napi_int32_array, ids.data(), ids.size());
}

Napi::Value bytes_value(Napi::Env env, const std::string& bytes) {
  return typed_array(env, napi_uint8_array, bytes.data(), bytes.size());
}

void check_token(const forward::Vocabulary& vocabulary, int64_t id) {
  const uint32_t size = vocabulary.tokenizer->info().size;
  if (id >= 0 && id < size) return;
  throw Failure{"INVALID_TOKEN",
                "ids: expected token ids in [0, " + std::to_string(size) + "), got " + std::to_string(id)};
}

Napi::Value decode(const Arguments& arguments) {
  const auto vocabulary = vocabulary_of(arguments);
  const auto ids = arguments.int32_array(1, "ids");
  for (size_t i = 0; i < ids.length; ++i) check_token(*vocabulary, ids.data[i]);
  return bytes_value(arguments.env(),
                     vocabulary->tokenizer->decode(ids.data, ids.length, arguments.boolean(2, "showSpecial")));
}

Napi::Value token_bytes(const Arguments& arguments) {
  const auto vocabulary = vocabulary_of(arguments);
  const int64_t id = arguments.integer(1, "id", INT32_MIN, INT32_MAX);
  check_token(*vocabulary, id);
  return bytes_value(arguments.env(),
                     vocabulary->tokenizer->token_bytes(static_cast<int32_t>(id), arguments.boolean(2, "showSpecial")));
}

}  // namespace

void export_tokenizers(Napi::Env env, Napi::Object exports) {
  exports.Set("tokenizerAcquire", Napi::Function::New<guarded<tokenizer_acquire>>(env, "tokenizerAcquire"));
  exports.Set("tokenizerRelease", Napi::Function::New<guarded<tokenizer_release>>(env, "tokenizerRelease"));
  exports.Set("vocab", Napi::Function::New<guarded<vocab>>(env, "vocab"));
  exports.Set("encode", Napi::Function::New<guarded<encode>>(env, "encode"));
  exports.Set("decode", Napi::Function::New<guarded<decode>>(env, "decode"));
  exports.Set("tokenBytes", Napi::Function::New<guarded<token_bytes>>(env, "tokenBytes"));
}

}  // namespace lutra::addon
