/**
 * What a step of so many decode rows takes: t(rows), first guessed, measured when the engine is idle, then learnt from
 * every step that runs. It decides what is tried, never what comes out.
 */

/** Weight of the newest step in its own entry; and in all, since a machine that slows down does so at every width. */
const learning = 0.15;
const drift = 0.05;
/** Every step takes the entries it says nothing of so much nearer to the guess: a bad measurement is tried again some time. */
const forgetting = 0.004;
/** A step that the system interrupted says nothing. */
const largestRatio = 1.5;
/** Of t(1), what a further row adds before anything was measured (SmolLM2, two threads). */
const guessedSlope = 0.2;

export class StepCurve {
  /** Milliseconds, or those of t(1) = 1 until the first step. */
  private readonly ms_: Float64Array;
  private readonly seen_: Uint8Array;
  private known_ = false;
  /** Milliseconds of attention for a row and a position before it. */
  private attentionMs_ = 0;

  constructor(maxRows: number) {
    this.ms_ = Float64Array.from({ length: maxRows + 1 }, (_, rows) => 1 + guessedSlope * (rows - 1));
    this.seen_ = new Uint8Array(maxRows + 1);
  }

  /** A row at `depth` took so much longer than one at the beginning. */
  observeDepth(depth: number, ms: number): void {
    this.attentionMs_ = Math.max(0, ms) / depth;
  }

  /** A step of `rows` rows took `ms`; `reach`: the sum of their positions. */
  observe(rows: number, total: number, reach: number): void {
    if (rows >= this.ms_.length || !(total > 0)) return;
    const ms = Math.max(total / 4, total - this.attentionMs_ * reach);
    if (!this.known_) this.scale(ms / (this.ms_[rows] as number));
    this.known_ = true;
    if (this.seen_[rows] === 0) this.insert(rows, ms);
    const ratio = Math.min(largestRatio, Math.max(1 / largestRatio, ms / (this.ms_[rows] as number)));
    this.scale(ratio ** drift);
    this.ms_[rows] = (this.ms_[rows] as number) * ratio ** learning;
    this.forget(rows);
  }

  /** Whether it is more than a guess. */
  get known(): boolean {
    return this.known_;
  }

  /** Milliseconds of a step of so many rows at `depth`; never falls as rows grow. In unknown units before the first step. */
  time(rows: number, depth = 0): number {
    let most = 0;
    for (let n = 1; n <= Math.min(rows, this.ms_.length - 1); n++) most = Math.max(most, this.ms_[n] as number);
    return most + this.attentionMs_ * rows * depth;
  }

  /** The first time at this width: entries nobody has seen, up to the next that somebody has, follow on a line. */
  private insert(rows: number, ms: number): void {
    this.seen_[rows] = 1;
    this.ms_[rows] = ms;
    let below = rows - 1;
    while (below > 0 && this.seen_[below] === 0) below--;
    let above = rows + 1;
    while (above < this.ms_.length && this.seen_[above] === 0) above++;
    if (below > 0) this.interpolate(below, rows);
    if (above < this.ms_.length) this.interpolate(rows, above);
    else this.extrapolate(below, rows);
  }

  private forget(rows: number): void {
    const unit = (this.ms_[rows] as number) / (1 + guessedSlope * (rows - 1));
    for (let n = 1; n < this.ms_.length; n++) {
      const ms = this.ms_[n] as number;
      if (n !== rows) this.ms_[n] = ms + forgetting * (unit * (1 + guessedSlope * (n - 1)) - ms);
    }
  }

  private interpolate(from: number, to: number): void {
    const [begin, end] = [this.ms_[from] as number, this.ms_[to] as number];
    for (let n = from + 1; n < to; n++) this.ms_[n] = begin + ((end - begin) * (n - from)) / (to - from);
  }

  private extrapolate(below: number, rows: number): void {
    const ms = this.ms_[rows] as number;
    const slope =
      below > 0
        ? Math.max(0, ms - (this.ms_[below] as number)) / (rows - below)
        : (guessedSlope * ms) / (1 + guessedSlope * (rows - 1));
    for (let n = rows + 1; n < this.ms_.length; n++) this.ms_[n] = ms + slope * (n - rows);
  }

  private scale(factor: number): void {
    for (let n = 1; n < this.ms_.length; n++) this.ms_[n] = (this.ms_[n] as number) * factor;
  }
}
