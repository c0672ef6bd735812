/** Writes a session file in one step (files/replace-file.ts). Work between two awaits is one chunk. */
import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { resolve } from "node:path";
import { createError } from "../errors.js";
import { replaceFile, writeAll } from "../files/index.js";
import { encodeHeader, headerBytes, pagesOf, type SessionImage, sizeOf } from "./format.js";
import { checkSessionPath, fileError } from "./path.js";
import { chunkBytes } from "./read.js";

/** A session tells what was said: nobody else reads it. */
const replacement = { suffix: "session", mode: 0o600 };

/** @throws SessionFileError: SESSION_PATH, SESSION_NOT_FOUND, SESSION_IO; the old file is untouched then */
export async function writeSession(path: string, image: SessionImage): Promise<void> {
  checkSessionPath(path);
  checkImage(image);
  try {
    await replaceFile(resolve(path), replacement, (file) => writeImage(file, image));
  } catch (thrown) {
    throw fileError("written", path, thrown);
  }
}

/** The header goes last: a file without one is no session, wherever writing stopped. */
async function writeImage(file: FileHandle, { identity, tokens, computed, pages }: SessionImage): Promise<void> {
  const tokenBytes = new Uint8Array(tokens.buffer, tokens.byteOffset, tokens.byteLength);
  const tokensSha256 = await writeSection(file, tokenBytes, headerBytes);
  const pagesSha256 = await writeSection(file, pages, headerBytes + tokenBytes.length);
  const fileSize = sizeOf(tokens.length, computed, identity);
  const header = { fileSize, identity, tokens: tokens.length, computed, tokensSha256, pagesSha256 };
  await writeAll(file, encodeHeader(header), 0);
}

async function writeSection(file: FileHandle, bytes: Uint8Array, position: number): Promise<Uint8Array> {
  const hash = createHash("sha256");
  for (let done = 0; done < bytes.length; done += chunkBytes) {
    const chunk = bytes.subarray(done, done + chunkBytes);
    await writeAll(file, chunk, position + done);
    hash.update(chunk);
  }
  return hash.digest();
}

function checkImage({ identity, tokens, computed, pages }: SessionImage): void {
  const wanted = pagesOf(computed, identity.pagePositions) * identity.pageBytes;
  if (computed <= tokens.length && pages.length === wanted) return;
  throw createError(
    "INTERNAL",
    `session: ${computed} computed positions of ${tokens.length} tokens, ${pages.length} bytes of pages for ${wanted}`,
  );
}
