/** What main and the engine worker say to each other: small plain messages on a port of their own. */
import type { MessagePort } from "node:worker_threads";
import type { Isa, KvCacheType, NativeBinding, NativeModelInfo, NativeVocab } from "../binding/native.js";
import type { SamplingParams } from "../sampling/index.js";
import type { FinishReason, TokenLogprob } from "../types.js";

/** The task that piscina runs once per model: load, then serve the port. */
export interface EngineTask {
  path: string;
  isa: Isa;
  threads: number;
  /** 0: the default. */
  contextSize: number;
  /** 0: the default. */
  maxSequences: number;
  /** 0: the default, or less when memory is short. */
  kvCacheTokens: number;
  kvCacheType: KvCacheType;
  control: Int32Array;
  port: MessagePort;
}

/** Native objects of a loaded engine. The worker owns them: it releases them when it stops, its environment when it dies. */
export interface EngineHandles {
  model: number;
  tokenizer: number;
  engine: number;
}

export interface LoadedEngine {
  handles: EngineHandles;
  info: NativeModelInfo;
  vocab: NativeVocab;
  contextSize: number;
  maxSequences: number;
  threads: number;
  kvBytes: number;
  scratchBytes: number;
  pages: number;
  loadMs: number;
}

export interface PlainError {
  code: string;
  message: string;
}

export type LoadReply = { ok: true; engine: LoadedEngine } | { ok: false; error: PlainError };

export type PromptInput =
  | { kind: "text"; text: string; parseSpecial: boolean }
  | { kind: "tokens"; tokens: Int32Array }
  /** A rendered chat, cut where a control token spelled in a message's content must not be read as one. */
  | { kind: "pieces"; pieces: string[] };

/** Where a request stands among others. */
export interface Place {
  priority: number;
  /** Whether it uses and leaves cached prefixes. */
  cached: boolean;
  /** Whose pages it may share: 0 is everybody's. */
  namespace: number;
}

export type ToWorker =
  | {
      type: "generate";
      id: number;
      slot: number;
      prompt: PromptInput;
      params: SamplingParams;
      place: Place;
      reportProgress: boolean;
    }
  | { type: "score"; id: number; slot: number; prompt: PromptInput; contextSize: number }
  /** The K/V of a history; what is missing of it is computed first. */
  | { type: "export"; id: number; slot: number; tokens: Int32Array; namespace: number }
  /** K/V of a session file, checked: positions [0, computed) of `tokens`, for requests of this namespace only. */
  | {
      type: "import";
      id: number;
      slot: number;
      tokens: Int32Array;
      computed: number;
      /** Pages as engineReadPages gives them. Its buffer is transferred. */
      pages: Uint8Array;
      namespace: number;
    }
  /** Nobody will use the namespace any more. */
  | { type: "forget"; namespace: number }
  /** Time per operator since the last reset, read between two steps. */
  | { type: "profile"; id: number; slot: number; reset: boolean }
  /** Look at the slot's words again: the reader has caught up, or the request was aborted. */
  | { type: "wake"; id: number }
  | { type: "stop" };

export interface GenerateSummary {
  finishReason: FinishReason;
  promptTokens: number;
  /** Prompt tokens whose keys and values were in the cache. */
  cachedTokens: number;
  completionTokens: number;
  /** Steps after the prompt's. */
  decodeSteps: number;
  promptMs: number;
  predictedMs: number;
}

export interface ScoreSummary {
  tokens: number;
  scored: number;
  nll: number;
  ms: number;
  /** Log-probability of each scored token. */
  logprobs: Float64Array;
}

export type OperatorTimes = ReturnType<NativeBinding["engineProfile"]>;

export type FromWorker =
  | { type: "load-progress"; loadedBytes: number; totalBytes: number }
  | { type: "prompt-progress"; id: number; processedTokens: number; totalTokens: number }
  | { type: "text"; id: number; text: string; tokens: number[]; logprobs?: TokenLogprob[] }
  | { type: "generated"; id: number; summary: GenerateSummary }
  | { type: "scored"; id: number; summary: ScoreSummary }
  /** `computed` is tokens.length - 1 or more, but for a worker that keeps no K/V. The buffer is transferred. */
  | { type: "exported"; id: number; pages: Uint8Array; computed: number }
  | { type: "imported"; id: number }
  | { type: "profiled"; id: number; operators: OperatorTimes }
  | { type: "failed"; id: number; error: PlainError }
  | { type: "stopped" };
