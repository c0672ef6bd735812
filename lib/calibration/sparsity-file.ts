/** Reads and writes the calibration file of activation sparsity: whatever keeps it from being used is the caller's option. */
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, mkdir, open } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { createError, LutraError } from "../errors.js";
import { describePath, NotRegularFile, readUpTo, replaceFile, systemReason, writeAll } from "../files/index.js";
import { cacheFolder } from "../models/index.js";
import { decodeSparsity, encodeSparsity, type ExpectedSparsity, type SparsityImage } from "./sparsity-format.js";

/** Those of the largest models have some MiB. */
const maxFileBytes = 64 << 20;
const replacement = { suffix: "sparsity", mode: 0o644 };
// A named pipe must not block the open; where the flag does not exist it is nothing.
const readFlags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

/** Where a calibration goes where the caller names no file: in the cache folder, by model file and method. */
export function defaultSparsityPath({ fingerprint, method }: ExpectedSparsity): string {
  const { type, attention, norms } = method;
  const manner = createHash("sha256")
    .update(JSON.stringify([type, attention, norms]))
    .digest("hex")
    .slice(0, 8);
  return join(cacheFolder(), "sparsity", `${type}-v1-${fingerprint.slice(0, 32)}-${manner}.json`);
}

/** @throws InvalidOptionError: `ffnSparsity.calibration: …` */
export async function readSparsity(
  path: string,
  expected: ExpectedSparsity,
  option = "ffnSparsity",
): Promise<SparsityImage> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, readFlags);
    const info = await file.stat();
    if (!info.isFile()) throw new NotRegularFile(info);
    if (info.size > maxFileBytes)
      throw createError("INVALID_OPTION", `expected at most ${maxFileBytes} bytes, got ${info.size}`);
    const bytes = Buffer.alloc(info.size);
    return decodeSparsity(bytes.toString("utf8", 0, await readUpTo(file, bytes, 0)), expected);
  } catch (thrown) {
    const reason =
      thrown instanceof LutraError || thrown instanceof NotRegularFile ? thrown.message : systemReason(thrown);
    const message = `${option}.calibration: ${describePath(path)}: ${reason}`;
    throw createError("INVALID_OPTION", message, { cause: thrown });
  } finally {
    await file?.close().catch(() => {});
  }
}

/** In one step; folders of the way that do not exist are made. @throws OutputFileError */
export async function writeSparsity(path: string, image: SparsityImage): Promise<void> {
  const target = resolve(path);
  const bytes = Buffer.from(encodeSparsity(image));
  try {
    await mkdir(dirname(target), { recursive: true });
    await replaceFile(target, replacement, (file) => writeAll(file, bytes, 0));
  } catch (thrown) {
    const reason = thrown instanceof NotRegularFile ? thrown.message : systemReason(thrown);
    throw createError("OUTPUT_IO", `${describePath(path)} could not be written: ${reason}`, { cause: thrown });
  }
}
