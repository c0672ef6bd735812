/** The file that is written: what stands in its way, and what the system says about it as an error with a code. */
import { lstat, stat } from "node:fs/promises";
import { createError, invalidOption, LutraError } from "../errors.js";
import { describePath, NotRegularFile, systemReason } from "../files/index.js";

/**
 * Refuses, before hours of work, an output that is the source, and one that exists unless it may be overwritten.
 * @throws OutputFileError, InvalidOptionError
 */
export async function checkOutput(output: string, sources: string[], overwrite: boolean): Promise<void> {
  const there = await stat(output, { bigint: true }).catch(() => undefined);
  for (const source of there ? sources : []) {
    const from = await stat(source, { bigint: true }).catch(() => undefined);
    if (from !== undefined && from.dev === there?.dev && from.ino === there.ino)
      throw invalidOption("output", "another file than the source", output);
  }
  const info = await lstat(output).catch((thrown: NodeJS.ErrnoException) => {
    if (thrown.code === "ENOENT") return undefined;
    throw outputFileError(output, thrown);
  });
  if (info === undefined) return;
  if (!info.isFile()) throw outputFileError(output, new NotRegularFile(info));
  if (overwrite) return;
  throw createError("OUTPUT_EXISTS", `${describePath(output)} exists; name another file, or ask to overwrite it`);
}

/** What a call threw, as an OutputFileError that names the file; errors that have a code already stay as they are. */
export function outputFileError(output: string, thrown: unknown): LutraError {
  if (thrown instanceof LutraError) return thrown;
  if (thrown instanceof NotRegularFile) return createError("OUTPUT_IO", `${describePath(output)}: ${thrown.message}`);
  const { code = "" } = thrown as NodeJS.ErrnoException;
  const message = `${describePath(output)} could not be written: ${systemReason(thrown)}`;
  const isMissing = code === "ENOENT" || code === "ENOTDIR";
  return createError(isMissing ? "OUTPUT_NOT_FOUND" : "OUTPUT_IO", message, { cause: thrown });
}
