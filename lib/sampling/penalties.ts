/**
 * Repeat, presence and frequency penalties and logit biases, as the sparse entries a step applies natively:
 *   logit' = (logit > 0 ? logit / divide : logit * divide) + add
 * with divide the repeat penalty (Keskar et al. 2019, CTRL) and add = bias − presence − count · frequency, one entry per
 * token id. `PenaltyState` follows one sequence: a token costs O(1), never a walk over the history.
 */
import type { SamplingParams } from "./params.js";

/** Caller-owned arrays; replaced by larger ones when an entry does not fit. */
export interface BiasArrays {
  ids: Int32Array;
  divides: Float32Array;
  adds: Float32Array;
}

export function createBiasArrays(capacity = 256): BiasArrays {
  return { ids: new Int32Array(capacity), divides: new Float32Array(capacity), adds: new Float32Array(capacity) };
}

function reserve(out: BiasArrays, needed: number): void {
  if (needed <= out.ids.length) return;
  const grown = createBiasArrays(Math.max(needed, out.ids.length * 2));
  grown.ids.set(out.ids);
  grown.divides.set(out.divides);
  grown.adds.set(out.adds);
  Object.assign(out, grown);
}

interface Entry {
  id: number;
  count: number;
  bias: number;
  /** Has a caller's bias, so it stays when its count falls to 0. */
  biased: boolean;
}

export class PenaltyState {
  private readonly params: SamplingParams;
  private readonly penalises: boolean;
  private readonly entries: Entry[] = [];
  private readonly slots = new Map<number, number>();
  /** Ring of the last repeatLastN tokens; unused when the window is everything. */
  private ring: Int32Array;
  /** The oldest token, once the ring is full. */
  private head = 0;
  private held = 0;

  constructor(params: SamplingParams) {
    this.params = params;
    this.penalises =
      params.repeatLastN !== 0 &&
      (params.repeatPenalty !== 1 || params.presencePenalty !== 0 || params.frequencyPenalty !== 0);
    this.ring = new Int32Array(this.penalises && params.repeatLastN > 0 ? Math.min(params.repeatLastN, 64) : 0);
    for (let i = 0; i < params.biasIds.length; i++) {
      const entry = this.entryOf(params.biasIds[i] as number);
      entry.bias = params.biasValues[i] as number;
      entry.biased = true;
    }
  }

  /** The state after one more token, beside this one. */
  after(token: number): PenaltyState {
    if (!this.penalises) return this;
    const copy = new PenaltyState(this.params);
    copy.entries.length = 0;
    copy.slots.clear();
    for (const entry of this.entries) {
      copy.slots.set(entry.id, copy.entries.length);
      copy.entries.push({ ...entry });
    }
    copy.ring = this.ring.slice();
    copy.head = this.head;
    copy.held = this.held;
    copy.push(token);
    return copy;
  }

  /** Entries that `write` would write. */
  get size(): number {
    return this.entries.length;
  }

  private entryOf(id: number): Entry {
    const slot = this.slots.get(id);
    if (slot !== undefined) return this.entries[slot] as Entry;
    const entry = { id, count: 0, bias: 0, biased: false };
    this.slots.set(id, this.entries.length);
    this.entries.push(entry);
    return entry;
  }

  private forget(id: number): void {
    const slot = this.slots.get(id) as number;
    const entry = this.entries[slot] as Entry;
    entry.count--;
    if (entry.count > 0 || entry.biased) return;
    this.slots.delete(id);
    const last = this.entries.pop() as Entry;
    if (last === entry) return;
    this.entries[slot] = last;
    this.slots.set(last.id, slot);
  }

  /** A token joined the sequence (prompt tokens count too). */
  push(token: number): void {
    if (!this.penalises) return;
    const window = this.params.repeatLastN;
    if (window > 0) this.remember(token, window);
    this.entryOf(token).count++;
  }

  private remember(token: number, window: number): void {
    if (this.held === window) {
      this.forget(this.ring[this.head] as number);
      this.ring[this.head] = token;
      this.head = (this.head + 1) % window;
      return;
    }
    if (this.held === this.ring.length) {
      const grown = new Int32Array(Math.min(window, this.ring.length * 2));
      grown.set(this.ring);
      this.ring = grown;
    }
    this.ring[this.held++] = token;
  }

  /** Writes the entries from `offset` on and returns the offset after them. */
  write(out: BiasArrays, offset: number): number {
    const { repeatPenalty, presencePenalty, frequencyPenalty } = this.params;
    const end = offset + this.entries.length;
    reserve(out, end);
    for (let i = 0; i < this.entries.length; i++) {
      const { id, count, bias } = this.entries[i] as Entry;
      out.ids[offset + i] = id;
      out.divides[offset + i] = count > 0 ? repeatPenalty : 1;
      out.adds[offset + i] = count > 0 ? bias - presencePenalty - count * frequencyPenalty : bias;
    }
    return end;
  }
}

/** The entries of a whole history at once; `PenaltyState` gives the same set token by token. */
export function buildBiases(params: SamplingParams, history: ArrayLike<number>, out: BiasArrays, offset = 0): number {
  const state = new PenaltyState(params);
  const start = params.repeatLastN > 0 ? Math.max(0, history.length - params.repeatLastN) : 0;
  for (let i = start; i < history.length; i++) state.push(history[i] as number);
  return state.write(out, offset);
}

/** What native code does with the entries [from, to), in the same float32 arithmetic, on a full row. */
export function applyBiases(row: Float32Array, biases: BiasArrays, from: number, to: number): void {
  for (let i = from; i < to; i++) {
    const id = biases.ids[i] as number;
    const logit = row[id];
    if (logit === undefined) continue;
    const divide = biases.divides[i] as number;
    row[id] = Math.fround(logit > 0 ? logit / divide : logit * divide) + (biases.adds[i] as number);
  }
}
