/** Where model files come from: names, the cache folder, pulls and checksums. */
export { type CachedModel, cacheFolder, listModels, removeModel } from "./cache.js";
export { isOrphan, ownerTag } from "./part-file.js";
export type { PullProgress } from "./pull.js";
export { type BuiltinModel, builtinModels, defaultModelName, type PythonPart } from "./registry.js";
export { type ResolveOptions, resolveModel } from "./resolve.js";
