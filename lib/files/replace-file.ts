/**
 * Writes a file so that under its name there is always the old file or the new one, whatever dies when: a temporary file
 * in the same folder, synced, renamed over the old one, the folder synced. A failure removes the temporary file; one left
 * by a killed process is removed by the next write into the folder. Errors are those of the system, or NotRegularFile.
 */
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, lstat, open, readdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { isOrphan, ownerTag } from "../models/index.js";
import { NotRegularFile } from "./system-reason.js";

const writeFlags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | (constants.O_NOFOLLOW ?? 0);

export interface Replacement {
  /** Names the kind of file in its temporary name: letters. */
  suffix: string;
  /** Permissions of the new file. */
  mode: number;
}

/** `target` is absolute; `write` fills the new file. */
export async function replaceFile(
  target: string,
  { suffix, mode }: Replacement,
  write: (file: FileHandle) => Promise<void>,
): Promise<void> {
  const folder = dirname(target);
  const temporary = join(folder, `.lutra-${ownerTag}-${randomBytes(8).toString("hex")}.${suffix}`);
  let file: FileHandle | undefined;
  try {
    await checkTarget(target);
    await removeOrphans(folder, suffix);
    file = await open(temporary, writeFlags, mode);
    await write(file);
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
    throw thrown;
  }
}

export async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}

/** As many bytes as there are, `out.length` at most. */
export async function readUpTo(file: FileHandle, out: Uint8Array, position: number): Promise<number> {
  let done = 0;
  while (done < out.length) {
    const { bytesRead } = await file.read(out, done, out.length - done, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}

/** A new name, or a regular file. A rename replaces a link made after this look, and follows none. */
async function checkTarget(target: string): Promise<void> {
  const info = await lstat(target).catch((thrown: NodeJS.ErrnoException) => {
    if (thrown.code !== "ENOENT") throw thrown;
    return undefined;
  });
  if (info !== undefined && !info.isFile()) throw new NotRegularFile(info);
}

/** Temporary files of processes that are gone: they would fill the disk, one a kill. */
async function removeOrphans(folder: string, suffix: string): Promise<void> {
  const temporaryName = new RegExp(`^\\.lutra-([0-9a-f]{8}-\\d+)-[0-9a-f]{16}\\.${suffix}$`);
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
