/** Shared plain types of the public interface. */
import type { Isa, KvCacheType } from "./binding/native.js";

export interface LoadOptions {
  /** Threads of the native team, including the engine worker's own; default: what affinity and cgroup quota allow. */
  threads?: number;
  /** Tokens of prompt and answer together that one request may hold. */
  contextSize?: number;
  /** Requests that run at once; more wait. Default 16. */
  maxSequences?: number;
  /**
   * Positions whose keys and values are kept in all: of running requests, which take them as they grow, and of prefixes that
   * later requests may share. Default: `maxSequences` full contexts when you name that, else 4; fewer, unless you name
   * `contextSize` too, where they would take more than half of the free memory.
   */
  kvCacheTokens?: number;
  /** How keys and values are kept: q8_0 takes 53 % of the bytes of f16, and rounds to 8 bits. */
  kvCacheType?: KvCacheType;
  /** How weights are multiplied. */
  matmul?: "auto" | "dot";
  attention?: "exact";
  ffnSparsity?: false;
  /** "auto" is "off" today. */
  speculation?: "auto" | "off";
  isa?: "auto" | Isa;
  /** Jinja chat template that replaces the model's own. */
  chatTemplate?: string;
  onLoadProgress?: (progress: { loadedBytes: number; totalBytes: number }) => void;
  /** Progress of a pull, when the model is a name that is not in the cache yet. */
  onPullProgress?: (progress: { source: string; receivedBytes: number; totalBytes: number }) => void;
  /** Never touch the network. */
  offline?: boolean;
  signal?: AbortSignal;
}

export interface GenerateOptions {
  maxTokens?: number;
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  typicalP?: number;
  repeatPenalty?: number;
  /** Tokens the three penalties look back on; -1: all. */
  repeatLastN?: number;
  presencePenalty?: number;
  frequencyPenalty?: number;
  seed?: number;
  stop?: string | string[];
  /** Token id → value added to its logit. */
  logitBias?: Record<number, number>;
  /** Number of alternatives (0–20) to report with each token's log-probability; true is 0 alternatives. */
  logprobs?: number | boolean;
  /** Text that spells a control token becomes that token (only for trusted prompts). */
  parseSpecial?: boolean;
  /** Go on past the model's end-of-generation tokens (for measurements). */
  ignoreEos?: boolean;
  /** Use the keys and values of a beginning that was computed before, and leave this request's for others. Default: true. */
  cachePrompt?: boolean;
  /** Requests of higher priority run first, and take the place of running ones of lower priority. Default: 0. */
  priority?: number;
  /** An abort rejects the awaited result, and the iterator, with an AbortedError that carries the text so far. */
  signal?: AbortSignal;
  onPromptProgress?: (progress: { processedTokens: number; totalTokens: number }) => void;
}

export interface ChatMessage {
  role: "system" | "user" | "assistant" | "tool";
  content: string;
}

export interface ChatOptions extends GenerateOptions {
  chatTemplate?: string;
  chatTemplateKwargs?: Record<string, unknown>;
}

export type FinishReason = "stop" | "length" | "abort";

export interface TokenLogprob {
  token: number;
  text: string;
  logprob: number;
  top: { token: number; text: string; logprob: number }[];
}

/** One piece of a stream. */
export interface TextPart {
  type: "text";
  text: string;
  tokens: number[];
  logprobs?: TokenLogprob[];
}

export interface Usage {
  promptTokens: number;
  /** Of the prompt's tokens, those whose keys and values were in the prefix cache: they were not computed again. */
  cachedTokens: number;
  completionTokens: number;
}

export interface Timings {
  loadMs: number;
  promptMs: number;
  /** Of the tokens that were not cached. */
  promptPerSecond: number;
  predictedMs: number;
  predictedPerSecond: number;
  approximations: string[];
}

/** What speculation did; all zero where it is off. */
export interface SpeculationStats {
  steps: number;
  drafted: number;
  accepted: number;
  meanAccepted: number;
  perDrafter: Record<string, { drafted: number; accepted: number }>;
}

export interface GenerateResult {
  text: string;
  tokens: number[];
  finishReason: FinishReason;
  usage: Usage;
  timings: Timings;
  speculation: SpeculationStats;
  logprobs?: TokenLogprob[];
}

export interface SessionOptions {
  /** A history to start with, e.g. another session's `tokens`. */
  tokens?: ArrayLike<number>;
}

export interface PerplexityOptions {
  /** Tokens of one window; windows do not overlap, and the first token of each is not scored. Default: the model's context size. */
  contextSize?: number;
  signal?: AbortSignal;
}

export interface PerplexityResult {
  ppl: number;
  /** Tokens of the text, and those of them that were scored. */
  tokens: number;
  scored: number;
  /** Mean negative log-likelihood of a scored token, in nats. */
  nll: number;
  /** Natural log-probability of each scored token. */
  logprobs: Float64Array;
  ms: number;
}

export interface ModelMetrics {
  /** Requests accepted so far, and how they ended. */
  requests: number;
  completed: number;
  aborted: number;
  failed: number;
  running: number;
  queued: number;
  promptTokens: number;
  completionTokens: number;
  steps: number;
  /** K/V pages of 32 positions: all; those a request can have now; those that hold cached prefixes, in use or not. */
  pages: number;
  freePages: number;
  cachedPages: number;
  /** Times a running request had to make room for others and was computed again later. */
  preemptions: number;
}

export interface ModelInfo {
  name: string;
  path: string;
  architecture: string;
  nLayers: number;
  nHeads: number;
  nKvHeads: number;
  headDim: number;
  dim: number;
  hiddenDim: number;
  vocabSize: number;
  /** Tokens the model was trained for. */
  contextLength: number;
  /** Tokens one request may hold here. */
  contextSize: number;
  maxSequences: number;
  threads: number;
  isa: Isa;
  kvCacheType: KvCacheType;
  fileBytes: number;
  loadMs: number;
  hasChatTemplate: boolean;
  chatTemplate: string | null;
  /** Token ids; -1 when the vocabulary has none. */
  bos: number;
  eos: number;
  warnings: string[];
}

export interface MemoryEstimate {
  weightsBytes: number;
  kvBytes: number;
  scratchBytes: number;
  totalBytes: number;
}
