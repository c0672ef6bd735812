/**
 * Many prompts: a file of JSON lines in, one JSON object a line out, in the order of the input. A line that is
 * wrong, or whose request fails, has its error in its answer, and the run goes on; only what no later request could
 * survive ends it.
 */
import { type FileHandle, open } from "node:fs/promises";
import { addAbortSignal, type Readable } from "node:stream";
import type { Model } from "../../engine/index.js";
import { createError, LutraError, toLutraError } from "../../errors.js";
import { limits } from "../../limits.js";
import type { GenerateOptions } from "../../types.js";
import { toDocument } from "../result-document.js";
import { createBar, note, print } from "../terminal.js";
import { AnswersFile, answerHead } from "./answers-file.js";
import { runInOrder } from "./in-order.js";
import { readLines } from "./read-lines.js";
import { type Request, readRequests } from "./request.js";

export interface PromptLines {
  /** Path of the input, "-" for stdin. */
  file: string;
  /** Requests in flight. */
  parallel: number;
  /** File the answers are appended to; undefined: stdout. */
  out: string | undefined;
  /** Prompts are user messages. */
  chat: boolean;
  /** Options of a line that names none of its own. */
  options: GenerateOptions;
  openModel: () => Promise<Model>;
}

interface Input {
  stream: Readable;
  handle: FileHandle | undefined;
  /** Bytes; 0: not known. */
  size: number;
}

/** Of the whole output, but for tokens and time, which are this run's. */
export interface Summary {
  answers: number;
  failed: number;
  tokens: number;
  ms: number;
}

interface Answer {
  text: string;
  failed: boolean;
  tokens: number;
  /** Offset in the input behind its request. */
  end: number;
}

/** After these no request of the model can succeed. */
const fatal = ["WORKER_LOST", "DISPOSED"];

export async function answerPromptLines(run: PromptLines, signal: AbortSignal): Promise<Summary> {
  const input = await openInput(run.file);
  // An abort while nobody reads is nobody's error.
  addAbortSignal(signal, input.stream).on("error", () => {});
  let answers: AnswersFile | undefined;
  try {
    answers = run.out === undefined ? undefined : await AnswersFile.open(run.out, input.handle);
    const requests = readRequests(
      readLines(readable(input.stream, run.file), limits.promptLines.maxLineBytes),
      run.file,
    );
    const resumed = (await answers?.resume(requests)) ?? { done: 0, failed: 0 };
    if (resumed.done > 0) note(`${run.out}: ${resumed.done} answers are there already`);
    const summary: Summary = { answers: resumed.done, failed: resumed.failed, tokens: 0, ms: 0 };
    await answerAll(requests, { run, input, answers, summary, signal });
    return summary;
  } finally {
    await answers?.close();
    input.stream.destroy();
  }
}

interface Work {
  run: PromptLines;
  input: Input;
  answers: AnswersFile | undefined;
  summary: Summary;
  signal: AbortSignal;
}

async function answerAll(requests: AsyncGenerator<Request>, work: Work): Promise<void> {
  const { run, input, answers, summary, signal } = work;
  // A model is loaded for something only.
  const first = await requests.next();
  if (first.done) return;
  await using model = await run.openModel();
  await checkOptions(model, run.options);
  const visible = answers !== undefined || !process.stdout.isTTY;
  const bar = visible ? await createBar("prompts", "kB") : undefined;
  const started = performance.now();
  try {
    await runInOrder(startingWith(first.value, requests), {
      parallel: run.parallel,
      maxWaiting: limits.promptLines.maxWaiting,
      maxWaitingLength: limits.promptLines.maxWaitingBytes,
      work: (request) => answer(model, request, run, signal),
      write: async ({ text, failed, tokens, end }) => {
        await (answers ? answers.append(text) : print(text));
        summary.answers++;
        summary.failed += failed ? 1 : 0;
        summary.tokens += tokens;
        bar?.update(end, input.size);
      },
    });
  } finally {
    bar?.stop();
    summary.ms = performance.now() - started;
  }
}

/** Wrong options of the command line are told once, not with every line: a request that is aborted at once checks them. */
async function checkOptions(model: Model, options: GenerateOptions): Promise<void> {
  const probe = model.generate("", { ...options, signal: AbortSignal.abort() });
  await probe.catch((thrown) => {
    if (toLutraError(thrown).code !== "ABORTED") throw thrown;
  });
}

async function* startingWith<T>(first: T, rest: AsyncIterable<T>): AsyncGenerator<T> {
  yield first;
  yield* rest;
}

async function answer(model: Model, request: Request, run: PromptLines, signal: AbortSignal): Promise<Answer> {
  const { index, line, id, hash, end } = request;
  const written = (fields: object): Pick<Answer, "text" | "end"> => {
    const rest = JSON.stringify({ id, input_hash: hash, ...fields }).slice(1);
    return { text: `${answerHead(index)}${rest}\n`, end };
  };
  try {
    const result = await generate(model, request, run, signal);
    return { ...written(toDocument(result)), failed: false, tokens: result.tokens.length };
  } catch (thrown) {
    const { code, message } = toLutraError(thrown);
    if (signal.aborted || fatal.includes(code)) throw thrown;
    return { ...written({ error: { code, message: `line ${line}: ${message}` } }), failed: true, tokens: 0 };
  }
}

/** Not async: the result is awaited as it is, so that it never waits for a reader. */
function generate(model: Model, { call }: Request, run: PromptLines, signal: AbortSignal) {
  if (call instanceof LutraError) throw call;
  const options = { ...run.options, ...call.options, signal };
  if (call.messages !== undefined) return model.chat(call.messages, options);
  if (run.chat) return model.chat([{ role: "user", content: call.prompt as string }], options);
  return model.generate(call.prompt, options);
}

async function openInput(path: string): Promise<Input> {
  if (path === "-") return { stream: process.stdin, handle: undefined, size: 0 };
  let handle: FileHandle | undefined;
  try {
    handle = await open(path);
    const stat = await handle.stat();
    if (stat.isDirectory()) throw Object.assign(new Error(), { code: "EISDIR" });
    return { stream: handle.createReadStream(), handle, size: stat.isFile() ? stat.size : 0 };
  } catch (thrown) {
    await handle?.close();
    throw readFailure(path, thrown);
  }
}

/** The stream's chunks; its failures as typed errors. */
async function* readable(stream: Readable, path: string): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of stream) yield chunk as Buffer;
  } catch (thrown) {
    throw readFailure(path, thrown);
  }
}

function readFailure(path: string, thrown: unknown): LutraError {
  const code = (thrown as NodeJS.ErrnoException).code ?? String(thrown);
  return createError("E_IO", `cannot read ${path}: ${code}`, { cause: thrown });
}
