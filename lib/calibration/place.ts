/** Where a model's own codebooks are, and what the system says about a codebook file as an error with a code. */
import { join } from "node:path";
import { createError, LutraError } from "../errors.js";
import { describePath, NotRegularFile, systemReason } from "../files/index.js";
import { cacheFolder } from "../models/index.js";
import { type Expected, kind, version } from "./format.js";

/** The file that is used where the caller names none: in the cache folder, by model file and parameters. */
export function defaultCodebookPath({ fingerprint, parameters: { dSub, outliers } }: Expected): string {
  const name = `${kind}-v${version}-${fingerprint.slice(0, 32)}-d${dSub}-o${outliers}.codebooks`;
  return join(cacheFolder(), "codebooks", name);
}

/** What a call threw, as a CodebookFileError that names the file. */
export function codebookFileError(doing: string, path: string, thrown: unknown): LutraError {
  if (thrown instanceof LutraError) return createError(thrown.code, `${describePath(path)}: ${thrown.message}`);
  if (thrown instanceof NotRegularFile) return createError("CODEBOOKS_IO", `${describePath(path)}: ${thrown.message}`);
  const { code = "" } = thrown as NodeJS.ErrnoException;
  const message = `${describePath(path)} could not be ${doing}: ${systemReason(thrown)}`;
  const isMissing = code === "ENOENT" || code === "ENOTDIR";
  return createError(isMissing ? "CODEBOOKS_NOT_FOUND" : "CODEBOOKS_IO", message, { cause: thrown });
}
