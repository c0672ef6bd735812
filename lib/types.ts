/** Shared plain types of the public interface. */
import type { Isa, KvCacheType, Pooling } from "./binding/native.js";

export interface LoadOptions {
  /** Threads of a replica's native team, including its worker's own; default: its share of what affinity and cgroup quota allow. */
  threads?: number;
  /** Engines on one copy of the weights, each with its own worker thread, keys and values; default 1. */
  replicas?: number;
  /** Tokens of prompt and answer together that one request may hold. */
  contextSize?: number;
  /** Requests that run at once on a replica; more wait. Default 16. */
  maxSequences?: number;
  /**
   * Positions whose keys and values are kept in all: of running requests, which take them as they grow, and of prefixes that
   * later requests may share. Default: `maxSequences` full contexts when you name that, else 4; fewer, unless you name
   * `contextSize` too, where they would take more than half of the free memory.
   */
  kvCacheTokens?: number;
  /** How keys and values are kept: q8_0 takes 53 % of the bytes of f16, and rounds to 8 bits. */
  kvCacheType?: KvCacheType;
  /**
   * How weights are multiplied: "dot" (multiply-adds), or "lut" (table lookups, of types of 2 to 5 bits), which by
   * default gives the same bits. "auto" (default) takes for weights of each type and shape what is faster on this machine: the
   * first load of a model measures it, some 50 ms a shape, and the cache folder keeps it.
   */
  matmul?: "auto" | "dot" | "lut" | LutOptions;
  /**
   * "exact" (default), or look-ups in place of most dot products of long contexts: an approximation that results name.
   * "nomad" is its defaults.
   */
  attention?: "exact" | "nomad" | NomadOptions;
  /**
   * Whether tokens that are generated read only some channels of the feed-forward layers' weights: an approximation that
   * results name. Default: false.
   */
  ffnSparsity?: false | FfnSparsityOptions;
  /**
   * Several tokens a step where drafts of them prove right; the text is the same bit for bit. Default: "auto", which drafts
   * where it pays.
   */
  speculation?: "auto" | "off" | SpeculationOptions;
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

/** Products by table lookup: LUT-GEMM's idea in T-MAC's bit-plane form, and by codebook. */
export interface LutOptions {
  type: "lut";
  /** "exact" (default) gives the bits of "dot"; "int8" rounds tables to 8 bits, an approximation that results name. */
  tables?: "exact" | "int8";
}

/** How a model multiplies. */
export type MatmulInfo = { type: "dot" } | Required<LutOptions> | { type: "auto"; forms: MatmulForm[] };

/** How "auto" multiplies by the weights of one type and shape, and what both ways were measured to take. */
export interface MatmulForm {
  /** As GGUF names it. */
  type: string;
  rows: number;
  cols: number;
  kernel: "dot" | "lut";
  times: MatmulTimes[];
}

/** Of one product, in microseconds, with weights from memory. */
export interface MatmulTimes {
  /** Rows of the step. */
  columns: number;
  dotUs: number;
  lutUs: number;
}

/**
 * Sources of drafts: `recycling` (tokens that once were likely after a token), `suffix` (what followed the text's end where
 * it occurred before), `reader` (the same after the leaves of the others' drafts), `jacobi` (the model's guesses at rejected
 * drafts; alone, Jacobi decoding with all `maxNodes` rows), `draft` (a smaller model of the same vocabulary, or the model itself with channels left out). `chaos` drafts
 * at random and verifies it all, for tests.
 */
export type DrafterName = "recycling" | "suffix" | "reader" | "jacobi" | "draft" | "chaos";

export interface SpeculationOptions {
  drafters?: DrafterName[];
  /** The model of the drafter "draft": a name, a path or hf:user/repo:file. */
  draftModel?: string;
  /**
   * In place of `draftModel`: the drafter "draft" is the model itself, its layers skipping channels, on the same weights.
   * What is verified, and so the text, is not approximated.
   */
  draftSparsity?: false | FfnSparsityOptions;
  /** Drafted tokens one request may have verified in a step, 1 to 63. Default 15; how many it is, is measured and learnt. */
  maxNodes?: number;
  /**
   * Whether the reader also drafts from the texts of the model's earlier requests, some 260,000 tokens of them; default
   * false. The tokens are the same; how fast they come then says something about what others wrote.
   */
  shareTexts?: boolean;
}

/**
 * Lookup attention (NoMAD): a text's own tokens from about the thousandth position on are computed with keys of 4-bit codes;
 * prompts stay exact, as do sliding-window layers and the newest positions.
 */
export interface NomadOptions {
  type: "nomad";
  /** "refine" (default) reads the keys that the codes find likely, in 8 bits; "pure" stays with the codes. */
  mode?: "refine" | "pure";
  /** Dimensions of a sub-vector, that is of one code: default 2, and 1 where `mode` is "pure". */
  dSub?: 1 | 2 | 4;
  /** Estimated share of a head's attention mass that may be left out, in (0, 1). Default 0.03. */
  epsilon?: number;
  /** Share of the coded keys that are read, at most, in (0, 1]. Default 0.5. */
  maxKeep?: number;
  /** Count what is left out by its estimate; default false. */
  tail?: boolean;
  /** Bits of a table's entries; default 8. */
  tableBits?: 7 | 8;
  /** Dimensions of a head that are kept in 8 bits: an even number up to 16, default 0. */
  outliers?: number;
  /**
   * A file that `lutra calibrate` wrote for this very model file. Default: the one in the cache folder, which is made from
   * built-in text when there is none. Where the file cannot be used, attention is exact, and a warning says so.
   */
  codebooks?: string;
}

/**
 * Activation sparsity. What ranks channels, and where they are skipped: `teal` by magnitude, before gate and up and before
 * down; `wina` by magnitude × norm of the channel's weights, at the same places; `dip` by magnitude, at the same places; `cats` by the activated gate and `down-only` by magnitude, before down alone; `coreinfer` before down, by neurons
 * that the prompt chose once for the request; `random` before down, as a control. Prompts, a text's first four positions and
 * embeddings read all channels.
 */
export interface FfnSparsityOptions {
  type: "teal" | "wina" | "cats" | "dip" | "down-only" | "coreinfer" | "random";
  /** Share of the channels that is kept, in (0, 1]. */
  keep: number;
  /** teal, wina, dip: the same of the channels before down. Default: `keep`. */
  keepHidden?: number;
  /** teal, wina: also before q, k and v, and before the output projection. Default false. */
  attention?: boolean;
  /**
   * wina: norms over all matrices that share an input ("stacked", default); of k and gate alone, and none before down
   * and the output projection ("published", as the paper's own code has it); or of each matrix, which then keeps channels
   * of its own ("own", slower).
   */
  norms?: "stacked" | "own" | "published";
  /**
   * How channels are chosen: the best of each token ("topk", default), those above a fixed threshold, or both ("hybrid").
   * The last two need a `calibration`. coreinfer and random take none.
   */
  selection?: "topk" | "threshold" | "hybrid";
  /**
   * How `keep` is spread over layers and places: evenly, by a published prior, or as a calibration found. Default:
   * "calibrated" with a `calibration`, else "prior" for teal, wina and dip, "uniform" for the others. coreinfer and
   * random take none.
   */
  allocation?: "uniform" | "prior" | "calibrated";
  /** A file that `lutra calibrate --ffn-sparsity` wrote for this very model file. Default: none. */
  calibration?: string;
  /** coreinfer: share of a token's positive neurons that are its core, in (0, 1]. Default 0.4. */
  tokenShare?: number;
  /**
   * coreinfer: least overlap (Jaccard) of the core neurons of the prompt's stretches, in [0, 1]; a request below it stays
   * dense. Default 0.36; 0 switches it off.
   */
  guard?: number;
}

/** How layers skip channels: the fields that its type takes, with their defaults; false: they do not. */
export type FfnSparsityInfo =
  | false
  | (FfnSparsityOptions & Required<Pick<FfnSparsityOptions, "selection" | "allocation">>);

/** What activation sparsity did for a request. */
export interface SparsityStats {
  /** Share of the channels that was kept where channels are skipped, over its sparse tokens; 1 where there were none. */
  kept: number;
  /** Bytes of layer weights that such a token needs by itself; 0 where there were none. */
  bytesPerToken: number;
  /** Tokens that whole weights gave: the first one, which belongs to the prompt, those of a text's first positions, and guarded ones. */
  denseTokens: number;
  /** Of those, tokens that the guard kept dense. */
  guarded: number;
}

export interface CalibrateOptions {
  /** What codebooks are made from: at least 512 tokens, of which as many are used as the context holds. */
  text: string;
  dSub?: 1 | 2 | 4;
  outliers?: number;
  /** Where they are written. Default: where models that are loaded with lookup attention look first, in the cache folder. */
  file?: string;
  /** Default: the model's, up to 8192. */
  contextSize?: number;
  threads?: number;
  isa?: "auto" | Isa;
  onLoadProgress?: LoadOptions["onLoadProgress"];
  onPullProgress?: LoadOptions["onPullProgress"];
  offline?: boolean;
  signal?: AbortSignal;
}

export interface CalibrateResult {
  file: string;
  dSub: 1 | 2 | 4;
  outliers: number;
  /** Of the text that were used. */
  tokens: number;
  contextSize: number;
  ms: number;
}

export interface CalibrateSparsityOptions {
  /** As models will be loaded with it, as far as it says what ranks channels and where they are skipped. */
  ffnSparsity: Pick<FfnSparsityOptions, "attention" | "norms"> & {
    type: Exclude<FfnSparsityOptions["type"], "coreinfer" | "random">;
  };
  /** At least 128 tokens, best of the kind that the model will read. Default: a text that is built in. */
  text?: string;
  /** Of the text, from its beginning; time grows with it. Default: 1024. */
  maxTokens?: number;
  /** Where the calibration is written. Default: a name of model file and method, in the cache folder. */
  file?: string;
  threads?: number;
  isa?: "auto" | Isa;
  onLoadProgress?: LoadOptions["onLoadProgress"];
  onPullProgress?: LoadOptions["onPullProgress"];
  offline?: boolean;
  signal?: AbortSignal;
}

export interface CalibrateSparsityResult {
  file: string;
  /** Of the text that were used. */
  tokens: number;
  ms: number;
}

/** How a model attends; numbers as they are in use. */
export type AttentionInfo = { type: "exact" } | (Required<Omit<NomadOptions, "codebooks">> & { codebooks: string });

/** What lookup attention did for a request, over its tokens that were computed with it. */
export interface AttentionStats {
  /** Share of the coded keys that was read exactly; 1 where `mode` is "pure". */
  kept: number;
  /** Estimated share of the attention mass that was left out. */
  dropped: number;
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

/** What speculation did for a request; all zero where it is off. */
export interface SpeculationStats {
  /** Steps that generated tokens. */
  steps: number;
  /** Tokens that were tried beside the step's own, and those of them that were right. */
  drafted: number;
  accepted: number;
  /** Tokens a step gave, its own included: 1 without speculation. */
  meanAccepted: number;
  /** A token that several drafters proposed counts for each. */
  perDrafter: Record<string, { drafted: number; accepted: number }>;
  /** Steps by the rows they ran for the request: `widths[1]` ran without a draft. */
  widths: number[];
}

export interface GenerateResult {
  text: string;
  tokens: number[];
  finishReason: FinishReason;
  usage: Usage;
  timings: Timings;
  speculation: SpeculationStats;
  /** Absent where every token was computed exactly. */
  attention?: AttentionStats;
  /** Absent where no token was to be sparse. */
  sparsity?: SparsityStats;
  logprobs?: TokenLogprob[];
}

export interface SessionOptions {
  /** A history to start with, e.g. another session's `tokens`. */
  tokens?: ArrayLike<number>;
}

export interface TokenizeOptions {
  /** With the tokens the vocabulary asks for in front and behind; default true. */
  addSpecial?: boolean;
  /** Text that spells a control token becomes that token. */
  parseSpecial?: boolean;
}

export interface TokenizeBatchOptions extends TokenizeOptions {
  signal?: AbortSignal;
}

export interface PerplexityOptions {
  /** Tokens of one window; windows do not overlap, and the first token of each is not scored. Default: the model's context size. */
  contextSize?: number;
  /**
   * Compares every prediction with that of whole weights and exact attention over keys and values in f16, which takes two
   * engines of its own beside the model's, with room for one window.
   */
  against?: "exact";
  /** With `against`: tokens at the beginning of each window that are exact, as a prompt's are, and not compared. */
  exactTokens?: number;
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
  /** As in a generation's timings: empty where all was exact. */
  approximations: string[];
  /** Absent where no token was to be sparse. */
  sparsity?: SparsityStats;
  /** Where it was asked for. */
  against?: PerplexityComparison;
}

/** How far a model's predictions are from those of exact computation. */
export interface PerplexityComparison extends ExactDistance {
  /** Of exact computation. */
  ppl: number;
  /** By position in the window; those that have tokens. */
  buckets: PerplexityBucket[];
  /** One entry a scored token, as in `logprobs` of the result. */
  rows: {
    /** Of the token, in its window. */
    positions: Int32Array;
    /** Of the token, by exact computation. */
    logprobs: Float64Array;
    kl: Float64Array;
    /** The most probable token, and that of exact computation. */
    tops: Int32Array;
    exactTops: Int32Array;
  };
}

export interface ExactDistance {
  /** KL(exact ‖ approximate), nats: its mean and its 99th percentile. */
  klMean: number;
  klP99: number;
  /** Share of tokens in whose place the same one is most probable. */
  top1Agreement: number;
  /** Absent where every row attended exactly. */
  attention?: AttentionStats;
  /** Absent where no row was to be sparse. */
  sparsity?: SparsityStats;
}

/** Tokens at positions in [from, to); of the last bucket `to` is infinite. */
export interface PerplexityBucket extends ExactDistance {
  from: number;
  to: number;
  tokens: number;
  ppl: number;
  pplAgainst: number;
}

/** One text or many, each a string or token ids. A list that begins with a number is one text. */
export type EmbedInput = string | ArrayLike<number> | readonly (string | ArrayLike<number>)[];

export interface EmbedOptions {
  /** Default: what the model file names (`model.info.pooling`). */
  pooling?: Pooling;
  /** Vectors of length 1, whose dot product is the cosine of their angle. Default true. */
  normalize?: boolean;
  signal?: AbortSignal;
}

export interface EmbedResult {
  /** One vector of `model.info.dim` floats a text, in the order of the texts; for a single text a list of one. */
  vectors: Float32Array[];
  /** Tokens of all texts, with those the vocabulary puts in front and behind. */
  usage: { promptTokens: number };
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
  /** 1 where lookup attention was asked for and exact attention runs; `model.info.warnings` says why. */
  attentionFallbacks: number;
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
  /** How embed() pools unless told: what the file names, or "mean". */
  pooling: Pooling;
  /** Tokens one request may hold here. */
  contextSize: number;
  /** Requests that run at once on one replica. */
  maxSequences: number;
  /** Of one replica. */
  threads: number;
  replicas: number;
  isa: Isa;
  kvCacheType: KvCacheType;
  attention: AttentionInfo;
  ffnSparsity: FfnSparsityInfo;
  matmul: MatmulInfo;
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
