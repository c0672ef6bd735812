/** The interface of draft sources. A source is a leaf: taking it out of the list in request-drafts.ts takes it out of Lutra. */
import type { DraftTree, Source } from "./draft-tree.js";

/** The likeliest tokens after a row that was run, best first: ids and logits at [offset, offset + count). */
export interface Likeliest {
  ids: Int32Array;
  logits: Float32Array;
  offset: number;
  count: number;
  logSumExp: number;
}

export interface Drafter {
  readonly source: Source;
  /** The text grew by a token, of the prompt or of the answer. */
  push(token: number): void;
  /** Whether it may have something to propose; asked before every step, so it has to be cheap. Absent: always. */
  isReady?(): boolean;
  /** Proposes nodes. The tree's root is the last token pushed. */
  draft(tree: DraftTree): void;
  /** The row of `token` ran, accepted or not; it stood `depth` after the step's first row of its sequence. */
  observe?(token: number, likeliest: Likeliest, depth: number): void;
  /** The request is over. */
  end?(): void;
}

export const matchLevels = 8;

/** How long a match is, in levels: 1, 2, 3, 4, 5–8, 9–16, 17–32, more. */
export function matchLevel(length: number): number {
  return length <= 4 ? length : length <= 8 ? 5 : length <= 16 ? 6 : length <= 32 ? 7 : matchLevels;
}
