// The functions of the addon, by subject. Signatures and meanings: lib/binding/native.ts.
#pragma once

#include "addon/arguments.h"
#include "addon/handles.h"
#include "forward/engine.h"
#include "forward/registry.h"

namespace lutra::addon {

HandleTable<const forward::LoadedModel>& models();
HandleTable<const forward::Vocabulary>& vocabularies();
HandleTable<forward::Engine>& engines();

/// Marks the calling environment as a handle's owner.
const void* environment_of(const Arguments& arguments);
void release_environment(const void* environment);
void release_conversions(const void* environment);

void export_machine(Napi::Env env, Napi::Object exports);
void export_files(Napi::Env env, Napi::Object exports);
void export_tokenizers(Napi::Env env, Napi::Object exports);
void export_models(Napi::Env env, Napi::Object exports);
void export_engines(Napi::Env env, Napi::Object exports);
void export_calibration(Napi::Env env, Napi::Object exports);
void export_pages(Napi::Env env, Napi::Object exports);
void export_conversions(Napi::Env env, Napi::Object exports);

}  // namespace lutra::addon
