#include "addon/sparsity_options.h"

#include <span>
#include <string>
#include <utility>

namespace lutra::addon {

namespace {

// One of the names, by its value.
template <typename T>
T named(const Napi::Object& object, const char* name, std::span<const std::pair<const char*, T>> choices) {
  const Napi::Value value = object.Get(name);
  const std::string found = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  std::string expected;
  for (const auto& [choice, meaning] : choices) {
    if (found == choice) return meaning;
    expected += std::string(expected.empty() ? "" : ", ") + "\"" + choice + "\"";
  }
  throw WrongType{"sparsity." + std::string(name) + ": expected one of " + expected};
}

std::vector<float> floats(const Napi::Object& object, const char* name) {
  if (object.Get(name).IsUndefined()) return {};
  const auto array = array_property<float>(object, name, 0);
  return {array.data, array.data + array.length};
}

float number(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsNumber()) throw WrongType{"sparsity.core." + std::string(name) + ": expected a number"};
  return value.As<Napi::Number>().FloatValue();
}

}  // namespace

std::optional<forward::SparsityOptions> sparsity_property(const Napi::Object& options) {
  using ffn::Selection;
  using forward::HiddenScore;
  using forward::Norms;
  static constexpr std::pair<const char*, Selection> kSelections[] = {
      {"topk", Selection::kTopK}, {"threshold", Selection::kThreshold}, {"hybrid", Selection::kHybrid}};
  static constexpr std::pair<const char*, Norms> kNorms[] = {
      {"none", Norms::kNone}, {"stacked", Norms::kStacked}, {"published", Norms::kPublished}, {"own", Norms::kOwn}};
  static constexpr std::pair<const char*, HiddenScore> kScores[] = {{"magnitude", HiddenScore::kMagnitude},
                                                                    {"gate", HiddenScore::kGate},
                                                                    {"random", HiddenScore::kRandom},
                                                                    {"core", HiddenScore::kCore}};
  const Napi::Value value = options.Get("sparsity");
  if (value.IsUndefined()) return std::nullopt;
  if (!value.IsObject()) throw WrongType{"sparsity: expected an object"};
  const auto object = value.As<Napi::Object>();
  forward::SparsityOptions sparsity{
      .keeps = floats(object, "keeps"),
      .thresholds = floats(object, "thresholds"),
      .selection = named<Selection>(object, "selection", kSelections),
      .norms = named<Norms>(object, "norms", kNorms),
      .hidden = named<HiddenScore>(object, "hidden", kScores),
  };
  if (sparsity.hidden != HiddenScore::kCore) return sparsity;
  const Napi::Value core = object.Get("core");
  if (!core.IsObject()) throw WrongType{"sparsity.core: expected an object"};
  sparsity.core_token_share = number(core.As<Napi::Object>(), "tokenShare");
  sparsity.core_guard = number(core.As<Napi::Object>(), "guard");
  return sparsity;
}

}  // namespace lutra::addon
