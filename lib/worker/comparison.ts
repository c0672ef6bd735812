/**
 * The task of a thread of its own: what a model's approximations change of its predictions. Each window of a text runs through
 * two engines on the same weights, one with the model's own settings and one that is exact (whole weights, attention exact, keys and
 * values in f16), a chunk at a time, and the rows of the chunk are compared. The engines have pages for one window, and end with the task.
 */
import { getBinding } from "../binding/index.js";
import type { Isa, KvCacheType, NativeAttention, NativeBinding, StepArrays, StepShape } from "../binding/native.js";
import { createError, toLutraError } from "../errors.js";
import { limits, pagePositions } from "../limits.js";
import type { MatmulInfo } from "../types.js";
import { createStepArrays } from "../scheduler/index.js";
import { header } from "./control.js";
import type { PlainError, PromptInput, SparsityPlan } from "./protocol.js";
import { planSparsity } from "./sparsity/plan.js";
import { tablesOf } from "./matmul-forms.js";
import { cutPrompt } from "./scoring.js";

export interface ComparisonTask {
  /** Handle of the weights, which the task shares. */
  model: number;
  isa: Isa;
  threads: number;
  kvCacheType: KvCacheType;
  matmul: MatmulInfo;
  /** Undefined: exact. */
  attention: NativeAttention | undefined;
  /** Undefined: whole weights. */
  ffnSparsity: SparsityPlan | undefined;
  prompt: PromptInput;
  /** Of a window. */
  contextSize: number;
  /** Rows at positions below are exact, and not compared. */
  exactTokens: number;
  /** Its stop word ends the task within a layer. */
  control: Int32Array;
}

/** One entry a token that was predicted twice, in the order of the text. */
export interface ComparedRows {
  /** Of the token, in its window; the row that predicts it stands one before, and attends so many positions. */
  positions: Int32Array;
  /** Log-probability of the token, in the approximate engine and in the exact one. */
  logprobs: Float64Array;
  exactLogprobs: Float64Array;
  /** KL(exact ‖ approximate), nats. */
  kl: Float64Array;
  /** The most probable token. */
  tops: Int32Array;
  exactTops: Int32Array;
  /** As the step gives them: what the approximate engine's attention and sparsity did. */
  attentionKept: Float32Array;
  attentionDropped: Float32Array;
  attentionCoded: Float32Array;
  sparseKept: Float32Array;
  sparseBytes: Float32Array;
  sparseState: Int32Array;
}

export interface Comparison {
  /** Of the text. */
  tokens: number;
  rows: ComparedRows;
  ms: number;
}

export type ComparisonReply = { ok: true; comparison: Comparison } | { ok: false; error: PlainError };

/** Bytes of full logits that a step of one engine may hold; bounds the rows that are compared at once. */
const logitBytes = 32 << 20;
const maxCompared = 128;

const rowOuts = [
  "attentionKept",
  "attentionDropped",
  "attentionCoded",
  "sparseKept",
  "sparseBytes",
  "sparseState",
] as const satisfies readonly (keyof ComparedRows & keyof StepArrays)[];

export default function runComparison(task: ComparisonTask): ComparisonReply {
  try {
    const binding = getBinding();
    const model = binding.modelShare(task.model);
    try {
      return { ok: true, comparison: compareText(binding, model, task) };
    } finally {
      binding.modelRelease(model);
    }
  } catch (thrown) {
    const { code, message } = toLutraError(thrown);
    return { ok: false, error: { code, message } };
  }
}

function compareText(binding: NativeBinding, model: number, task: ComparisonTask): Comparison {
  const started = performance.now();
  const { tokens, windows } = cutTask(binding, model, task);
  const counts = windows.map(({ length }) => Math.max(0, length - 1 - task.exactTokens));
  const count = counts.reduce((sum, each) => sum + each, 0);
  if (count === 0) {
    const longest = Math.max(...windows.map(({ length }) => length));
    const found = `exactTokens ${task.exactTokens} and at most ${longest} tokens a window`;
    throw createError("INVALID_OPTION", `text: expected tokens to compare, got ${found}`);
  }
  const pair = new EnginePair(binding, model, task, windows);
  try {
    const rows = createRows(count);
    let at = 0;
    for (const [i, window] of windows.entries()) {
      pair.compareWindow(window, rows, at);
      at += counts[i] as number;
    }
    return { tokens, rows, ms: performance.now() - started };
  } finally {
    pair.release();
  }
}

function cutTask(binding: NativeBinding, model: number, { prompt, contextSize }: ComparisonTask) {
  const tokenizer = binding.modelTokenizer(model);
  try {
    const { tokens, windows } = cutPrompt(prompt, contextSize, { binding, tokenizer, vocab: binding.vocab(tokenizer) });
    return { tokens: tokens.length, windows };
  } finally {
    binding.tokenizerRelease(tokenizer);
  }
}

function createRows(count: number): ComparedRows {
  return {
    positions: new Int32Array(count),
    logprobs: new Float64Array(count),
    exactLogprobs: new Float64Array(count),
    kl: new Float64Array(count),
    tops: new Int32Array(count),
    exactTops: new Int32Array(count),
    attentionKept: new Float32Array(count),
    attentionDropped: new Float32Array(count),
    attentionCoded: new Float32Array(count),
    sparseKept: new Float32Array(count),
    sparseBytes: new Float32Array(count),
    sparseState: new Int32Array(count),
  };
}

class EnginePair {
  private readonly binding_: NativeBinding;
  private readonly approximate_: number;
  private readonly exact_: number;
  private readonly arrays_: StepArrays;
  private readonly shape_: StepShape;
  private readonly exactTokens_: number;
  private readonly maxCompared_: number;
  private readonly distances_: Float64Array;

  constructor(binding: NativeBinding, model: number, task: ComparisonTask, windows: readonly Int32Array[]) {
    const { isa, threads, kvCacheType, matmul, attention, ffnSparsity, control, exactTokens } = task;
    const { vocabSize, dim, nLayers } = binding.modelInfo(model);
    this.binding_ = binding;
    this.exactTokens_ = exactTokens;
    this.maxCompared_ = Math.max(1, Math.min(maxCompared, Math.floor(logitBytes / (4 * vocabSize))));
    this.distances_ = new Float64Array(4 * this.maxCompared_);
    const pages = Math.ceil(Math.max(...windows.map(({ length }) => length)) / pagePositions);
    const sizes = { maxRows: limits.prefillChunk, maxWanted: this.maxCompared_ };
    const options = { threads, isa, pages, ...sizes };
    const tables = Int32Array.from({ length: pages }, (_, page) => page);
    const one = { maxSequences: 1, maxBranches: 0, pageStride: pages, maxCandidates: 1, dim };
    this.arrays_ = createStepArrays({ ...sizes, ...one }, tables, control);
    this.arrays_.sequenceAborts[0] = header.stop;
    this.arrays_.exactUntil[0] = exactTokens;
    // Core neurons come from the exact rows: without any there is nothing to choose them from.
    if (ffnSparsity?.type === "coreinfer" && exactTokens > 0) this.arrays_.coreSlots[0] = 0;
    this.shape_ = { rows: 0, sequences: 1, pageStride: pages, k: 1, mirrors: 0 };
    this.approximate_ = binding.engineCreate(model, {
      ...options,
      kvType: kvCacheType,
      tables: tablesOf(matmul),
      ...(attention && { attention }),
      ...(ffnSparsity && { sparsity: planSparsity(ffnSparsity, nLayers) }),
    });
    try {
      this.exact_ = binding.engineCreate(model, options);
    } catch (thrown) {
      binding.engineRelease(this.approximate_);
      throw thrown;
    }
  }

  release(): void {
    this.binding_.engineRelease(this.approximate_);
    this.binding_.engineRelease(this.exact_);
  }

  /** Fills `rows` from entry `at` on. The last token predicts nothing that is known, so it does not run. @throws ABORTED */
  compareWindow(window: Int32Array, rows: ComparedRows, at: number): void {
    const last = window.length - 1;
    for (let position = 0; position < Math.min(this.exactTokens_, last); position += this.shape_.rows) {
      this.setRows(window, position, Math.min(limits.prefillChunk, this.exactTokens_ - position, last - position), 0);
      this.step(this.approximate_);
      this.step(this.exact_);
    }
    for (let position = this.exactTokens_; position < last; position += this.shape_.rows) {
      this.setRows(window, position, Math.min(this.maxCompared_, last - position), 1);
      this.compareChunk(rows, at + position - this.exactTokens_);
    }
  }

  private setRows(window: Int32Array, position: number, count: number, want: 0 | 1): void {
    const { tokens, positions, wants, targets } = this.arrays_;
    for (let row = 0; row < count; row++) {
      tokens[row] = window[position + row] as number;
      positions[row] = position + row;
      wants[row] = want;
      targets[row] = want === 1 ? (window[position + row + 1] as number) : -1;
    }
    this.shape_.rows = count;
  }

  private step(engine: number): void {
    this.binding_.engineStep(engine, this.shape_, this.arrays_);
  }

  private compareChunk(out: ComparedRows, at: number): void {
    const { rows } = this.shape_;
    const { arrays_: arrays, distances_: distances } = this;
    const { targets } = arrays;
    this.step(this.approximate_);
    out.tops.set(arrays.candidateIds.subarray(0, rows), at);
    for (const name of rowOuts) out[name].set(arrays[name].subarray(0, rows), at);
    this.step(this.exact_);
    out.exactTops.set(arrays.candidateIds.subarray(0, rows), at);
    this.binding_.engineCompareLogits(this.approximate_, this.exact_, rows, targets, distances);
    for (let row = 0; row < rows; row++) {
      out.positions[at + row] = (arrays.positions[row] as number) + 1;
      out.kl[at + row] = distances[4 * row] as number;
      out.logprobs[at + row] = distances[4 * row + 1] as number;
      out.exactLogprobs[at + row] = distances[4 * row + 2] as number;
      if (Number.isFinite(out.kl[at + row])) continue;
      const where = `position ${arrays.positions[row]} of its window`;
      throw createError("E_NONFINITE", `the text cannot be compared: logits are not finite at ${where}`);
    }
  }
}
