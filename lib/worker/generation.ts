/** One generating request in the worker: sampling, the end of its text, and the parts it sends. */
import { performance } from "node:perf_hooks";
import type { NativeBinding, NativeVocab } from "../binding/native.js";
import {
  type Candidates,
  candidatesNeeded,
  type Picked,
  PenaltyState,
  pickToken,
  type SamplingParams,
  StopMatcher,
  topLogprobs,
  Utf8Stream,
} from "../sampling/index.js";
import type { DraftStats } from "../speculation/index.js";
import type { FinishReason, TokenLogprob } from "../types.js";
import { AttentionTally } from "./attention/tally.js";
import type { FromWorker, GenerateSummary, Place } from "./protocol.js";
import { SparsityTally } from "./sparsity/tally.js";

export interface TextSource {
  binding: NativeBinding;
  tokenizer: number;
  vocab: NativeVocab;
  endOfGeneration: ReadonlySet<number>;
}

export interface GenerationOptions {
  params: SamplingParams;
  place: Place;
  reportProgress: boolean;
  /** Whether somebody takes the parts one by one; else nobody misses one that comes a little later. */
  isRead: () => boolean;
}

/**
 * Parts that nobody takes one by one are sent together, so long after the last ones: a message wakes the caller's thread,
 * which on a machine of two cores takes one from the step (SmolLM2: 0.4 ms of 4).
 */
const unreadIntervalMs = 20;

export class Generation {
  readonly id: number;
  readonly params: SamplingParams;
  readonly place: Place;
  readonly penalties: PenaltyState;
  readonly attention = new AttentionTally();
  readonly sparsity = new SparsityTally();
  readonly reportProgress: boolean;
  /** Candidates its wanted row needs. */
  readonly candidates: number;
  readonly prompt: Int32Array;
  /** Set when the request is over. */
  finishReason: FinishReason | undefined;
  /** Tokens in the parts that were sent. */
  sentTokens = 0;
  private readonly source_: TextSource;
  private readonly post_: (message: FromWorker) => void;
  private readonly stop_: StopMatcher;
  private readonly utf8_ = new Utf8Stream();
  private unsent_: { text: string; tokens: number[]; logprobs: TokenLogprob[] } = {
    text: "",
    tokens: [],
    logprobs: [],
  };
  private sentMs_ = 0;
  private readonly isRead_: () => boolean;
  private completionTokens_ = 0;
  private decodedTokens_ = -1;
  private startMs_ = 0;
  private promptEndMs_ = 0;

  constructor(
    id: number,
    prompt: Int32Array,
    options: GenerationOptions,
    source: TextSource,
    post: (message: FromWorker) => void,
  ) {
    this.id = id;
    this.params = options.params;
    this.place = options.place;
    this.isRead_ = options.isRead;
    this.reportProgress = options.reportProgress;
    this.candidates = candidatesNeeded(options.params);
    this.penalties = new PenaltyState(options.params);
    for (const token of prompt) this.penalties.push(token);
    this.stop_ = new StopMatcher(options.params.stop);
    this.prompt = prompt;
    this.source_ = source;
    this.post_ = post;
  }

  /** The first of its rows is about to run. */
  started(): void {
    if (this.startMs_ === 0) this.startMs_ = performance.now();
  }

  /** Picks the token at `position` from its candidates; null when that ended the request. @throws E_NONFINITE */
  accept(candidates: Candidates, logSumExp: number, position: number): number | null {
    this.decodedTokens_++;
    if (this.promptEndMs_ === 0) this.promptEndMs_ = performance.now();
    const picked = pickToken(this.params, candidates, logSumExp, position);
    if (!this.params.ignoreEos && this.source_.endOfGeneration.has(picked.token)) {
      this.finishReason = "stop";
      return null;
    }
    this.completionTokens_++;
    this.penalties.push(picked.token);
    this.unsent_.tokens.push(picked.token);
    if (this.params.logprobs >= 0) this.unsent_.logprobs.push(this.logprobOf(picked, candidates, logSumExp));
    const matched = this.stop_.push(this.utf8_.push(this.bytesOf(picked.token)));
    if (matched.stopped) this.finishReason = "stop";
    else if (this.params.maxTokens !== undefined && this.completionTokens_ >= this.params.maxTokens)
      this.finishReason = "length";
    this.unsent_.text += matched.text;
    if (this.unsent_.text !== "" && (this.isRead_() || performance.now() - this.sentMs_ >= unreadIntervalMs))
      this.send();
    return this.finishReason === undefined ? picked.token : null;
  }

  /** Sends what is left, and the summary. */
  finish(reason: FinishReason, cachedTokens: number, speculation?: DraftStats): void {
    this.finishReason = reason;
    const text = this.stop_.matched === undefined ? this.stop_.push(this.utf8_.flush()).text + this.stop_.flush() : "";
    this.unsent_.text += text;
    if (this.unsent_.text !== "" || this.unsent_.tokens.length > 0) this.send();
    this.post_({ type: "generated", id: this.id, summary: { ...this.summary(reason, cachedTokens), speculation } });
  }

  private summary(finishReason: FinishReason, cachedTokens: number): Omit<GenerateSummary, "speculation"> {
    const now = performance.now();
    const started = this.startMs_ || now;
    const promptEnd = this.promptEndMs_ || now;
    return {
      finishReason,
      promptTokens: this.prompt.length,
      cachedTokens,
      completionTokens: this.completionTokens_,
      decodedTokens: Math.max(0, this.decodedTokens_),
      promptMs: promptEnd - started,
      predictedMs: now - promptEnd,
      attention: this.attention.summary(),
      sparsity: this.sparsity.summary(),
    };
  }

  private send(): void {
    const { text, tokens, logprobs } = this.unsent_;
    this.unsent_ = { text: "", tokens: [], logprobs: [] };
    this.sentMs_ = performance.now();
    this.sentTokens += tokens.length;
    const message: FromWorker = { type: "text", id: this.id, text, tokens };
    this.post_(this.params.logprobs >= 0 ? { ...message, logprobs } : message);
  }

  private bytesOf(token: number): Uint8Array {
    return this.source_.binding.tokenBytes(this.source_.tokenizer, token, false);
  }

  private logprobOf(picked: Picked, candidates: Candidates, logSumExp: number): TokenLogprob {
    const top = topLogprobs(this.params, candidates, logSumExp);
    const text = (token: number): string =>
      Buffer.from(this.source_.binding.tokenBytes(this.source_.tokenizer, token, true)).toString("utf8");
    return {
      token: picked.token,
      text: text(picked.token),
      logprob: picked.logprob,
      top: top.map(({ token, logprob }) => ({ token, text: text(token), logprob })),
    };
  }
}
