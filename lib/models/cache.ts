/**
 * The cache folder: `<cache>/<file>` for built-in names, `<cache>/hf/<user>/<repo>/<file>` for Hugging Face URIs. Beside
 * each file a small record (`<file>.json`) says what was verified, so that a file is hashed again only when its size or
 * time of change differs from the record.
 */
import { readFile, readdir, rename, rm, stat, statfs, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join, relative, resolve, sep } from "node:path";
import { createError, describeValue } from "../errors.js";
import { hashFile, ownerTag, removeOrphans } from "./part-file.js";
import { type BuiltinModel, builtinModels } from "./registry.js";
import { isHubUri, matchQuantTag, parseHubUri, splitParts } from "./uri.js";

export interface CachedModel {
  name: string;
  path: string;
  size_bytes: number;
  sha256: string;
}

interface Verified {
  name: string;
  size_bytes: number;
  mtime_ms: number;
  sha256: string;
}

/** LUTRA_CACHE, else the platform's cache folder. */
export function cacheFolder(): string {
  const env = process.env;
  if (env["LUTRA_CACHE"]) return resolve(env["LUTRA_CACHE"]);
  if (process.platform === "win32") return join(env["LOCALAPPDATA"] || join(homedir(), "AppData", "Local"), "lutra");
  if (process.platform === "darwin") return join(homedir(), "Library", "Caches", "lutra");
  return join(env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "lutra");
}

export function builtinPath(model: BuiltinModel): string {
  return join(cacheFolder(), model.fileName);
}

export function hubPath(repo: string, file: string): string {
  return join(cacheFolder(), "hf", ...repo.split("/"), ...file.split("/"));
}

/** Why a cached file cannot be used, or its checksum. */
export type CacheCheck = { sha256: string } | { failure: string };

/** Trusts the record when size and time agree with it; hashes the file otherwise. */
export async function checkCached(
  path: string,
  name: string,
  expected: { sizeBytes?: number; sha256?: string },
  signal?: AbortSignal,
): Promise<CacheCheck> {
  const info = await stat(path).catch(() => undefined);
  if (!info?.isFile()) return { failure: "not there" };
  if (expected.sizeBytes !== undefined && info.size !== expected.sizeBytes) {
    return { failure: `wrong size: expected ${expected.sizeBytes} bytes, got ${info.size}` };
  }
  const known = await readRecord(path);
  const mtimeMs = Math.floor(info.mtimeMs);
  let sha256 = known?.size_bytes === info.size && known.mtime_ms === mtimeMs ? known.sha256 : undefined;
  if (sha256 === undefined || (expected.sha256 !== undefined && sha256 !== expected.sha256)) {
    sha256 = await hashFile(path, signal);
    if (expected.sha256 === undefined || sha256 === expected.sha256) await writeRecord(path, name, sha256);
  }
  if (expected.sha256 !== undefined && sha256 !== expected.sha256) {
    return { failure: `wrong checksum: expected sha256 ${expected.sha256}, got ${sha256}` };
  }
  return { sha256 };
}

/** Remembers a verified file; a cache that cannot be written to only costs hashing again. */
export async function writeRecord(path: string, name: string, sha256: string): Promise<void> {
  try {
    const info = await stat(path);
    const verified: Verified = { name, size_bytes: info.size, mtime_ms: Math.floor(info.mtimeMs), sha256 };
    const temporary = `${path}.json.${ownerTag}.tmp`;
    await writeFile(temporary, `${JSON.stringify(verified)}\n`);
    await rename(temporary, `${path}.json`);
  } catch {
    // Hashed again next time.
  }
}

async function readRecord(path: string): Promise<Verified | undefined> {
  try {
    const value = JSON.parse(await readFile(`${path}.json`, "utf8")) as Partial<Verified>;
    return /^[0-9a-f]{64}$/.test(String(value.sha256)) ? (value as Verified) : undefined;
  } catch {
    return undefined;
  }
}

/** Fails before a download that cannot fit. */
export async function reserveSpace(folder: string, bytes: number): Promise<void> {
  const disk = await statfs(folder).catch(() => undefined);
  const free = disk ? disk.bavail * disk.bsize : Infinity;
  if (free < bytes) throw new Error(`not enough space in ${folder}: ${bytes} bytes are needed, ${free} are free`);
}

/** Complete, verified models in the cache. */
export async function listModels(registry: readonly BuiltinModel[] = builtinModels): Promise<CachedModel[]> {
  const models: CachedModel[] = [];
  const add = async (name: string, path: string, expected: { sizeBytes?: number; sha256?: string }) => {
    const check = await checkCached(path, name, expected);
    if ("sha256" in check) models.push({ name, path, size_bytes: (await stat(path)).size, sha256: check.sha256 });
  };
  for (const model of registry) await add(model.name, builtinPath(model), model);
  const hub = join(cacheFolder(), "hf");
  for (const path of await cachedFiles(hub)) {
    const [user, repo, ...file] = relative(hub, path).split(sep);
    await add(`hf:${user}/${repo}:${file.join("/")}`, path, {});
  }
  return models;
}

async function cachedFiles(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith(".gguf"))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

/** The cached file of a repository that a quantisation names, if there is exactly one. */
export async function cachedQuant(repo: string, tag: string): Promise<string | undefined> {
  const folder = hubPath(repo, "");
  const files = (await cachedFiles(folder)).map((path) => relative(folder, path).split(sep).join("/"));
  try {
    return matchQuantTag(files, tag);
  } catch {
    return undefined;
  }
}

/** Removes a model (all files of a split one) and what is left of unfinished pulls; returns the paths removed. */
export async function removeModel(name: string, registry: readonly BuiltinModel[] = builtinModels): Promise<string[]> {
  const paths = await modelPaths(name, registry);
  const removed: string[] = [];
  for (const path of paths) {
    await removeOrphans(path);
    if (!(await stat(path).catch(() => undefined))) continue;
    await rm(path);
    await rm(`${path}.json`, { force: true });
    removed.push(path);
  }
  if (removed.length === 0) {
    throw createError("MODEL_NOT_FOUND", `${describeValue(name)} is not in the cache (${cacheFolder()})`);
  }
  return removed;
}

async function modelPaths(name: string, registry: readonly BuiltinModel[]): Promise<string[]> {
  if (isHubUri(name)) {
    const { repo, file, tag } = parseHubUri(name);
    const found = file ?? (await cachedQuant(repo, tag as string));
    if (found === undefined) return [];
    const parts = splitParts(found);
    return (parts.length > 0 ? parts : [found]).map((part) => hubPath(repo, part));
  }
  const builtin = registry.find((model) => model.name === name);
  return builtin ? [builtinPath(builtin)] : [];
}

/** Folder a download needs room in, created or not yet. */
export async function existingFolder(path: string): Promise<string> {
  for (let folder = dirname(path); ; folder = dirname(folder)) {
    if ((await stat(folder).catch(() => undefined)) || folder === dirname(folder)) return folder;
  }
}
