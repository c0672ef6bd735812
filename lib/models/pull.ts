/** Tries the sources of one file in order until one gives the right file; a failure names them all. */
import { AbortedError, createError } from "../errors.js";
import { existingFolder, reserveSpace, writeRecord } from "./cache.js";

export interface PullTarget {
  /** Name the user asked for. */
  name: string;
  /** Final path in the cache. */
  path: string;
  sizeBytes?: number;
  sha256?: string;
}

export interface PullProgress {
  source: string;
  receivedBytes: number;
  totalBytes: number;
}

export interface SourceContext {
  signal?: AbortSignal;
  progress: (receivedBytes: number, totalBytes: number) => void;
  /** Rejects when the cache's disk has fewer bytes free. */
  reserve: (bytes: number) => Promise<void>;
}

export interface Source {
  label: string;
  /** Puts the verified file under the target's path and returns its checksum, or rejects and leaves nothing there. */
  fetch: (context: SourceContext) => Promise<string>;
}

export async function pull(
  target: PullTarget,
  sources: readonly Source[],
  tried: readonly string[],
  options: { onPullProgress?: (progress: PullProgress) => void; signal?: AbortSignal },
): Promise<string> {
  const { signal, onPullProgress } = options;
  const failures = [...tried];
  for (const source of sources) {
    throwIfAborted(signal, target.name);
    try {
      const sha256 = await source.fetch({
        signal,
        progress: (receivedBytes, totalBytes) => onPullProgress?.({ source: source.label, receivedBytes, totalBytes }),
        reserve: async (bytes) => reserveSpace(await existingFolder(target.path), bytes),
      });
      await writeRecord(target.path, target.name, sha256);
      return target.path;
    } catch (thrown) {
      throwIfAborted(signal, target.name);
      failures.push(`${source.label}: ${oneLine(thrown)}`);
    }
  }
  throw createError(
    "PULL_FAILED",
    `could not get ${target.name}; sources tried: ${failures.map((failure, at) => `(${at + 1}) ${failure}`).join("; ")}. ` +
      "One reachable source is enough; a path to a .gguf file works without any.",
  );
}

export function throwIfAborted(signal: AbortSignal | undefined, name: string): void {
  if (signal?.aborted) throw new AbortedError("ABORTED", `the pull of ${name} was aborted`, { cause: signal.reason });
}

function oneLine(thrown: unknown): string {
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return message.replace(/\s+/g, " ").trim().slice(0, 400) || "failed without a reason";
}
