/** `hf:user/repo:file.gguf` and `hf:user/repo:Q4_K_M`, checked so that no part of one can leave its cache folder. */
import { createError, describeValue } from "../errors.js";

export interface HubUri {
  repo: string;
  /** Path of a .gguf file in the repository; undefined when the URI names a quantisation. */
  file?: string;
  /** Quantisation to look for in the file names. */
  tag?: string;
}

const nameSegment = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;
const fileSegment = /^[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}$/;
const quantTag = /^[A-Za-z0-9_]{2,32}$/;

export function isHubUri(name: string): boolean {
  return name.startsWith("hf:");
}

export function parseHubUri(uri: string): HubUri {
  const match = /^hf:([^/:]+)\/([^/:]+)[:/](.+)$/.exec(uri);
  const [, user = "", repo = "", rest = ""] = match ?? [];
  if (!safeSegment(user, nameSegment) || !safeSegment(repo, nameSegment)) throw badUri(uri);
  if (rest.toLowerCase().endsWith(".gguf")) {
    if (!isSafeFile(rest)) throw badUri(uri);
    return { repo: `${user}/${repo}`, file: rest };
  }
  if (!quantTag.test(rest)) throw badUri(uri);
  return { repo: `${user}/${repo}`, tag: rest };
}

/** True for a relative path whose every segment is a plain name: nothing that climbs, nothing absolute. */
export function isSafeFile(file: string): boolean {
  return file.length <= 512 && file.split("/").every((segment) => safeSegment(segment, fileSegment));
}

function safeSegment(segment: string, pattern: RegExp): boolean {
  return pattern.test(segment) && !segment.includes("..") && !segment.endsWith(".");
}

function badUri(uri: string) {
  return createError(
    "INVALID_OPTION",
    `model: expected hf:user/repo:file.gguf or hf:user/repo:QUANT (such as Q4_K_M), got ${describeValue(uri)}`,
  );
}

/** The one .gguf file of a listing that carries the quantisation in its name (of a split file, the first part). */
export function matchQuantTag(files: readonly string[], tag: string): string {
  const pattern = new RegExp(`(^|[-._/])${tag}([-./]|$)`, "i");
  const models = files.filter((file) => /\.gguf$/i.test(file) && !/mmproj/i.test(file) && isSafeFile(file));
  const matches = models.filter((file) => {
    const split = splitParts(file);
    return pattern.test(file.slice(0, -".gguf".length)) && (split.length === 0 || split[0] === file);
  });
  if (matches.length === 1) return matches[0] as string;
  const shown = (matches.length > 0 ? matches : models).slice(0, 12).join(", ");
  throw new Error(
    matches.length > 1
      ? `${matches.length} files match ${tag}; name one of: ${shown}`
      : `no .gguf file matches ${tag}; the repository has: ${shown || "none"}`,
  );
}

/** All files of a split model in order, when the name is one part of it; else an empty list. */
export function splitParts(file: string): string[] {
  const match = /^(.*-)(\d{5})-of-(\d{5})\.gguf$/.exec(file);
  const total = Number(match?.[3] ?? 0);
  if (!match || total < 1 || total > 1024) return [];
  const pad = (part: number) => String(part).padStart(5, "0");
  return Array.from({ length: total }, (_, part) => `${match[1]}${pad(part + 1)}-of-${pad(total)}.gguf`);
}
