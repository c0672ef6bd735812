/**
 * A file on its way into the cache. It is written under a name of its own (`<final>.<host>-<pid>-<random>.part`) while
 * its SHA-256 is computed, and moved to the final name in one step, after the check: under the final name there is
 * either nothing or the right file, whatever dies and however many processes fetch the same model. A part whose owner
 * is gone can be taken over (by renaming it, which only one process can win) and continued.
 */
import { createHash, type Hash, randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, mkdir, open, readdir, rename, rm } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";

const host = createHash("sha256").update(hostname()).digest("hex").slice(0, 8);
const freeOwner = "free-0";

/** `<host>-<pid>` of this process, as part of temporary names. */
export const ownerTag = `${host}-${process.pid}`;

/** True when the temporary name's owner is a process of this machine that is gone, or nobody. */
export function isOrphan(tag: string): boolean {
  if (tag.startsWith(freeOwner)) return true;
  const match = /^([0-9a-f]{8})-(\d+)/.exec(tag);
  if (!match || match[1] !== host) return false;
  const pid = Number(match[2]);
  if (pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return false;
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === "ESRCH";
  }
}

/** SHA-256 of a file, streamed. */
export async function hashFile(path: string, signal?: AbortSignal): Promise<string> {
  return (await hashInto(createHash("sha256"), path, signal)).digest("hex");
}

async function hashInto(hash: Hash, path: string, signal?: AbortSignal): Promise<Hash> {
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20, signal })) hash.update(chunk as Buffer);
  return hash;
}

export class PartFile {
  receivedBytes = 0;
  readonly #finalPath: string;
  #path: string;
  #hash = createHash("sha256");
  #handle: FileHandle;

  private constructor(finalPath: string, path: string, handle: FileHandle) {
    this.#finalPath = finalPath;
    this.#path = path;
    this.#handle = handle;
  }

  /** Starts an empty part, or with `resume` continues the largest part nobody owns. */
  static async open(finalPath: string, resume: boolean, signal?: AbortSignal): Promise<PartFile> {
    await mkdir(dirname(finalPath), { recursive: true });
    const path = partPath(finalPath, ownerTag);
    const adopted = resume && (await adoptOrphan(finalPath, path));
    const part = new PartFile(finalPath, path, await open(path, adopted ? "r+" : "wx"));
    if (!adopted) return part;
    try {
      part.receivedBytes = (await part.#handle.stat()).size;
      await hashInto(part.#hash, path, signal);
      return part;
    } catch (thrown) {
      await part.keep();
      throw thrown;
    }
  }

  async write(chunk: Uint8Array): Promise<void> {
    for (let done = 0; done < chunk.byteLength; ) {
      const { bytesWritten } = await this.#handle.write(
        chunk,
        done,
        chunk.byteLength - done,
        this.receivedBytes + done,
      );
      done += bytesWritten;
    }
    this.#hash.update(chunk);
    this.receivedBytes += chunk.byteLength;
  }

  /** Back to an empty part. */
  async restart(): Promise<void> {
    await this.#handle.truncate(0);
    this.#hash = createHash("sha256");
    this.receivedBytes = 0;
  }

  /** The hex SHA-256 of what was received so far. */
  digest(): string {
    return this.#hash.copy().digest("hex");
  }

  /** Checks size and checksum, then moves the file to its final name. Returns its checksum. */
  async finish(sizeBytes: number, sha256?: string): Promise<string> {
    if (this.receivedBytes !== sizeBytes) throw new Error(`expected ${sizeBytes} bytes, got ${this.receivedBytes}`);
    const digest = this.digest();
    if (sha256 !== undefined && digest !== sha256) throw new ChecksumMismatch(sha256, digest);
    await this.#handle.sync();
    await this.#handle.close();
    await rename(this.#path, this.#finalPath);
    await removeOrphans(this.#finalPath);
    return digest;
  }

  async discard(): Promise<void> {
    await this.#handle.close().catch(() => {});
    await rm(this.#path, { force: true });
  }

  /** Leaves what was received for a later pull to continue. */
  async keep(): Promise<void> {
    if (this.receivedBytes === 0) return this.discard();
    await this.#handle.close().catch(() => {});
    await rename(this.#path, partPath(this.#finalPath, freeOwner)).catch(() => {});
  }
}

export class ChecksumMismatch extends Error {
  constructor(expected: string, found: string) {
    super(`wrong checksum: expected sha256 ${expected}, got ${found}; the file was refused and removed`);
  }
}

function partPath(finalPath: string, owner: string): string {
  return `${finalPath}.${owner}-${randomBytes(4).toString("hex")}.part`;
}

async function orphans(finalPath: string): Promise<string[]> {
  const prefix = `${basename(finalPath)}.`;
  const names = await readdir(dirname(finalPath)).catch(() => [] as string[]);
  return names
    .filter((name) => name.startsWith(prefix) && name.endsWith(".part") && isOrphan(name.slice(prefix.length)))
    .map((name) => join(dirname(finalPath), name));
}

async function adoptOrphan(finalPath: string, path: string): Promise<boolean> {
  for (const candidate of await orphans(finalPath)) {
    try {
      await rename(candidate, path);
      return true;
    } catch {
      // Another process took it first.
    }
  }
  return false;
}

/** Removes parts of the file that nobody owns. */
export async function removeOrphans(finalPath: string): Promise<void> {
  for (const path of await orphans(finalPath)) await rm(path, { force: true });
}
