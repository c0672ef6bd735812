/**
 * Reads a session file. Everything is checked before anything is returned: the header before a byte is allocated for its
 * claims, then each section against its checksum, then the token ids. Work between two awaits is one chunk.
 */
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { createError } from "../errors.js";
import { NotRegularFile, readUpTo } from "../files/index.js";
import {
  checkHeader,
  decodeHeader,
  headerBytes,
  pagesOf,
  type SessionHeader,
  type SessionIdentity,
  type SessionImage,
} from "./format.js";
import { checkSessionPath, fileError } from "./path.js";

/** Reading and hashing a mebibyte takes about a millisecond: what the event loop waits at most. */
export const chunkBytes = 1 << 20;

// A named pipe must not block the open; where a flag does not exist it is nothing.
const readFlags = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0);

export interface Expected {
  identity: SessionIdentity;
  contextSize: number;
}

/**
 * The session in `path`, if it is one of this model.
 * @throws SessionFileError, ContextOverflowError, InsufficientMemoryError
 */
export async function readSession(path: string, expected: Expected): Promise<SessionImage> {
  checkSessionPath(path);
  let file: FileHandle | undefined;
  try {
    file = await open(path, readFlags);
    return await readImage(file, expected);
  } catch (thrown) {
    throw fileError("read", path, thrown);
  } finally {
    await file?.close().catch(() => {});
  }
}

async function readImage(file: FileHandle, { identity, contextSize }: Expected): Promise<SessionImage> {
  const info = await file.stat();
  if (!info.isFile()) throw new NotRegularFile(info);
  const start = Buffer.alloc(headerBytes);
  const header = decodeHeader(start.subarray(0, await readUpTo(file, start, 0)));
  checkHeader(header, identity, { fileSize: info.size, contextSize });
  const { tokens: count, computed } = header;
  const tokenBytes = allocate(4 * count);
  await readSection(file, tokenBytes, headerBytes, { name: "tokens", sha256: header.tokensSha256 });
  const tokens = checkTokens(new Int32Array(tokenBytes.buffer), header);
  const pages = allocate(pagesOf(computed, identity.pagePositions) * identity.pageBytes);
  await readSection(file, pages, headerBytes + tokenBytes.length, { name: "pages", sha256: header.pagesSha256 });
  return { identity, tokens, computed, pages };
}

function allocate(bytes: number): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(bytes);
  } catch (cause) {
    throw createError("E_OUT_OF_MEMORY", `the session needs ${bytes} bytes, which could not be allocated`, { cause });
  }
}

/** Fills `out` from the file's `position` on, in chunks, and compares the checksum. */
async function readSection(
  file: FileHandle,
  out: Uint8Array,
  position: number,
  { name, sha256 }: { name: string; sha256: Uint8Array },
): Promise<void> {
  const hash = createHash("sha256");
  for (let done = 0; done < out.length; ) {
    const chunk = out.subarray(done, done + chunkBytes);
    const read = await readUpTo(file, chunk, position + done);
    if (read < chunk.length) throw createError("SESSION_TRUNCATED", `${name}: the file ends inside them`);
    hash.update(chunk);
    done += read;
  }
  if (!hash.digest().equals(sha256)) throw createError("SESSION_CORRUPT", `${name}: wrong checksum`);
}

function checkTokens(tokens: Int32Array, { identity }: SessionHeader): Int32Array {
  const bad = tokens.findIndex((token) => token < 0 || token >= identity.vocabSize);
  if (bad < 0) return tokens;
  throw createError(
    "SESSION_CORRUPT",
    `tokens[${bad}]: expected a token id in [0, ${identity.vocabSize - 1}], got ${tokens[bad]}`,
  );
}
