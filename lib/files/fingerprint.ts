/**
 * A cheap name for a model file's contents: SHA-256 over its size and 256 windows of 4 KiB, evenly spread from the first
 * byte to the last. It costs one MiB of reading at any size. Another model, quantisation or fine-tune differs in every
 * window. It does not detect an edit that keeps the size and falls between the windows (a few patched weights of a large
 * model), nor a change in the later parts of a split model: only the first part, which describes them, is read.
 */
import { createHash } from "node:crypto";
import { type FileHandle, open, stat } from "node:fs/promises";
import { createError, LutraError } from "../errors.js";

const windows = 256;
const windowBytes = 4096;

/** What tells that a file under a name is still the same. */
export interface FileStamp {
  device: bigint;
  inode: bigint;
  size: bigint;
  modifiedNs: bigint;
}

/** The stamp of a file; null when it cannot be had, which whoever opens the file will say better. */
export async function stampFile(path: string): Promise<FileStamp | null> {
  return toStamp(await stat(path, { bigint: true }).catch(() => null));
}

/**
 * 64 hex digits. With the stamp of when the model was loaded, the file must still be that one.
 * @throws ModelFileError: E_IO, MODEL_CHANGED
 */
export async function fingerprint(path: string, loaded: FileStamp | null): Promise<string> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, "r");
    checkStamp(path, loaded, toStamp(await file.stat({ bigint: true })));
    return await hashWindows(file);
  } catch (thrown) {
    if (thrown instanceof LutraError) throw thrown;
    const { message } = thrown as Error;
    throw createError("E_IO", `the model file cannot be read for its fingerprint: ${message}`, { cause: thrown });
  } finally {
    await file?.close().catch(() => {});
  }
}

async function hashWindows(file: FileHandle): Promise<string> {
  const { size } = await file.stat();
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(size), true);
  const hash = createHash("sha256").update(length);
  const window = new Uint8Array(windowBytes);
  const last = Math.max(0, size - windowBytes);
  for (let i = 0; i < windows; i++) {
    const { bytesRead } = await file.read(window, 0, windowBytes, Math.floor((last * i) / (windows - 1)));
    hash.update(window.subarray(0, bytesRead));
  }
  return hash.digest("hex");
}

function toStamp(info: { dev: bigint; ino: bigint; size: bigint; mtimeNs: bigint } | null): FileStamp | null {
  return info && { device: info.dev, inode: info.ino, size: info.size, modifiedNs: info.mtimeNs };
}

function checkStamp(path: string, loaded: FileStamp | null, now: FileStamp | null): void {
  if (loaded === null || now === null) return;
  if ((Object.keys(loaded) as (keyof FileStamp)[]).every((field) => loaded[field] === now[field])) return;
  throw createError("MODEL_CHANGED", `${JSON.stringify(path)} is not the file that was loaded any more; load it again`);
}
