/**
 * embed(): one request a text, as many in flight as fill the steps and no more, so that a long list leaves the queue to
 * others. The first failure ends the call, which settles when nothing of it is in flight any more.
 */
import type { Pooling } from "../binding/native.js";
import { createError, invalidOption, type LutraError, toLutraError } from "../errors.js";
import { limits } from "../limits.js";
import { readOptions } from "../sampling/index.js";
import type { EmbedOptions, EmbedResult, ModelInfo } from "../types.js";
import type { FromWorker, PromptInput } from "../worker/index.js";
import type { RequestHandle } from "./client.js";
import { checkFlag, checkSignal } from "./load-options.js";
import type { Replicas } from "./replicas.js";
import { checkPrompt, copyList } from "./request-options.js";

interface Text {
  /** What messages call it: texts, or texts[i] of a list. */
  field: string;
  prompt: PromptInput;
}

interface Manner {
  pooling: Pooling;
  normalize: boolean;
}

const names = ["pooling", "normalize", "signal"] as const satisfies readonly (keyof EmbedOptions)[];

export async function embedTexts(
  engines: Replicas,
  texts: unknown,
  options: unknown,
  info: ModelInfo,
): Promise<EmbedResult> {
  const given = readOptions(options, names);
  const pooling = checkPooling(given["pooling"]) ?? info.pooling;
  const normalize = checkFlag("normalize", given["normalize"]) ?? true;
  const signal = checkSignal(given["signal"]);
  const call = new EmbedCall(engines, readTexts(texts, info.vocabSize), { pooling, normalize });
  const onAbort = (): void =>
    call.stop(createError("ABORTED", "embed() was aborted by its signal", { cause: signal?.reason }));
  if (signal?.aborted) onAbort();
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    // Twice what can run at once: when a text is done, the next one is in the worker's queue already.
    return await call.run(2 * info.maxSequences * info.replicas);
  } finally {
    signal?.removeEventListener("abort", onAbort);
  }
}

function checkPooling(value: unknown): Pooling | undefined {
  if (value === undefined || value === "mean" || value === "cls" || value === "last") return value;
  throw invalidOption("pooling", '"mean", "cls" or "last"', value);
}

/** @throws InvalidOptionError */
function readTexts(texts: unknown, vocabSize: number): Text[] {
  if (typeof texts === "string") return [readText("texts", texts, vocabSize)];
  const list = copyList("texts", texts);
  if (list === null) throw invalidOption("texts", "a string, an array of token ids, or an array of these", texts);
  if (list.length === 0) throw invalidOption("texts", "at least one text", texts);
  if (typeof list[0] === "number") return [readText("texts", list, vocabSize)];
  if (list.length > limits.maxEmbedTexts) throw invalidOption("texts", `at most ${limits.maxEmbedTexts} texts`, texts);
  return list.map((text, i) => readText(`texts[${i}]`, text, vocabSize));
}

function readText(field: string, text: unknown, vocabSize: number): Text {
  const prompt = checkPrompt(field, text, vocabSize, false);
  const empty = prompt.kind === "text" ? prompt.text === "" : prompt.kind === "tokens" && prompt.tokens.length === 0;
  if (empty) throw invalidOption(field, "a text that is not empty", text);
  return { field, prompt };
}

class EmbedCall {
  private readonly engines_: Replicas;
  private readonly texts_: readonly Text[];
  private readonly manner_: Manner;
  private readonly vectors_: Float32Array[];
  private promptTokens_ = 0;
  /** Texts nobody has taken yet, the next one last. */
  private readonly waiting_: number[];
  private readonly inFlight_ = new Set<RequestHandle>();
  private error_: LutraError | undefined;

  constructor(engines: Replicas, texts: readonly Text[], manner: Manner) {
    this.engines_ = engines;
    this.texts_ = texts;
    this.manner_ = manner;
    this.vectors_ = new Array<Float32Array>(texts.length);
    this.waiting_ = Array.from(texts.keys()).reverse();
  }

  async run(lanes: number): Promise<EmbedResult> {
    await Promise.all(Array.from({ length: Math.min(lanes, this.texts_.length) }, () => this.runLane()));
    if (this.error_ !== undefined) throw this.error_;
    return { vectors: this.vectors_, usage: { promptTokens: this.promptTokens_ } };
  }

  /** Ends the call with `error`, unless it is ending already. */
  stop(error: LutraError): void {
    if (this.error_ !== undefined) return;
    this.error_ = error;
    for (const handle of this.inFlight_) handle.abort();
  }

  /** One text after the other. A lane that finds the queue full (of others' requests) leaves its text to the lanes that go on. */
  private async runLane(): Promise<void> {
    while (this.error_ === undefined) {
      const index = this.waiting_.pop();
      if (index === undefined) return;
      const { field, prompt } = this.texts_[index] as Text;
      try {
        const { vector, tokens } = await this.request(prompt);
        this.vectors_[index] = vector;
        this.promptTokens_ += tokens;
      } catch (thrown) {
        const error = toLutraError(thrown);
        if (error.code !== "QUEUE_FULL" || this.inFlight_.size === 0) return this.stop(nameText(error, field));
        this.waiting_.push(index);
        return;
      }
    }
  }

  private async request(prompt: PromptInput): Promise<Extract<FromWorker, { type: "embedded" }>> {
    let handle: RequestHandle | undefined;
    try {
      return await new Promise((resolve, reject) => {
        const onMessage = (message: FromWorker): void => {
          if (message.type === "embedded") resolve(message);
        };
        handle = this.engines_.submit({ type: "embed", prompt, ...this.manner_ }, { onMessage, onFailure: reject });
        this.inFlight_.add(handle);
      });
    } finally {
      if (handle !== undefined) this.inFlight_.delete(handle);
    }
  }
}

/** Failures that are not about a text. */
const ofTheCall = new Set(["ABORTED", "DISPOSED", "QUEUE_FULL", "WORKER_LOST"]);

function nameText(error: LutraError, field: string): LutraError {
  if (ofTheCall.has(error.code)) return error;
  return createError(error.code, `${field}: ${error.message}`, { cause: error });
}
