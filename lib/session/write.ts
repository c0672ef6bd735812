/**
 * Writes a session file so that under its name there is always the old file or the new one, whatever dies when: a
 * temporary file in the same folder, synced, renamed over the old one, the folder synced. A failure removes the temporary
 * file; one left by a killed process is removed by the next save into the folder. Work between two awaits is one chunk.
 */
import { createHash, randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, lstat, open, readdir, rename, rm } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { createError } from "../errors.js";
import { isOrphan, ownerTag } from "../models/index.js";
import { encodeHeader, headerBytes, pagesOf, type SessionImage, sizeOf } from "./format.js";
import { checkSessionPath, fileError, notRegular } from "./path.js";
import { chunkBytes } from "./read.js";

const writeFlags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | (constants.O_NOFOLLOW ?? 0);
/** A session tells what was said: nobody else reads it. */
const fileMode = 0o600;
const temporaryName = /^\.lutra-([0-9a-f]{8}-\d+)-[0-9a-f]{16}\.session$/;

/** @throws SessionFileError: SESSION_PATH, SESSION_NOT_FOUND, SESSION_IO; the old file is untouched then */
export async function writeSession(path: string, image: SessionImage): Promise<void> {
  checkSessionPath(path);
  checkImage(image);
  const target = resolve(path);
  const folder = dirname(target);
  const temporary = join(folder, `.lutra-${ownerTag}-${randomBytes(8).toString("hex")}.session`);
  let file: FileHandle | undefined;
  try {
    await checkTarget(target);
    await removeOrphans(folder);
    file = await open(temporary, writeFlags, fileMode);
    await writeImage(file, image);
    await file.sync();
    await file.close();
    await rename(temporary, target);
    file = undefined;
    await syncFolder(folder);
  } catch (thrown) {
    if (file !== undefined) {
      await file.close().catch(() => {});
      await rm(temporary, { force: true }).catch(() => {});
    }
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

async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}

/** A new name, or a regular file. A rename replaces a link made after this look, and follows none. */
async function checkTarget(target: string): Promise<void> {
  const info = await lstat(target).catch((thrown: NodeJS.ErrnoException) => {
    if (thrown.code !== "ENOENT") throw thrown;
    return undefined;
  });
  if (info !== undefined && !info.isFile()) throw notRegular(target, info);
}

/** Temporary files of processes that are gone: they would fill the disk, one a kill. */
async function removeOrphans(folder: string): Promise<void> {
  for (const name of await readdir(folder).catch(() => [])) {
    const owner = temporaryName.exec(name)?.[1];
    if (owner !== undefined && isOrphan(owner)) await rm(join(folder, name), { force: true }).catch(() => {});
  }
}

/** Makes the new name last. Windows cannot open a folder, and some file systems cannot sync one. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === "win32") return;
  const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== "EINVAL") throw thrown;
  } finally {
    await handle.close();
  }
}

function checkImage({ identity, tokens, computed, pages }: SessionImage): void {
  const wanted = pagesOf(computed, identity.pagePositions) * identity.pageBytes;
  if (computed <= tokens.length && pages.length === wanted) return;
  throw createError(
    "INTERNAL",
    `session: ${computed} computed positions of ${tokens.length} tokens, ${pages.length} bytes of pages for ${wanted}`,
  );
}
