/** One request as the scheduler sees it: its known tokens, and how many of them are in the K/V cache. */

export interface SequenceRequest {
  /** Unique among the requests alive. */
  id: number;
  prompt: ArrayLike<number>;
  /** Tokens of prompt and answer together; the pages for them are reserved at admission. */
  maxPositions: number;
  /** Index of the request's abort flag in the step's `aborts`. */
  abortIndex: number;
  /** Every row but the last is wanted, with the token that follows as its target; nothing is generated. */
  score?: boolean;
  /**
   * Hidden states are wanted in place of logits, of every row or of the last one; nothing is generated. With "all", no
   * position may come from a cache: it would give none.
   */
  hidden?: "all" | "last" | undefined;
}

export class Sequence {
  readonly id: number;
  readonly abortIndex: number;
  readonly score: boolean;
  readonly hidden: "all" | "last" | undefined;
  readonly promptLength: number;
  readonly maxPositions: number;
  /** Known tokens: tokens[0 … length). */
  readonly tokens: Int32Array;
  length: number;
  /** Positions [0, computed) are in the cache. */
  computed = 0;
  paused = false;
  /** Index of its page table, -1 while it waits. */
  slot = -1;
  pages = 0;

  constructor(request: SequenceRequest) {
    this.id = request.id;
    this.abortIndex = request.abortIndex;
    this.score = request.score ?? false;
    this.hidden = request.hidden;
    this.promptLength = request.prompt.length;
    this.maxPositions = Math.max(request.maxPositions, request.prompt.length);
    this.tokens = new Int32Array(this.maxPositions);
    this.tokens.set(request.prompt);
    this.length = request.prompt.length;
  }

  /** Positions that still have to run before the next answer: a scored sequence never runs its last token. */
  get pending(): number {
    return this.length - (this.score ? 1 : 0) - this.computed;
  }

  get decoding(): boolean {
    return !this.score && this.computed >= this.promptLength;
  }
}
