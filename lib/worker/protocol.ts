/** What main and the engine worker say to each other: small plain messages on a port of their own. */
import type { MessagePort } from "node:worker_threads";
import type {
  Isa,
  KvCacheType,
  NativeAttention,
  NativeBinding,
  NativeModelInfo,
  NativeSparsityTotals,
  NativeVocab,
  Pooling,
} from "../binding/native.js";
import type { SamplingParams } from "../sampling/index.js";
import type { DraftStats, Source } from "../speculation/index.js";
import type {
  AttentionStats,
  FfnSparsityInfo,
  FinishReason,
  MatmulInfo,
  SparsityStats,
  TokenLogprob,
} from "../types.js";

/** The load option `ffnSparsity`, checked, with its defaults. */
export type ResolvedSparsity = Exclude<FfnSparsityInfo, false>;

/** What is used of a calibration file. */
export interface SparsityTables {
  /** [layers * 4 * 65] */
  quantiles: Float32Array;
  /** A layer's rows of 5, ascending: share of the masked weights left out, shares kept at the sites. */
  allocation: Float32Array[];
}

/** How layers are to skip channels. */
export interface SparsityPlan extends ResolvedSparsity {
  /** Of the file `calibration`; undefined: without one. */
  tables?: SparsityTables | undefined;
}

/** A calibration that is to be made: of the sites and scores of `method`, whatever it keeps. */
export interface SparsityTrial {
  method: ResolvedSparsity;
  text: string;
  maxTokens: number;
}

export interface SparsityReport extends SparsityTables {
  /** [layers * 4], a byte a channel */
  frequencies: Uint8Array[];
  /** Hex digits, of the token ids. */
  textSha256: string;
  tokens: number;
  window: number;
}

/** The task that piscina runs once per model: load, then serve the port. */
export interface EngineTask {
  path: string;
  /** Handle of weights that are in memory; 0: load them from `path`. */
  model: number;
  /** Engines that share the memory that is free. */
  replicas: number;
  isa: Isa;
  threads: number;
  /** 0: the default. */
  contextSize: number;
  /** 0: the default. */
  maxSequences: number;
  /** 0: the default, or less when memory is short. */
  kvCacheTokens: number;
  kvCacheType: KvCacheType;
  /** "auto" with the forms that were measured before. */
  matmul: MatmulInfo;
  /** Undefined: exact. */
  attention: AttentionPlan | undefined;
  /** Undefined: layers read whole weights. */
  ffnSparsity: SparsityPlan | undefined;
  /** Made while loading; undefined: nothing is. */
  sparsityTrial?: SparsityTrial | undefined;
  /** Undefined: off. */
  speculation: SpeculationPlan | undefined;
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
  /** Bytes of a page, as it leaves the cache. */
  pageBytes: number;
  matmul: MatmulInfo;
  /** Undefined: nothing but exact attention was asked for. */
  attention: AttentionState | undefined;
  /** As `sparsityTrial` asked. */
  sparsityReport: SparsityReport | undefined;
  /** Tensors whose channels are masked, but that are read whole: `ffn_down (F32, 30 layers)`. */
  missingColumns: string[];
  /** The same of the channels that drafts skip. */
  missingDraftColumns: string[];
  loadMs: number;
}

/** How the engine is to attend. */
export interface AttentionPlan extends Omit<NativeAttention, "codebooks"> {
  /** Undefined: they are made first, as `calibration` says. */
  codebooks: Uint8Array | undefined;
  calibration: CalibrationPlan;
}

/** How codebooks are made. */
export interface CalibrationPlan {
  text: string;
  /** Of the text, at most; 0: a context. */
  maxTokens: number;
  /** 0: the default. */
  contextSize: number;
  dSub: 1 | 2 | 4;
  outliers: number;
  spread: boolean;
}

/** Codebooks, and what they were made from. */
export interface CalibrationReport {
  codebooks: Uint8Array;
  spread: boolean;
  contextSize: number;
  tokens: number;
  textSha256: Uint8Array;
}

/** `made`: they were made while loading. A failure leaves an exact engine. */
export type AttentionState =
  | { codebooks: Uint8Array; made: CalibrationReport | undefined; failure?: undefined }
  | { failure: PlainError };

export interface PlainError {
  code: string;
  message: string;
}

export type LoadReply = { ok: true; engine: LoadedEngine } | { ok: false; error: PlainError };

export type PromptInput =
  | { kind: "text"; text: string; parseSpecial: boolean }
  | { kind: "tokens"; tokens: Int32Array }
  /** A chat, or a long text, that a short task encoded. */
  | { kind: "encoded"; tokens: Int32Array };

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
  /** One text to one vector. */
  | { type: "embed"; id: number; slot: number; prompt: PromptInput; pooling: Pooling; normalize: boolean }
  /** Time per operator since the last reset, read between two steps. */
  | { type: "profile"; id: number; slot: number; reset: boolean }
  /** What sparse rows cost and saved since the last reset, read between two steps. */
  | { type: "sparsity"; id: number; slot: number; reset: boolean }
  /** Look at the slot's words again: the reader has caught up, or the request was aborted. */
  | { type: "wake"; id: number }
  | { type: "stop" };

export interface GenerateSummary {
  finishReason: FinishReason;
  promptTokens: number;
  /** Prompt tokens whose keys and values were in the cache. */
  cachedTokens: number;
  completionTokens: number;
  /** Tokens picked after the prompt's own, the end of the text among them. */
  decodedTokens: number;
  promptMs: number;
  predictedMs: number;
  /** Undefined where all rows attended exactly. */
  attention: AttentionStats | undefined;
  /** Undefined where no row was to be sparse. */
  sparsity: SparsityStats | undefined;
  /** Undefined where it is off. */
  speculation: DraftStats | undefined;
}

/** Which drafters speculate, and how many nodes of a draft one request may have verified in a step. */
export interface SpeculationPlan {
  drafters: readonly Source[];
  maxNodes: number;
  shareTexts: boolean;
  /** File of the model that drafts, where another does. */
  draftPath: string | undefined;
  /** How the model itself skips channels to draft, where it does. */
  draftSparsity: SparsityPlan | undefined;
}

export interface ScoreSummary {
  tokens: number;
  scored: number;
  nll: number;
  ms: number;
  /** Log-probability of each scored token. */
  logprobs: Float64Array;
  /** Undefined where all rows attended exactly. */
  attention: AttentionStats | undefined;
  /** Undefined where no row was to be sparse. */
  sparsity: SparsityStats | undefined;
}

export type SparsityTotals = NativeSparsityTotals;
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
  /** `tokens` of the text; the vector has `dim` floats. */
  | { type: "embedded"; id: number; vector: Float32Array; tokens: number }
  | { type: "profiled"; id: number; operators: OperatorTimes }
  | { type: "sparsity"; id: number; totals: SparsityTotals }
  | { type: "failed"; id: number; error: PlainError }
  | { type: "stopped" };
