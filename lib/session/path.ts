/** The caller's path of a session file, and what the system says about it as an error with a code. */
import { createError, invalidOption, LutraError } from "../errors.js";

const pathCodes: Record<string, string> = {
  ENOENT: "SESSION_NOT_FOUND",
  ENOTDIR: "SESSION_NOT_FOUND",
  // A symbolic link where O_NOFOLLOW was asked for.
  ELOOP: "SESSION_PATH",
  EISDIR: "SESSION_PATH",
  ENAMETOOLONG: "SESSION_PATH",
};

/** @throws InvalidOptionError, SessionFileError (SESSION_PATH) */
export function checkSessionPath(path: unknown): string {
  if (typeof path !== "string" || path === "") throw invalidOption("file", "a path", path);
  if (path.includes("\0")) throw createError("SESSION_PATH", "file: expected a path without NUL characters");
  return path;
}

/** Only regular files: whoever may put a link into the folder would choose what is read or replaced. */
export function notRegular(path: string, info: { isSymbolicLink(): boolean; isDirectory(): boolean }): LutraError {
  const found = info.isSymbolicLink() ? "a symbolic link" : info.isDirectory() ? "a folder" : "something else";
  return createError("SESSION_PATH", `${describePath(path)}: expected a regular file, got ${found}`);
}

/** What a call on the file system threw, as a SessionFileError; Lutra's own errors stay as they are. */
export function fileError(doing: string, path: string, thrown: unknown): LutraError {
  if (thrown instanceof LutraError) return thrown;
  const { code = "INTERNAL" } = thrown as NodeJS.ErrnoException;
  const reason = reasons[code] ?? code;
  const message = `${describePath(path)} could not be ${doing}: ${reason}`;
  return createError(pathCodes[code] ?? "SESSION_IO", message, { cause: thrown });
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

function describePath(path: string): string {
  return JSON.stringify(path.length > 200 ? `${path.slice(0, 197)}...` : path);
}
