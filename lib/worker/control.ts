/**
 * The words that main and worker share, one Int32Array on a SharedArrayBuffer. Native code reads the stop word while
 * it loads, and a slot's abort word between layers. Each word has one writer, but `paused`, which the worker sets and
 * clears and main only reads.
 */
import { limits } from "../limits.js";

/** Words in front of the slots. */
export const header = {
  /** Written by main: the load, or the whole engine, has to stop. */
  stop: 0,
  queued: 1,
  running: 2,
  freePages: 3,
  steps: 4,
  cachedPages: 5,
  preemptions: 6,
  words: 8,
} as const;

/** Words of one request's slot. */
export const slotWord = {
  /** Main: the request has to stop. */
  abort: 0,
  /** Main: tokens its reader has taken. */
  consumed: 1,
  /** Worker: the sequence waits for its reader. */
  paused: 2,
  /** Main: nobody reads step by step, so never pause. */
  unbounded: 3,
  words: 4,
} as const;

/** Requests that may be alive on one model: running, queued, and some that are being refused. */
export const controlSlots = limits.maxMaxSequences + limits.maxQueuedRequests + 64;

export function createControl(): Int32Array {
  const words = header.words + controlSlots * slotWord.words;
  return new Int32Array(new SharedArrayBuffer(words * Int32Array.BYTES_PER_ELEMENT));
}

export function slotIndex(slot: number, word: number): number {
  return header.words + slot * slotWord.words + word;
}
