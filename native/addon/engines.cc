// Engines: one blocking step at a time over caller-owned typed arrays.
#include "addon/engine_entry.h"
#include "addon/functions.h"
#include "addon/sparsity_options.h"
#include "forward/compare.h"

namespace lutra::addon {

namespace {

constexpr int64_t kMaxRows = 65536;

/// f16 unless the caller names a type.
cache::KvType kv_type_property(const Napi::Object& object) {
  const Napi::Value value = object.Get("kvType");
  const std::string name = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  if (value.IsUndefined() || name == "f16") return cache::KvType::kF16;
  if (name == "q8_0") return cache::KvType::kQ8_0;
  throw WrongType{"kvType: expected \"f16\" or \"q8_0\""};
}

/// Exact unless the caller names tables.
kernels::LutTables tables_property(const Napi::Object& object) {
  const Napi::Value value = object.Get("tables");
  const std::string name = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  if (value.IsUndefined() || name == "exact") return kernels::LutTables::kExact;
  if (name == "int8") return kernels::LutTables::kInt8;
  throw WrongType{"tables: expected \"exact\" or \"int8\""};
}

double number_property(const Napi::Object& object, const char* name, double least, double most) {
  const Napi::Value value = object.Get(name);
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : least - 1;
  if (number >= least && number <= most) return number;
  throw WrongType{std::string(name) + ": expected a number in [" + std::to_string(least) + ", " + std::to_string(most) +
                  "]"};
}

/// None unless the caller names it.
std::optional<forward::LookupOptions> attention_property(const Napi::Object& options) {
  const Napi::Value value = options.Get("attention");
  if (value.IsUndefined()) return std::nullopt;
  if (!value.IsObject()) throw WrongType{"attention: expected an object"};
  const auto object = value.As<Napi::Object>();
  const Napi::Value mode = object.Get("mode");
  const std::string name = mode.IsString() ? mode.As<Napi::String>().Utf8Value() : "";
  if (name != "pure" && name != "refine") throw WrongType{"attention.mode: expected \"pure\" or \"refine\""};
  const auto books = array_property<uint8_t>(object, "codebooks", 0);
  forward::LookupOptions lookup;
  lookup.nomad.mode = name == "pure" ? attention::NomadMode::kPure : attention::NomadMode::kRefine;
  lookup.nomad.epsilon = static_cast<float>(number_property(object, "epsilon", 0, 1));
  lookup.nomad.max_keep = static_cast<float>(number_property(object, "maxKeep", 0, 1));
  lookup.nomad.levels = integer_property(object, "tableBits", 7, 8) == 7 ? 127 : 255;
  lookup.nomad.tail = object.Get("tail").ToBoolean();
  lookup.codebooks.assign(books.data, books.data + books.length);
  return lookup;
}

Napi::Value engine_create(const Arguments& arguments) {
  const auto loaded = models().get(arguments.integer(0, "model", 0, kMaxHandle));
  const Napi::Object object = arguments.object(1, "options");
  forward::EngineOptions options;
  options.threads = static_cast<int>(integer_property(object, "threads", 1, 1024));
  options.max_rows = static_cast<uint32_t>(integer_property(object, "maxRows", 1, kMaxRows));
  options.max_wanted = static_cast<uint32_t>(integer_property(object, "maxWanted", 1, 1024));
  options.pages = static_cast<uint32_t>(integer_property(object, "pages", 1, 1 << 26));
  options.isa = isa_property(object);
  options.kv_type = kv_type_property(object);
  options.lookup = attention_property(object);
  options.tables = tables_property(object);
  options.sparsity = sparsity_property(object);
  auto engine = unwrap(forward::Engine::create(loaded->model, options));
  return Napi::Number::New(arguments.env(), engines().add(std::move(engine), environment_of(arguments)));
}

Napi::Value engine_release(const Arguments& arguments) {
  engines().release(arguments.integer(0, "handle", 0, kMaxHandle));
  return arguments.env().Undefined();
}

Napi::Value engine_info(const Arguments& arguments) {
  const auto engine = engine_of(arguments);
  Napi::Object result = Napi::Object::New(arguments.env());
  result.Set("threads", engine->threads());
  result.Set("kvBytes", static_cast<double>(engine->kv_bytes()));
  result.Set("scratchBytes", static_cast<double>(engine->scratch_bytes()));
  result.Set("pageBytes", static_cast<double>(engine->cache().page_bytes()));
  return result;
}

// Checks that every array holds what the step reads or writes; the ids and offsets inside are checked by the engine.
forward::Step read_step(const Napi::Object& shape, const Napi::Object& arrays, const forward::Engine& engine) {
  forward::Step step;
  step.rows = static_cast<uint32_t>(integer_property(shape, "rows", 1, kMaxRows));
  step.sequences = static_cast<uint32_t>(integer_property(shape, "sequences", 1, kMaxRows));
  step.page_stride = static_cast<uint32_t>(integer_property(shape, "pageStride", 1, 1 << 22));
  step.k = static_cast<uint32_t>(integer_property(shape, "k", 1, 256));
  step.mirrors = static_cast<uint32_t>(integer_property(shape, "mirrors", 0, kMaxRows));
  step.tokens = array_property<int32_t>(arrays, "tokens", step.rows).data;
  step.positions = array_property<int32_t>(arrays, "positions", step.rows).data;
  step.row_sequences = array_property<int32_t>(arrays, "sequences", step.rows).data;
  step.wants = array_property<uint8_t>(arrays, "wants", step.rows).data;
  step.targets = array_property<int32_t>(arrays, "targets", step.rows).data;
  step.page_tables =
      array_property<int32_t>(arrays, "pageTables", static_cast<uint64_t>(step.sequences) * step.page_stride).data;
  step.mirror_rows = array_property<int32_t>(arrays, "mirrorRows", step.mirrors).data;
  step.mirror_pages = array_property<int32_t>(arrays, "mirrorPages", step.mirrors).data;

  uint32_t wanted = 0;
  uint64_t hidden = 0;
  for (uint32_t i = 0; i < step.rows; ++i) {
    wanted += forward::wants_candidates(step.wants[i]);
    hidden += step.wants[i] == forward::kHidden;
  }
  step.hidden = array_property<float>(arrays, "hidden", hidden * engine.model().hyper.dim).data;
  if (engine.looks_up() || engine.sparsity() != nullptr) {
    step.exact_until = array_property<int32_t>(arrays, "exactUntil", step.sequences).data;
  }
  if (engine.sparsity() != nullptr) {
    step.core_slots = array_property<int32_t>(arrays, "coreSlots", step.sequences).data;
    step.sparse_kept = array_property<float>(arrays, "sparseKept", step.rows).data;
    step.sparse_bytes = array_property<float>(arrays, "sparseBytes", step.rows).data;
    step.sparse_state = array_property<int32_t>(arrays, "sparseState", step.rows).data;
  }
  if (engine.looks_up()) {
    step.attention_kept = array_property<float>(arrays, "attentionKept", step.rows).data;
    step.attention_dropped = array_property<float>(arrays, "attentionDropped", step.rows).data;
    step.attention_coded = array_property<float>(arrays, "attentionCoded", step.rows).data;
  }
  step.bias_offsets = array_property<int32_t>(arrays, "biasOffsets", wanted + 1).data;
  const auto n_biases = static_cast<uint64_t>(std::max(0, step.bias_offsets[wanted]));
  step.bias_ids = array_property<int32_t>(arrays, "biasIds", n_biases).data;
  step.bias_divides = array_property<float>(arrays, "biasDivides", n_biases).data;
  step.bias_adds = array_property<float>(arrays, "biasAdds", n_biases).data;

  const uint64_t n_candidates = static_cast<uint64_t>(wanted) * step.k;
  step.candidate_ids = array_property<int32_t>(arrays, "candidateIds", n_candidates).data;
  step.candidate_logits = array_property<float>(arrays, "candidateLogits", n_candidates).data;
  step.log_sum_exp = array_property<float>(arrays, "logSumExp", wanted).data;
  step.target_logits = array_property<float>(arrays, "targetLogits", wanted).data;

  const auto aborts = array_property<int32_t>(arrays, "aborts", 0);
  step.aborts = aborts.data;
  step.sequence_aborts = array_property<int32_t>(arrays, "sequenceAborts", step.sequences).data;
  for (uint32_t s = 0; s < step.sequences; ++s) {
    if (step.sequence_aborts[s] >= static_cast<int64_t>(aborts.length)) {
      throw WrongType{"sequenceAborts: expected indices into aborts, or -1"};
    }
  }
  return step;
}

Napi::Value engine_step(const Arguments& arguments) {
  const auto engine = engine_of(arguments);
  const forward::Step step = read_step(arguments.object(1, "shape"), arguments.object(2, "arrays"), *engine);
  const Entry entry(*engine);
  uint32_t wanted = 0;
  throw_if_failed(engine->run(step, wanted));
  return Napi::Number::New(arguments.env(), wanted);
}

Napi::Object profile_entry(Napi::Env env, const char* op, const forward::Profile::Entry& entry) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("op", op);
  result.Set("calls", static_cast<double>(entry.calls));
  result.Set("ns", static_cast<double>(entry.ns));
  return result;
}

Napi::Value engine_profile(const Arguments& arguments) {
  const auto engine = engine_of(arguments);
  const bool reset = arguments.boolean(1, "reset");
  const Entry entry(*engine);
  const forward::Profile& profile = engine->profile();
  Napi::Array result = Napi::Array::New(arguments.env());
  result.Set(0u, profile_entry(arguments.env(), "step", profile.steps()));
  for (uint32_t i = 0; i < forward::Profile::kStages; ++i) {
    result.Set(i + 1, profile_entry(arguments.env(), forward::kStageNames[i], profile.stages()[i]));
  }
  if (reset) engine->reset_profile();
  return result;
}

Napi::Value engine_sparsity(const Arguments& arguments) {
  const auto engine = engine_of(arguments);
  const bool reset = arguments.boolean(1, "reset");
  const Entry entry(*engine);
  forward::Sparsity* const sparsity = engine->sparsity();
  if (sparsity == nullptr) throw Failure{"INVALID_OPTION", "engine: expected one with sparsity"};
  const forward::SparsityTotals& totals = sparsity->totals();
  Napi::Object result = Napi::Object::New(arguments.env());
  result.Set("steps", static_cast<double>(totals.steps));
  result.Set("rows", static_cast<double>(totals.rows));
  result.Set("selectNs", static_cast<double>(totals.select_ns));
  result.Set("columnBytes", static_cast<double>(totals.column_bytes));
  result.Set("denseBytes", static_cast<double>(totals.dense_bytes));
  if (reset) sparsity->reset_totals();
  return result;
}

Napi::Value engine_logits(const Arguments& arguments) {
  const auto engine = engine_of(arguments);
  const auto row = static_cast<uint32_t>(arguments.integer(1, "row", 0, kMaxRows));
  const auto out = arguments.float_array(2, "out");
  if (out.length < engine->model().hyper.vocab_size) {
    throw WrongType{"out: expected at least " + std::to_string(engine->model().hyper.vocab_size) + " elements"};
  }
  const Entry entry(*engine);
  throw_if_failed(engine->logits(row, out.data));
  return arguments.env().Undefined();
}

Napi::Value engine_compare_logits(const Arguments& arguments) {
  const auto approximate = engines().get(arguments.integer(0, "approximate", 0, kMaxHandle));
  const auto exact = engines().get(arguments.integer(1, "exact", 0, kMaxHandle));
  const auto rows = static_cast<size_t>(arguments.integer(2, "rows", 0, kMaxRows));
  const auto ids = arguments.int32_array(3, "ids");
  const auto out = arguments.double_array(4, "out");
  if (out.length < 4 * rows) throw WrongType{"out: expected at least " + std::to_string(4 * rows) + " elements"};
  if (approximate == exact) throw Failure{"INVALID_OPTION", "exact: expected another engine than the approximate one"};
  const Entry entry(*approximate);
  const Entry exact_entry(*exact);
  std::vector<forward::RowDistance> distances(rows);
  throw_if_failed(forward::compare_logits(*approximate, *exact, {ids.data, ids.length}, distances));
  double* at = out.data;
  for (const auto& [kl, log_prob, exact_log_prob, agrees] : distances) {
    for (const double value : {kl, log_prob, exact_log_prob, agrees}) *at++ = value;
  }
  return arguments.env().Undefined();
}

}  // namespace

void export_engines(Napi::Env env, Napi::Object exports) {
  exports.Set("engineCreate", Napi::Function::New<guarded<engine_create>>(env, "engineCreate"));
  exports.Set("engineRelease", Napi::Function::New<guarded<engine_release>>(env, "engineRelease"));
  exports.Set("engineInfo", Napi::Function::New<guarded<engine_info>>(env, "engineInfo"));
  exports.Set("engineStep", Napi::Function::New<guarded<engine_step>>(env, "engineStep"));
  exports.Set("engineProfile", Napi::Function::New<guarded<engine_profile>>(env, "engineProfile"));
  exports.Set("engineSparsity", Napi::Function::New<guarded<engine_sparsity>>(env, "engineSparsity"));
  exports.Set("engineLogits", Napi::Function::New<guarded<engine_logits>>(env, "engineLogits"));
  exports.Set("engineCompareLogits", Napi::Function::New<guarded<engine_compare_logits>>(env, "engineCompareLogits"));
}

}  // namespace lutra::addon
