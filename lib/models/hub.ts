/**
 * The Hugging Face source: what a repository holds, and one file of it, resumably. HF_TOKEN and HF_ENDPOINT are
 * honoured. A repository's own checksum (the etag of a large file) is compared before anything is downloaded, and is
 * what a file without a built-in checksum is checked against.
 */

import { fileDownloadInfo, HubApiError, listFiles } from "@huggingface/hub";
import { ChecksumMismatch, PartFile } from "./part-file.js";
import type { PullTarget, SourceContext } from "./pull.js";

const connectMs = 10_000;
const stallMs = 30_000;
const maxAttempts = 5;

export async function pullFromHub(
  repo: string,
  file: string,
  target: PullTarget,
  context: SourceContext,
): Promise<string> {
  const info = await fileDownloadInfo({ repo, path: file, ...hubParams(context.signal) }).catch(explain);
  if (!info) throw new Error(`${repo} has no file ${file}`);
  const etag = /^(?:W\/)?"?([0-9a-f]{64})"?$/.exec(info.etag)?.[1];
  if (target.sizeBytes !== undefined && info.size !== target.sizeBytes) {
    throw new Error(`wrong size: expected ${target.sizeBytes} bytes, the repository's file has ${info.size}`);
  }
  if (target.sha256 !== undefined && etag !== undefined && etag !== target.sha256) {
    throw new Error(`wrong checksum: expected sha256 ${target.sha256}, the repository's file has ${etag}`);
  }
  const sha256 = target.sha256 ?? etag;
  await context.reserve(info.size);
  const part = await PartFile.open(target.path, sha256 !== undefined, context.signal);
  try {
    return await receive(part, info.url, info.size, sha256, context);
  } catch (thrown) {
    const resumable = sha256 !== undefined && !(thrown instanceof ChecksumMismatch) && !isDiskError(thrown);
    await (resumable ? part.keep() : part.discard());
    return explain(thrown);
  }
}

async function receive(
  part: PartFile,
  url: string,
  sizeBytes: number,
  sha256: string | undefined,
  context: SourceContext,
) {
  if (part.receivedBytes > sizeBytes) await part.restart();
  let resumed = part.receivedBytes > 0;
  for (let attempt = 1; ; attempt++) {
    const before = part.receivedBytes;
    try {
      if (part.receivedBytes < sizeBytes) await receiveOnce(part, url, sizeBytes, context);
      if (resumed && sha256 !== undefined && part.digest() !== sha256) {
        // The old part was of another version of the file: once more, from the start.
        resumed = false;
        await part.restart();
        continue;
      }
      return await part.finish(sizeBytes, sha256);
    } catch (thrown) {
      const progress = part.receivedBytes > before;
      const final = context.signal?.aborted || thrown instanceof ChecksumMismatch || isDiskError(thrown);
      if (final || !progress || attempt >= maxAttempts) throw thrown;
    }
  }
}

/** One request for what is missing; returns when the server has sent all of it, throws when it stopped before. */
async function receiveOnce(part: PartFile, url: string, sizeBytes: number, context: SourceContext): Promise<void> {
  const stop = new AbortController();
  const signal = context.signal ? AbortSignal.any([context.signal, stop.signal]) : stop.signal;
  let timer: NodeJS.Timeout | undefined;
  const arm = (ms: number) => {
    clearTimeout(timer);
    timer = setTimeout(() => stop.abort(new Error(`no data for ${ms / 1000} s`)), ms);
  };
  try {
    arm(connectMs);
    const token = accessToken(url);
    const response = await fetch(url, {
      signal,
      headers: { Range: `bytes=${part.receivedBytes}-`, ...(token && { Authorization: `Bearer ${token}` }) },
    });
    if (!response.ok || !response.body) throw new Error(`the server answered ${response.status}`);
    const start = /^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "")?.[1];
    if (response.status !== 206 || Number(start) !== part.receivedBytes) {
      if (response.status === 206) throw new Error("the server sent another range than asked for");
      await part.restart();
    }
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      if (part.receivedBytes + chunk.byteLength > sizeBytes)
        throw new Error(`the server sent more than ${sizeBytes} bytes`);
      await part.write(chunk);
      context.progress(part.receivedBytes, sizeBytes);
      arm(stallMs);
    }
    if (part.receivedBytes < sizeBytes)
      throw new Error(`the connection ended after ${part.receivedBytes} of ${sizeBytes} bytes`);
  } finally {
    clearTimeout(timer);
    stop.abort();
  }
}

/** Paths of all files of a repository. */
export async function listHubFiles(repo: string, signal?: AbortSignal): Promise<string[]> {
  const files: string[] = [];
  try {
    for await (const entry of listFiles({ repo, recursive: true, ...hubParams(signal) })) {
      if (entry.type === "file") files.push(entry.path);
      if (files.length >= 100_000) break;
    }
  } catch (thrown) {
    return explain(thrown);
  }
  return files;
}

function endpoint(): string {
  return (process.env["HF_ENDPOINT"] || "https://huggingface.co").replace(/\/+$/, "");
}

function hubParams(signal?: AbortSignal) {
  const token = process.env["HF_TOKEN"];
  const timed: typeof fetch = async (input, init) => {
    const timeout = AbortSignal.timeout(connectMs);
    return fetch(input, { ...init, signal: signal ? AbortSignal.any([signal, timeout]) : timeout });
  };
  return { hubUrl: endpoint(), fetch: timed, ...(token?.startsWith("hf_") && { accessToken: token }) };
}

/** The token goes to the endpoint only, never to the store a file is served from. */
function accessToken(url: string): string | undefined {
  return new URL(url).origin === new URL(endpoint()).origin ? process.env["HF_TOKEN"] : undefined;
}

function isDiskError(thrown: unknown): boolean {
  return ["ENOSPC", "EDQUOT", "EIO", "EROFS", "EACCES"].includes(String((thrown as NodeJS.ErrnoException)?.code));
}

/** Rethrows with the cause a user can act on in place of "fetch failed". */
function explain(thrown: unknown): never {
  if (thrown instanceof HubApiError) {
    const why = { 401: "not allowed (set HF_TOKEN)", 403: "not allowed (set HF_TOKEN)", 404: "not found" }[
      thrown.statusCode
    ];
    throw new Error(why ?? `the server answered ${thrown.statusCode}`, { cause: thrown });
  }
  if (thrown instanceof Error && thrown.name === "TimeoutError") {
    throw new Error(`no answer within ${connectMs / 1000} s`, { cause: thrown });
  }
  const cause = thrown instanceof Error ? (thrown.cause as (Error & { code?: string }) | undefined) : undefined;
  if (cause && thrown instanceof TypeError)
    throw new Error(cause.message || cause.code || thrown.message, { cause: thrown });
  throw thrown;
}
