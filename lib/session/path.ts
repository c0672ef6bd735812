/** The caller's path of a session file, and what the system says about it as an error with a code. */
import { createError, invalidOption, LutraError } from "../errors.js";
import { describePath, NotRegularFile, systemReason } from "../files/index.js";

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

/** What a call on the file system threw, as a SessionFileError; Lutra's own errors stay as they are. */
export function fileError(doing: string, path: string, thrown: unknown): LutraError {
  if (thrown instanceof LutraError) return thrown;
  if (thrown instanceof NotRegularFile) return createError("SESSION_PATH", `${describePath(path)}: ${thrown.message}`);
  const { code = "" } = thrown as NodeJS.ErrnoException;
  const message = `${describePath(path)} could not be ${doing}: ${systemReason(thrown)}`;
  return createError(pathCodes[code] ?? "SESSION_IO", message, { cause: thrown });
}
