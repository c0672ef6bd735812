/**
 * The file that answers are appended to, one JSON object a line. What an earlier run left in it is kept: every whole line
 * has to be the answer to the request at its place, and a torn last line (the run was killed) is cut off. A file that
 * holds anything else is left as it is.
 */
import { type FileHandle, open } from "node:fs/promises";
import { createError, InvalidOptionError, invalidOption, type LutraError } from "../../errors.js";
import { type Line, readLines } from "./read-lines.js";
import type { Request } from "./request.js";

/** A longer line cannot be an answer. */
const maxAnswerBytes = 256 << 20;

export interface Resumed {
  done: number;
  /** Of those, answers that are errors. */
  failed: number;
}

export class AnswersFile {
  private constructor(
    private readonly path_: string,
    private readonly handle_: FileHandle,
  ) {}

  /** Creates the file when it is not there. `input`: the open input, which must be another file. */
  static async open(path: string, input: FileHandle | undefined): Promise<AnswersFile> {
    let handle: FileHandle | undefined;
    try {
      handle = await open(path, "a+");
      const [own, its] = [await handle.stat(), await input?.stat()];
      if (!own.isFile()) throw invalidOption("--out", "a regular file", path);
      if (its !== undefined && own.dev === its.dev && own.ino === its.ino)
        throw invalidOption("--out", "another file than the input", path);
      return new AnswersFile(path, handle);
    } catch (thrown) {
      await handle?.close();
      throw writeFailure(path, thrown);
    }
  }

  /** Takes the requests that are answered already from `requests`. @throws InvalidOptionError when they do not match */
  async resume(requests: AsyncIterator<Request>): Promise<Resumed> {
    const resumed = { done: 0, failed: 0 };
    const bytes = this.handle_.createReadStream({ autoClose: false, start: 0 });
    for await (const line of readLines(bytes, maxAnswerBytes)) {
      if (!line.closed) {
        await this.cutTorn(line, resumed.done);
        break;
      }
      const answer = this.readAnswer(line);
      const next = await requests.next();
      if (next.done) throw this.mismatch(line.number, "the input has no prompt for it");
      this.check(answer, next.value, line.number);
      resumed.done++;
      if (answer["error"] !== undefined) resumed.failed++;
    }
    return resumed;
  }

  async append(text: string): Promise<void> {
    try {
      await this.handle_.appendFile(text);
    } catch (thrown) {
      throw writeFailure(this.path_, thrown);
    }
  }

  close(): Promise<void> {
    return this.handle_.close();
  }

  private async cutTorn({ number, bytes, start }: Line, index: number): Promise<void> {
    const head = answerHead(index);
    const found = bytes?.subarray(0, head.length).toString("latin1") ?? "";
    if (found === "" || !head.startsWith(found)) throw this.mismatch(number, "it is not the beginning of an answer");
    await this.handle_.truncate(start);
  }

  private readAnswer({ number, bytes }: Line): Record<string, unknown> {
    let value: unknown;
    try {
      value = JSON.parse(bytes?.toString("utf8") ?? "");
    } catch {
      throw this.mismatch(number, "it is not JSON");
    }
    if (typeof value !== "object" || value === null || Array.isArray(value))
      throw this.mismatch(number, "it is no JSON object");
    return value as Record<string, unknown>;
  }

  private check(answer: Record<string, unknown>, request: Request, number: number): void {
    const wanted = { index: request.index, id: request.id, input_hash: request.hash };
    for (const [name, value] of Object.entries(wanted)) {
      if (answer[name] === value) continue;
      const { message } = invalidOption(name, String(JSON.stringify(value)), answer[name]);
      throw this.mismatch(number, `line ${request.line} of the input is another (${message})`);
    }
  }

  private mismatch(number: number, reason: string): LutraError {
    const text = `--out ${this.path_}: line ${number} does not belong to this input: ${reason}; remove the file or name another`;
    return new InvalidOptionError("INVALID_OPTION", text);
  }
}

/** How the answer of a request begins. */
export function answerHead(index: number): string {
  return `{"index":${index},`;
}

function writeFailure(path: string, thrown: unknown): unknown {
  const code = (thrown as NodeJS.ErrnoException).code ?? String(thrown);
  if (thrown instanceof InvalidOptionError) return thrown;
  return createError("E_IO", `cannot write ${path}: ${code}`, { cause: thrown });
}
