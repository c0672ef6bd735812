/** One request as the scheduler sees it: its known tokens, and how many of them are in the K/V cache. */
import type { DraftRows } from "../speculation/index.js";
import type { PrefixNode } from "./prefix-tree.js";

/**
 * What of a sequence's rows is wanted. `next`: the last row, so that a token can be picked. `targets`: every row but the
 * last, with the token that follows as its target. `states`, `last-state`: the hidden state of every row, or of the last
 * one, in place of logits. `none`: nothing, the positions are to be in the cache. All but `next` generate nothing.
 */
export type WantedRows = "next" | "targets" | "states" | "last-state" | "none";

export interface SequenceRequest {
  /** Unique among the requests alive. */
  id: number;
  prompt: ArrayLike<number>;
  /** Tokens of prompt and answer together, at most. */
  maxPositions: number;
  /** Index of the request's abort flag in the step's `aborts`. */
  abortIndex: number;
  /** Default: "next". */
  wanted?: WantedRows;
  /** Higher ones run first; a lower one that runs makes room. Default: 0. */
  priority?: number;
  /** Whose pages it may use and adds to; 0 (default) is everybody's. */
  namespace?: number;
  /** Whether it uses and leaves cached prefixes at all. Default: true. */
  cached?: boolean;
  /** Positions below are exact on an engine that approximates. Default: the prompt's, but none of a text that is scored. */
  exactUntil?: number;
}

export class Sequence {
  readonly id: number;
  readonly abortIndex: number;
  readonly wanted: WantedRows;
  readonly priority: number;
  readonly namespace: number;
  /** Where something of every row is wanted, all have to run, and cached pages are of no use. */
  readonly usesCache: boolean;
  readonly promptLength: number;
  readonly maxPositions: number;
  readonly exactUntil: number;
  /** Keys and values of positions from here on are its own alone: they may be approximate, and no other's are the same. */
  readonly sharedUntil: number;
  /** Known tokens: tokens[0 … length). */
  readonly tokens: Int32Array;
  length: number;
  /** Positions [0, computed) are in the cache. */
  computed = 0;
  /** Prompt tokens that were found in the cache. */
  cachedTokens = 0;
  paused = false;
  /** The engine chooses core neurons from its prompt, and keeps them at the index of its slot. */
  hasCore = false;
  /** It had to make room once, and finds its own pages again. */
  preempted = false;
  /** Index of its page table, -1 while it waits. */
  slot = -1;
  /** Pages in its table. */
  pages = 0;
  /** Of those, the first `cachedPages` are the tree's path down to `node`. */
  cachedPages = 0;
  node: PrefixNode | null = null;
  /** What the step that is composed or has just run verifies beside its last token. */
  draft: DraftRows | null = null;
  /** Order of arrival. */
  order = 0;
  /** Number of the step that last ran a chunk of its prompt. */
  lastChunk = 0;

  /** `approximates`: whether the engine computes approximately where it may. */
  constructor(request: SequenceRequest, approximates = false) {
    this.id = request.id;
    this.abortIndex = request.abortIndex;
    this.wanted = request.wanted ?? "next";
    this.priority = request.priority ?? 0;
    this.namespace = request.namespace ?? 0;
    this.usesCache = (request.cached ?? true) && this.wanted !== "targets" && this.wanted !== "states";
    this.promptLength = request.prompt.length;
    this.maxPositions = Math.max(request.maxPositions, request.prompt.length);
    this.exactUntil = request.exactUntil ?? (this.wanted === "targets" ? 0 : this.promptLength);
    this.sharedUntil = approximates ? this.exactUntil : this.maxPositions;
    this.tokens = new Int32Array(this.maxPositions);
    this.tokens.set(request.prompt);
    this.length = request.prompt.length;
  }

  /** Of those, what may run in one step: core neurons are settled between a prompt and what follows it. */
  get pendingTogether(): number {
    const ofPrompt = this.exactUntil - this.computed;
    return this.hasCore && ofPrompt > 0 ? Math.min(this.pending, ofPrompt) : this.pending;
  }

  /** Positions that still have to run before the next answer: the last token of scored ones never runs. */
  get pending(): number {
    return this.length - (this.wanted === "targets" ? 1 : 0) - this.computed;
  }

  /** One row, and it gives a token. */
  get decoding(): boolean {
    return this.wanted === "next" && this.pending === 1;
  }

  /** Positions that a cache may give: a wanted row has to run. */
  get cacheable(): number {
    return Math.min(this.length - (this.wanted === "none" ? 0 : 1), this.sharedUntil);
  }

  /** Positions that it may leave in a cache for others. */
  get shareable(): number {
    return Math.min(this.computed, this.sharedUntil);
  }
}

/** Who goes first: by priority, then by arrival. */
export function compareRank(a: Sequence, b: Sequence): number {
  return b.priority - a.priority || a.order - b.order;
}
