/**
 * A model's texts: its vocabulary, held by a handle of the caller's thread so that it outlives any worker, and the short
 * tasks that encode with it. Short texts are encoded at once, on the caller's thread.
 */
import { getBinding } from "../binding/index.js";
import { createError, type LutraError, toLutraError } from "../errors.js";
import { type EncodedTexts, runShortTask, type ShortTask, type ShortTaskRun } from "../worker/index.js";

export interface EncodeFlags {
  addSpecial: boolean;
  parseSpecial: boolean;
}

type TaskOf<T> = T extends unknown ? Omit<T, "tokenizer"> : never;

/** One task of a batch: large enough that its overhead does not count, small enough that others get their turn. */
const chunkTexts = 1024;
const chunkLength = 256 << 10;
const lanes = 2;

export class ModelText {
  private readonly tokenizer_: number;
  private readonly runs_ = new Set<ShortTaskRun>();
  private closed_: LutraError | undefined;

  /** Takes over the handle. */
  constructor(tokenizer: number) {
    this.tokenizer_ = tokenizer;
  }

  encode(text: string, { addSpecial, parseSpecial }: EncodeFlags): Int32Array {
    return getBinding().encode(this.tokenizer_, text, addSpecial, parseSpecial);
  }

  decode(ids: Int32Array, showSpecial: boolean): string {
    const bytes = getBinding().decode(this.tokenizer_, ids, showSpecial);
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  }

  /** @throws QueueFullError, and the reason of close() */
  run(task: TaskOf<ShortTask>): ShortTaskRun {
    if (this.closed_ !== undefined) throw this.closed_;
    const run = runShortTask({ ...task, tokenizer: this.tokenizer_ } as ShortTask);
    this.runs_.add(run);
    const forget = (): void => void this.runs_.delete(run);
    run.encoded.then(forget, forget);
    return run;
  }

  /** Settles when no task of the batch is in flight. @throws LutraError, which names the text */
  async encodeBatch(texts: string[], flags: EncodeFlags, signal: AbortSignal | undefined): Promise<Int32Array[]> {
    const results: Int32Array[] = new Array(texts.length);
    const chunks = cutBatch(texts);
    const running = new Set<ShortTaskRun>();
    let failure: LutraError | undefined;
    const fail = (error: LutraError): void => {
      failure ??= error;
      for (const run of running) run.cancel(failure);
    };
    const onAbort = (): void =>
      fail(createError("ABORTED", "the batch was aborted by its signal", { cause: signal?.reason }));
    const lane = async (): Promise<void> => {
      for (let chunk = chunks.shift(); chunk !== undefined && failure === undefined; chunk = chunks.shift()) {
        const [from, to] = chunk;
        try {
          const run = this.run({ kind: "encode", texts: texts.slice(from, to), first: from, ...flags });
          running.add(run);
          const encoded = await run.encoded.finally(() => running.delete(run));
          split(encoded, results, from);
        } catch (thrown) {
          fail(toLutraError(thrown));
        }
      }
    };
    if (signal?.aborted) onAbort();
    signal?.addEventListener("abort", onAbort, { once: true });
    await Promise.all(Array.from({ length: lanes }, lane));
    signal?.removeEventListener("abort", onAbort);
    if (failure !== undefined) throw failure;
    return results;
  }

  /** Fails what waits and what runs with `reason`, then frees the vocabulary. */
  async close(reason: LutraError): Promise<void> {
    if (this.closed_ !== undefined) return;
    this.closed_ = reason;
    const ends = [...this.runs_].map(({ encoded }) => encoded);
    for (const run of this.runs_) run.cancel(reason);
    await Promise.allSettled(ends);
    getBinding().tokenizerRelease(this.tokenizer_);
  }
}

/** Ranges of neighbouring texts, one a task. */
function cutBatch(texts: string[]): [from: number, to: number][] {
  const chunks: [number, number][] = [];
  for (let from = 0; from < texts.length; ) {
    let length = 0;
    let to = from;
    while (to < texts.length && to - from < chunkTexts && length < chunkLength)
      length += (texts[to++] as string).length;
    chunks.push([from, to]);
    from = to;
  }
  return chunks;
}

function split({ ids, counts }: EncodedTexts, results: Int32Array[], from: number): void {
  let at = 0;
  for (const [i, count] of counts.entries()) {
    results[from + i] = ids.slice(at, at + count);
    at += count;
  }
}
