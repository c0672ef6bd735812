/**
 * The one typed view of the native addon. Handles are small integers, valid in every thread of the process; a handle
 * that is unknown or was released gives an error with code DISPOSED. Every function throws plain errors with a `code`
 * from errors.ts; wrong argument types throw a TypeError. Nothing here is public.
 */

/** Raised whenever a signature below changes; the addon carries the same number. */
export const abiVersion = 7;

export type Isa = "scalar" | "avx2" | "avx512" | "neon";

export type KvCacheType = "f16" | "q8_0";

/** Tables that products look up in: exact ones give the bits of multiply-adds, those of 8 bits are an approximation. */
export type LutTables = "exact" | "int8";

/** How the hidden states of a text become one vector: their mean, the first token's, or the last one's. */
export type Pooling = "mean" | "cls" | "last";

/**
 * Lookup attention (NoMAD): keys stand as 4-bit codes beside their exact form. `refine` scores all keys by their codes and
 * reads the likely ones exactly; `pure` stays with the codes.
 */
export interface NativeAttention {
  mode: "pure" | "refine";
  epsilon: number; // estimated share of a head's attention mass that a row may leave out
  maxKeep: number; // share of its keys that a row reads exactly, at most
  tableBits: 7 | 8;
  tail: boolean; // whether what is left out counts by its estimate
  codebooks: Uint8Array; // as engineTrainCodebooks gave them, for this model
}

/**
 * Activation sparsity of a layer's products: a row reads the columns of the channels that it keeps. Sites, in this order: the
 * input of q, k and v; of the output projection; of gate and up; of down.
 */
export interface NativeSparsity {
  keeps: Float32Array; // [nLayers * 4] share of the channels that is kept; 1: not masked
  thresholds?: Float32Array; // [nLayers * 4] scores below are skipped; needed by threshold and hybrid
  selection: "topk" | "threshold" | "hybrid";
  norms: "none" | "stacked" | "published" | "own"; // column norms that a channel's magnitude is multiplied by
  hidden: "magnitude" | "gate" | "random" | "core"; // what ranks the channels of the last site
  core?: { tokenShare: number; guard: number }; // with hidden "core"
}

/** Totals of the steps that had sparse rows. */
export interface NativeSparsityTotals {
  steps: number;
  rows: number;
  selectNs: number; // time of choosing channels
  columnBytes: number; // read through columns, each once a step
  denseBytes: number; // what the same products read dense
}

/** What a text says of one layer. */
export interface NativeSparsityLayer {
  sites: {
    quantiles: Float32Array; // [65] ascending: scores that 0, 1/64, … 1 of all stay below; empty: not masked
    frequencies: Uint8Array; // [channels] tokens that have it among their best half, in 255ths; empty: not masked
  }[];
  allocation: Float32Array; // rows of 5, ascending: share of the masked weights that is left out, shares kept at the sites
}

export interface NativeTraining {
  dSub: 1 | 2 | 4; // dimensions of a sub-vector
  outliers: number; // dimensions of a head that are kept in 8 bits, even
  spread: boolean; // whether keys are trained as if the text filled the context
  contextSize: number;
}

export interface NativeCpu {
  isa: Isa; // best path of this CPU in this build
  available: Isa[];
  threads: number; // default thread count
  threadsReason: string;
  availableMemoryBytes: number; // 0 when unknown
}

export type MetadataValue = string | number | boolean | { type: string; length: number };

export interface NativeTensor {
  name: string;
  type: string;
  typeId: number; // as GGUF numbers it
  shape: number[]; // shape[0] is the row length, as in GGUF
  sizeBytes: number;
  offsetBytes: number;
  supported: boolean;
}

export interface NativeFile {
  version: number;
  alignment: number;
  paths: string[];
  sizeBytes: number;
  metadata: Record<string, MetadataValue>; // arrays as {type, length}
  tensors: NativeTensor[];
}

export interface NativeVocab {
  model: "bpe" | "spm";
  pre: string;
  size: number;
  bos: number;
  eos: number;
  eot: number;
  unk: number;
  pad: number; // -1 when absent
  addBos: boolean;
  addEos: boolean;
  endOfGeneration: number[];
  chatTemplate: string | null;
}

export interface NativeModelInfo {
  architecture: string;
  name: string;
  nLayers: number;
  nHeads: number;
  nKvHeads: number;
  headDim: number;
  dim: number;
  qDim: number;
  kvDim: number;
  hiddenDim: number;
  vocabSize: number;
  contextLength: number; // what the model was trained for
  pooling: Pooling | ""; // how the file wants embeddings pooled; "": it does not say
  fileBytes: number;
  weightBytes: number; // packed, in memory
  screenedBytes: number; // of those, what a step that wants the best candidates of up to 6 rows may leave unread
  kvBytesPerToken: Record<KvCacheType, number>;
  warnings: string[]; // e.g. extra tensors ignored
}

/** What one step takes and gives. All arrays are caller-owned and reused; sizes are checked natively. */
export interface StepArrays {
  // rows in
  tokens: Int32Array; // [rows]
  positions: Int32Array; // [rows] absolute position in its sequence, ascending within a sequence
  sequences: Int32Array; // [rows] index of the sequence's page table; rows of one sequence are contiguous
  // [rows] 0: nothing; 1: candidates and log-sum-exp; 2: candidates, the largest logit may stand for the other; 3: the
  // hidden state after the output norm, and no candidates: such rows do not count as wanted
  wants: Uint8Array;
  targets: Int32Array; // [rows] token whose logit is wanted too, or -1
  // page tables: entry [sequence * pageStride + position/32] is a page id
  pageTables: Int32Array;
  // a row's key and value also go to further pages, at the slot of its own position, before any row attends: branches of
  // a draft tree find their ancestors' rows in pages of their own. A page takes a slot from one row only
  mirrorRows: Int32Array; // [mirrors] ascending; a row may stand there more than once
  mirrorPages: Int32Array; // [mirrors]
  // per wanted row w (in row order): biases in [biasOffsets[w], biasOffsets[w+1]); logit' = (logit > 0 ? logit / divide : logit * divide) + add
  biasOffsets: Int32Array; // [wanted + 1]
  biasIds: Int32Array;
  biasDivides: Float32Array;
  biasAdds: Float32Array;
  // out, per wanted row
  candidateIds: Int32Array; // [wanted * k], by descending logit, ties by lowest id
  candidateLogits: Float32Array; // [wanted * k], after biases
  logSumExp: Float32Array; // [wanted], after biases
  targetLogits: Float32Array; // [wanted], before biases
  // out, per row that wants 3, in row order
  hidden: Float32Array; // [rows that want 3][dim]
  // abort flags, on a SharedArrayBuffer: the step stops between layers when aborts[sequenceAborts[s]] != 0
  aborts: Int32Array;
  sequenceAborts: Int32Array; // [sequences] index into `aborts`, or -1
  exactUntil: Int32Array; // [sequences] rows at positions below are exact: read with `attention` and with `sparsity`
  // written by an engine with `attention` only
  // out, per row
  attentionKept: Float32Array; // [rows] share of the coded keys that was read exactly; 0 for an exact row, 1 in pure mode
  attentionDropped: Float32Array; // [rows] estimated share of the attention mass that was left out
  attentionCoded: Float32Array; // [rows] positions that stood as codes; 0 for an exact row
  // read and written by an engine with `sparsity` only
  coreSlots: Int32Array; // [sequences] whose core neurons: a slot in [0, 64) that belongs to the request, or -1
  // out, per row
  sparseKept: Float32Array; // [rows] share of the channels kept, mean over masked sites weighted by the weights behind them; 0: dense
  sparseBytes: Float32Array; // [rows] bytes of layer weights that this row alone needs; 0: dense
  sparseState: Int32Array; // [rows] 0: not asked for (prompt, first positions); 1: sparse; 2: dense because the guard refused
}

export interface StepShape {
  rows: number;
  sequences: number;
  pageStride: number; // entries per page table
  k: number; // candidates per wanted row, 1..256
  mirrors: number; // entries of mirrorRows and mirrorPages
}

export interface NativeBinding {
  readonly abiVersion: number;
  cpu(): NativeCpu;
  /** Header, metadata and tensor directory, fully validated. */
  inspectFile(path: string): NativeFile;
  /** Bytes per second of a read-only stream over `megabytes`, with `threads`. */
  measureReadCeiling(megabytes: number, threads: number): number;
  /**
   * Seconds of a product with a rows × cols matrix by multiply-adds and by exact tables, for each of `columns` (1..4):
   * [dot, lut] of each in turn. Blocks, up to some 200 ms a column. Empty for types without tables, and without the memory for it.
   */
  probeProducts(
    type: string,
    rows: number,
    cols: number,
    columns: Int32Array,
    engine: { isa: Isa; threads: number },
  ): Float64Array;

  /** Vocabulary only: works on a GGUF without weights. */
  tokenizerAcquire(path: string): number;
  tokenizerRelease(handle: number): void;
  vocab(handle: number): NativeVocab;
  encode(handle: number, text: string, addSpecial: boolean, parseSpecial: boolean): Int32Array;
  /** UTF-8 bytes of the ids. */
  decode(handle: number, ids: Int32Array, showSpecial: boolean): Uint8Array;
  tokenBytes(handle: number, id: number, showSpecial: boolean): Uint8Array;

  /**
   * Loads, or shares the copy that is already in memory. Blocks. `control[0] != 0` aborts (code ABORTED);
   * `onProgress(done, total)` is called on this thread between tensors, in bytes. `tiles` names kinds of weights, as
   * "TYPE ROWSxCOLS" or "all", that become tiles where their type has them: products with them are looked up. `columns`
   * names tensors within a layer ("ffn_down", "attn_q") that also get column layout, where their type has it. Every choice
   * is another copy.
   */
  modelAcquire(
    path: string,
    threads: number,
    control: Int32Array,
    onProgress?: (done: number, total: number) => void,
    tiles?: string[],
    columns?: string[],
  ): number;
  /** Another handle of the same weights, which belongs to the calling thread; no file is opened. */
  modelShare(handle: number): number;
  modelRelease(handle: number): void;
  modelInfo(handle: number): NativeModelInfo;
  /** A tokenizer handle of the model's own vocabulary; released like any other. */
  modelTokenizer(handle: number): number;
  /** Path chosen per tensor, for `inspect`. */
  modelTensors(handle: number): {
    name: string;
    type: string;
    rows: number;
    cols: number;
    kernel: string;
    packedBytes: number;
    columnBytes: number; // 0: no columns
  }[];

  /**
   * Scratch, K/V arena of `pages` pages and a thread team. Retains the model. Without `attention` it attends exactly.
   * INVALID_OPTION when its codebooks are not those of this model. Without `sparsity` every row reads whole weights.
   */
  engineCreate(
    model: number,
    options: {
      threads: number;
      maxRows: number;
      maxWanted: number;
      pages: number;
      isa: Isa;
      kvType?: KvCacheType;
      attention?: NativeAttention;
      sparsity?: NativeSparsity;
      tables?: LutTables; // of weights in tiles; default: exact
    },
  ): number;
  engineRelease(handle: number): void;
  engineInfo(handle: number): { threads: number; kvBytes: number; scratchBytes: number; pageBytes: number };
  /** One blocking step. Returns the number of wanted rows. ABORTED when a flag was seen; rows may be run again. */
  engineStep(handle: number, shape: StepShape, arrays: StepArrays): number;
  /** Time by operator since the last reset; "step" comes first and is the sum of all: calls are steps. Not during a step. */
  engineProfile(handle: number, reset: boolean): { op: string; calls: number; ns: number }[];
  /** What sparse rows cost and saved since the last reset. Not during a step. */
  engineSparsity(handle: number, reset: boolean): NativeSparsityTotals;
  /**
   * What a text says of the sites that an engine masks (its `selection` is "topk"): windows of `window` tokens, each from position
   * 0 in pages of its own. `step`: share of a layer's masked weights that a step of the allocation leaves out, in [0.005, 0.5].
   * ABORTED when aborts[abort] was seen. INVALID_OPTION, INVALID_TOKEN, E_NONFINITE.
   */
  engineCalibrateSparsity(
    handle: number,
    pages: Int32Array,
    tokens: Int32Array,
    options: { window: number; step: number; aborts: Int32Array; abort: number },
  ): NativeSparsityLayer[];
  /** Full logits (before biases) of wanted row `w` of the last step, into out [vocabSize]. */
  engineLogits(handle: number, w: number, out: Float32Array): void;
  /**
   * The first `rows` wanted rows of the last steps of two engines of one vocabulary, whose full logits have to be readable.
   * out[4 r …]: KL(exact ‖ approximate) in nats, log-probability of ids[r] in the approximate row, in the exact row, 1 where
   * both have the same largest logit, else 0; all NaN where a logit is not finite. INVALID_OPTION for the same engine twice.
   */
  engineCompareLogits(approximate: number, exact: number, rows: number, ids: Int32Array, out: Float64Array): void;

  /**
   * A model file with its tensors in other types: types[i] is the GGUF id that tensor i gets, in the file's order. Small in
   * memory, whatever the sizes.
   */
  conversionOpen(path: string, types: Int32Array, fileType: number, threads: number): number;
  /** Everything in front of the first tensor. */
  conversionHeader(handle: number): Uint8Array;
  /** Where each tensor begins in the new file, and where the file ends. */
  conversionOffsets(handle: number): number[];
  /**
   * The new bytes of elements [first, first + count), multiples of 256 but for the tensor's end, into `out`; returns how many
   * bytes. Blocks. sums[0] grows by the squared differences to the old values, sums[1] by the squares of these.
   */
  conversionConvert(
    handle: number,
    tensor: number,
    first: number,
    count: number,
    out: Uint8Array,
    sums: Float64Array,
  ): number;
  /** MODEL_CHANGED when the source was written to since it was opened. */
  conversionCheck(handle: number): void;
  conversionRelease(handle: number): void;

  // K/V pages, between two steps. A page out of the arena is pageBytes long (engineInfo) and the same bytes wherever it
  // lay: [layer][head][keys, values], in the machine's byte order. Wrong ids and lengths: INVALID_OPTION, nothing done.
  /** `pairs` is [from, to, from, to, …]: all layers' and heads' keys and values of a page, in this order. */
  engineCopyPages(handle: number, pairs: Int32Array): void;
  /**
   * The bytes of one sequence's `pages` into `out` [pages * pageBytes]. Slots from `positions` on are zeros: what an earlier
   * request left in the last page stays in the arena.
   */
  engineReadPages(handle: number, pages: Int32Array, positions: number, out: Uint8Array): void;
  /** `bytes` [pages * pageBytes] as engineReadPages gave them, into any pages of an engine of the same model and K/V type. */
  engineWritePages(handle: number, pages: Int32Array, bytes: Uint8Array): void;

  /**
   * Codebooks for lookup attention, from the keys of positions [0, positions) that these pages of an exact engine hold. The
   * bytes mean nothing but to engineCreate, which checks them again.
   */
  engineTrainCodebooks(handle: number, pages: Int32Array, positions: number, training: NativeTraining): Uint8Array;

  /** Live objects of the process, for leak tests: models, tokenizers, engines, and native bytes held. */
  counters(): { models: number; tokenizers: number; engines: number; bytes: number };
}
