/**
 * One text being embedded, in the worker: the hidden states of its tokens are added up as they come. Sums are of doubles
 * and in order of position, so the steps that brought the rows leave no trace in the vector.
 */
import type { Pooling } from "../binding/native.js";
import { createError } from "../errors.js";
import type { Sequence, Step } from "../scheduler/index.js";
import type { FromWorker } from "./protocol.js";

export interface EmbeddingOptions {
  pooling: Pooling;
  normalize: boolean;
  /** Floats of a hidden state. */
  dim: number;
}

export class Embedding {
  readonly id: number;
  /** The tokens that have to run. */
  readonly prompt: Int32Array;
  /** Whose hidden states have to be given to add(). */
  readonly hidden: "all" | "last";
  private readonly tokens_: number;
  private readonly normalize_: boolean;
  private readonly sum_: Float64Array;
  private added_ = 0;
  private next_ = 0;

  constructor(id: number, tokens: Int32Array, { pooling, normalize, dim }: EmbeddingOptions) {
    this.id = id;
    // Attention is causal in every architecture there is, so the first token's state depends on that token alone.
    this.prompt = pooling === "cls" ? tokens.slice(0, 1) : tokens;
    this.hidden = pooling === "mean" ? "all" : "last";
    this.tokens_ = tokens.length;
    this.normalize_ = normalize;
    this.sum_ = new Float64Array(dim);
  }

  /**
   * Takes the hidden states [rows][dim] of the positions from `start` on; those it had already (a preempted sequence
   * runs again) are passed over. True when the text's last position is in.
   */
  add(hidden: Float32Array, start: number): boolean {
    const sum = this.sum_;
    const dim = sum.length;
    const rows = hidden.length / dim;
    for (let row = Math.max(0, this.next_ - start); row < rows; row++) {
      for (let i = 0, at = row * dim; i < dim; i++, at++) sum[i] = (sum[i] as number) + (hidden[at] as number);
      this.added_++;
    }
    this.next_ = Math.max(this.next_, start + rows);
    return this.next_ === this.prompt.length;
  }

  /** @throws E_NONFINITE */
  result(): FromWorker {
    let squares = 0;
    for (const x of this.sum_) squares += x * x;
    const norm = Math.sqrt(squares);
    if (!Number.isFinite(norm)) throw createError("E_NONFINITE", "the text's hidden states are not finite");
    // All zeros have no direction and stay.
    const divisor = this.normalize_ ? norm || 1 : this.added_;
    const vector = Float32Array.from(this.sum_, (x) => x / divisor);
    return { type: "embedded", id: this.id, vector, tokens: this.tokens_ };
  }
}

/** What a step gave to sequences that are being embedded: hidden states of neighbouring positions from `position` on. */
export function* hiddenStates(
  { spans }: Step,
  hidden: Float32Array,
  dim: number,
): Generator<{ sequence: Sequence; states: Float32Array; position: number }> {
  let begin = 0;
  for (const { sequence, start, rows, hidden: count } of spans) {
    const end = begin + count * dim;
    if (count > 0) yield { sequence, states: hidden.subarray(begin, end), position: start + rows - count };
    begin = end;
  }
}
