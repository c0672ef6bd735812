/**
 * What a model found likely after a token, and after two tokens: rows of ids, best first, with their probabilities in few
 * levels. A later row of the same tokens takes the place of the older one.
 */
import type { Likeliest } from "./drafter.js";

/** Ids a row keeps after one token, and after two. */
const singleWidth = 8;
const pairWidth = 4;
/** Rows for pairs, a power of two. A pair that meets a taken one takes its place. */
const pairSlots = 2 ** 16;

/** Upper ends of the probabilities of levels 1, 2, …, as logarithms; the last level has none. */
const levelEnds = Float64Array.from([0.02, 0.05, 0.1, 0.18, 0.3, 0.45, 0.6, 0.75, 0.87, 0.95], Math.log);
/** Level of a token that was the best, with a probability nobody asked for. */
const bestLevel = 7;
/** Levels of the probability after one token; those after two follow, as they say more. */
export const pairLevels = levelEnds.length + 1;

export class RecycledRows {
  readonly ids: Int32Array;
  /** 0: there is none. */
  readonly levels: Uint8Array;

  constructor(
    readonly width: number,
    count: number,
  ) {
    this.ids = new Int32Array(width * count);
    this.levels = new Uint8Array(width * count);
  }

  write(row: number, { ids, logits, offset, count, logSumExp }: Likeliest): void {
    if (count === 1) return this.promote(row, ids[offset] as number);
    for (let i = 0; i < this.width; i++) {
      const at = row * this.width + i;
      this.ids[at] = i < count ? (ids[offset + i] as number) : 0;
      this.levels[at] = i < count ? levelOfProbability((logits[offset + i] as number) - logSumExp) : 0;
    }
  }

  /** All that is known of the row is its best token: it goes to the front, the others move back. */
  private promote(row: number, id: number): void {
    const begin = row * this.width;
    let at = begin;
    while (at < begin + this.width - 1 && this.ids[at] !== id && this.levels[at] !== 0) at++;
    const level = this.ids[at] === id ? (this.levels[at] as number) : 0;
    for (; at > begin; at--) {
      this.ids[at] = this.ids[at - 1] as number;
      this.levels[at] = this.levels[at - 1] as number;
    }
    this.ids[begin] = id;
    this.levels[begin] = Math.max(level, bestLevel);
  }
}

export class RecyclingTable {
  readonly singles: RecycledRows;
  readonly pairs: RecycledRows;
  private readonly firsts_: Int32Array;
  private readonly seconds_: Int32Array;

  constructor(vocabSize: number) {
    const slots = vocabSize === 0 ? 0 : pairSlots;
    this.singles = new RecycledRows(singleWidth, vocabSize);
    this.pairs = new RecycledRows(pairWidth, slots);
    this.firsts_ = new Int32Array(slots).fill(-1);
    this.seconds_ = new Int32Array(slots).fill(-1);
  }

  /** What was likely after `token`, which stood after `before`, or after nothing (-1). */
  write(before: number, token: number, likeliest: Likeliest): void {
    this.singles.write(token, likeliest);
    if (before < 0) return;
    const slot = slotOf(before, token);
    this.firsts_[slot] = before;
    this.seconds_[slot] = token;
    this.pairs.write(slot, likeliest);
  }

  /** Row of the pair; -1 when it is not known. */
  findPair(before: number, token: number): number {
    const slot = slotOf(before, token);
    return this.firsts_[slot] === before && this.seconds_[slot] === token ? slot : -1;
  }
}

function levelOfProbability(logProbability: number): number {
  let level = 0;
  while (level < levelEnds.length && logProbability >= (levelEnds[level] as number)) level++;
  return level + 1;
}

function slotOf(before: number, token: number): number {
  const hash = Math.imul(before, 0x9e3779b1) ^ Math.imul(token, 0x85ebca6b);
  return (hash ^ (hash >>> 15)) & (pairSlots - 1);
}
