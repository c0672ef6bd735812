/** What the system says about a file, in words, for messages that name the caller's path. */

/** Only regular files are read or replaced: whoever may put a link into a folder would choose which. */
export class NotRegularFile extends Error {
  constructor(info: { isSymbolicLink(): boolean; isDirectory(): boolean }) {
    const found = info.isSymbolicLink() ? "a symbolic link" : info.isDirectory() ? "a folder" : "something else";
    super(`expected a regular file, got ${found}`);
  }
}

/** Why a call on the file system failed. */
export function systemReason(thrown: unknown): string {
  const { code = "INTERNAL" } = thrown as NodeJS.ErrnoException;
  return reasons[code] ?? code;
}

export function describePath(path: string): string {
  return JSON.stringify(path.length > 200 ? `${path.slice(0, 197)}...` : path);
}

const reasons: Record<string, string> = {
  ENOENT: "it, or its folder, does not exist",
  ENOTDIR: "its folder is not one",
  ELOOP: "it is a symbolic link",
  EISDIR: "it is a folder",
  ENAMETOOLONG: "its name is too long",
  EACCES: "permission denied",
  EPERM: "permission denied",
  EROFS: "the file system is read-only",
  ENOSPC: "no space is left",
  EDQUOT: "the quota is used up",
  EFBIG: "it would be larger than allowed",
  EIO: "the disk failed (EIO)",
};
