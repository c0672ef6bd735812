/** Reads a codebook file: its header is checked before a byte is allocated for its claims, then the rest against its checksum. */
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { createError } from "../errors.js";
import { NotRegularFile, readUpTo } from "../files/index.js";
import { checkCodebooks, checkHeader, type CodebookImage, type Expected, headerBytes } from "./format.js";
import { codebookFileError } from "./place.js";

// A named pipe must not block the open; where the flag does not exist it is nothing.
const readFlags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

/** @throws CodebookFileError; CODEBOOKS_NOT_FOUND when there is no such file */
export async function readCodebooks(path: string, expected: Expected): Promise<CodebookImage> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, readFlags);
    return await readImage(file, expected);
  } catch (thrown) {
    throw codebookFileError("read", path, thrown);
  } finally {
    await file?.close().catch(() => {});
  }
}

async function readImage(file: FileHandle, expected: Expected): Promise<CodebookImage> {
  const info = await file.stat();
  if (!info.isFile()) throw new NotRegularFile(info);
  const start = Buffer.alloc(headerBytes);
  const header = start.subarray(0, await readUpTo(file, start, 0));
  const training = checkHeader(header, expected, info.size);
  const codebooks = new Uint8Array(info.size - headerBytes);
  if ((await readUpTo(file, codebooks, headerBytes)) < codebooks.length)
    throw createError("CODEBOOKS_TRUNCATED", "the file ends inside the codebooks");
  checkCodebooks(header, codebooks);
  return { ...expected, training, codebooks };
}
