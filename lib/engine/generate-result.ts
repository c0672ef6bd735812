/**
 * What generate() and chat() return: one object that is awaitable (the whole result) and async-iterable (its parts).
 *
 * The rules, once:
 * - `signal` aborts: the awaited result rejects, and the iterator throws, with an AbortedError whose `partial` is the text so far.
 * - Leaving the loop early (`break`, `return()`) also stops the request; the awaited result then resolves with
 *   finishReason "abort" and the text so far.
 * - A reader that iterates and lags by more than limits.maxUnreadTokens pauses this request only. Once the whole result is
 *   awaited, the request never pauses.
 * - Whoever only iterates gets the error from the iterator: the same error is not reported as an unhandled rejection.
 */
import { type AbortedError, createError, type LutraError } from "../errors.js";
import type {
  AttentionInfo,
  FfnSparsityInfo,
  GenerateResult,
  MatmulInfo,
  SpeculationStats,
  TextPart,
  TokenLogprob,
} from "../types.js";
import type { FromWorker, GenerateSummary } from "../worker/index.js";
import { describeApproximations } from "./attention/report.js";
import { describeMatmul } from "./matmul/option.js";
import { describeSparsity } from "./sparsity/report.js";
import { callbackFailure, type RequestHandle, type RequestSink } from "./client.js";

export interface ResultOptions {
  signal: AbortSignal | undefined;
  onPromptProgress: ((progress: { processedTokens: number; totalTokens: number }) => void) | undefined;
  loadMs: number;
  withLogprobs: boolean;
  /** Of the model. */
  attention: AttentionInfo;
  ffnSparsity: FfnSparsityInfo;
  matmul: MatmulInfo;
  /** Keeps the model alive while the result is. */
  owner: unknown;
  /** Called once, with how the request ended and the tokens it gave. */
  onEnd: (summary: GenerateSummary | undefined, error: LutraError | undefined, tokens: readonly number[]) => void;
}

const nothingComputed: GenerateSummary = {
  finishReason: "abort",
  promptTokens: 0,
  cachedTokens: 0,
  completionTokens: 0,
  decodedTokens: 0,
  promptMs: 0,
  predictedMs: 0,
  attention: undefined,
  sparsity: undefined,
  speculation: undefined,
};

type Waiter = { resolve: (result: IteratorResult<TextPart, undefined>) => void; reject: (error: LutraError) => void };

export class GenerateResultStream implements AsyncIterableIterator<TextPart, undefined>, PromiseLike<GenerateResult> {
  private readonly options_: ResultOptions;
  private readonly result_: Promise<GenerateResult>;
  private settle_!: { resolve: (result: GenerateResult) => void; reject: (error: LutraError) => void };
  private readonly onAbort_ = (): void => this.abort();
  private handle_: RequestHandle | undefined;
  private parts_: TextPart[] = [];
  private unreadTokens_ = 0;
  private readonly waiters_: Waiter[] = [];
  private ended_ = false;
  private error_: LutraError | undefined;
  private errorSeen_ = false;
  private left_ = false;
  private callbackError_: LutraError | undefined;
  private text_ = "";
  private readonly tokens_: number[] = [];
  private readonly logprobs_: TokenLogprob[] = [];

  /** @internal */
  constructor(start: (sink: RequestSink) => RequestHandle, options: ResultOptions) {
    this.options_ = options;
    this.result_ = new Promise((resolve, reject) => {
      this.settle_ = { resolve, reject };
    });
    this.result_.catch(() => {});
    const { signal } = options;
    if (signal?.aborted) {
      this.fail(this.abortedError());
      return;
    }
    try {
      this.handle_ = start({ onMessage: (message) => this.receive(message), onFailure: (error) => this.fail(error) });
      signal?.addEventListener("abort", this.onAbort_, { once: true });
    } catch (thrown) {
      this.fail(thrown as LutraError);
    }
  }

  /** A result that failed before there was a request. @internal */
  static failed(error: LutraError): GenerateResultStream {
    const start = (): never => {
      throw error;
    };
    return new GenerateResultStream(start, {
      signal: undefined,
      onPromptProgress: undefined,
      loadMs: 0,
      withLogprobs: false,
      attention: { type: "exact" },
      matmul: { type: "dot" },
      ffnSparsity: false,
      owner: undefined,
      onEnd: () => {},
    });
  }

  // biome-ignore lint/suspicious/noThenProperty: awaitable by design
  then<A = GenerateResult, B = never>(
    onFulfilled?: ((result: GenerateResult) => A | PromiseLike<A>) | null,
    onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    this.handle_?.unbound();
    return this.result_.then(onFulfilled, onRejected);
  }

  catch<B = never>(onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null): Promise<GenerateResult | B> {
    return this.then(undefined, onRejected);
  }

  finally(onFinally?: (() => void) | null): Promise<GenerateResult> {
    this.handle_?.unbound();
    return this.result_.finally(onFinally);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<TextPart, undefined>> {
    const part = this.parts_.shift();
    if (part !== undefined) {
      this.unreadTokens_ -= part.tokens.length;
      this.handle_?.consumed(part.tokens.length, this.unreadTokens_);
      return Promise.resolve({ done: false, value: part });
    }
    if (this.error_ !== undefined && !this.errorSeen_ && !this.left_) {
      this.errorSeen_ = true;
      return Promise.reject(this.error_);
    }
    if (this.ended_ || this.left_) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => this.waiters_.push({ resolve, reject }));
  }

  /** Stops the request and waits until none of its work is in flight. */
  async return(): Promise<IteratorResult<TextPart, undefined>> {
    this.left_ = true;
    this.parts_ = [];
    if (!this.ended_) {
      this.handle_?.unbound();
      this.handle_?.abort();
      await this.result_.catch(() => {});
    }
    return { done: true, value: undefined };
  }

  private abort(): void {
    this.handle_?.abort();
  }

  private abortedError(): AbortedError {
    const cause = this.options_.signal?.reason;
    const error = createError("ABORTED", "the request was aborted by its signal", { cause }) as AbortedError;
    error.partial = this.text_;
    return error;
  }

  private receive(message: FromWorker): void {
    if (message.type === "text") this.addPart(message);
    else if (message.type === "prompt-progress") this.progress(message.processedTokens, message.totalTokens);
    else if (message.type === "generated") this.complete(message.summary);
  }

  private progress(processedTokens: number, totalTokens: number): void {
    if (this.callbackError_ !== undefined) return;
    try {
      this.options_.onPromptProgress?.({ processedTokens, totalTokens });
    } catch (thrown) {
      this.callbackError_ = callbackFailure("onPromptProgress", thrown);
      this.abort();
    }
  }

  private addPart(message: Extract<FromWorker, { type: "text" }>): void {
    const { text, tokens, logprobs } = message;
    this.text_ += text;
    for (const token of tokens) this.tokens_.push(token);
    if (logprobs !== undefined) this.logprobs_.push(...logprobs);
    if (this.left_) return;
    const part: TextPart =
      logprobs === undefined ? { type: "text", text, tokens } : { type: "text", text, tokens, logprobs };
    const waiter = this.waiters_.shift();
    if (waiter === undefined) {
      this.parts_.push(part);
      this.unreadTokens_ += tokens.length;
      return;
    }
    this.handle_?.consumed(tokens.length, this.unreadTokens_);
    waiter.resolve({ done: false, value: part });
  }

  private complete(summary: GenerateSummary): void {
    if (this.callbackError_ !== undefined) return this.fail(this.callbackError_, summary);
    if (summary.finishReason === "abort" && !this.left_) return this.fail(this.abortedError(), summary);
    this.end(summary, undefined);
    const { finishReason, promptTokens, cachedTokens, completionTokens, decodedTokens, promptMs, predictedMs } =
      summary;
    const { attention, sparsity } = summary;
    const result: GenerateResult = {
      text: this.text_,
      tokens: this.tokens_,
      finishReason,
      usage: { promptTokens, cachedTokens, completionTokens },
      timings: {
        loadMs: this.options_.loadMs,
        promptMs,
        promptPerSecond: perSecond(promptTokens - cachedTokens, promptMs),
        predictedMs,
        predictedPerSecond: perSecond(decodedTokens, predictedMs),
        approximations: [
          ...describeMatmul(this.options_.matmul),
          ...describeApproximations(this.options_.attention, attention),
          ...describeSparsity(this.options_.ffnSparsity, sparsity),
        ],
      },
      speculation: speculationOf(summary),
    };
    if (attention !== undefined) result.attention = attention;
    if (sparsity !== undefined) result.sparsity = sparsity;
    if (this.options_.withLogprobs) result.logprobs = this.logprobs_;
    this.settle_.resolve(result);
    for (const waiter of this.waiters_.splice(0)) waiter.resolve({ done: true, value: undefined });
  }

  private fail(error: LutraError, summary?: GenerateSummary): void {
    // The reader left before the engine had the request.
    if (error.code === "ABORTED" && this.left_ && summary === undefined) return this.complete(nothingComputed);
    const reported =
      error.code === "ABORTED" && !(error as AbortedError).partial && this.options_.signal?.aborted
        ? this.abortedError()
        : error;
    this.end(summary, reported);
    this.error_ = reported;
    this.settle_.reject(reported);
    for (const waiter of this.waiters_.splice(0)) {
      if (this.errorSeen_) waiter.resolve({ done: true, value: undefined });
      else waiter.reject(reported);
      this.errorSeen_ = true;
    }
  }

  private end(summary: GenerateSummary | undefined, error: LutraError | undefined): void {
    this.ended_ = true;
    this.options_.signal?.removeEventListener("abort", this.onAbort_);
    this.options_.onEnd(summary, error, this.tokens_);
    this.handle_ = undefined;
    this.options_.owner = undefined;
  }
}

function speculationOf({ speculation }: GenerateSummary): SpeculationStats {
  if (speculation === undefined) {
    return { steps: 0, drafted: 0, accepted: 0, meanAccepted: 0, perDrafter: {}, widths: [] };
  }
  const { steps, drafted, accepted, perDrafter, widths } = speculation;
  const meanAccepted = steps === 0 ? 0 : (steps + accepted) / steps;
  return { steps, drafted, accepted, meanAccepted, perDrafter, widths: Array.from(widths, (count) => count ?? 0) };
}

function perSecond(count: number, ms: number): number {
  return count > 0 && ms > 0 ? (count * 1000) / ms : 0;
}
