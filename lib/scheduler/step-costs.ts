/**
 * How many prompt rows may join a step that also decodes, so that running streams feel a long prompt but do not stall:
 * a mixed step is to take at most `slowdown` times as long as its decode rows alone. Learnt from the steps that ran.
 * What it says decides when work is done, never what comes out.
 */
import { limits } from "../limits.js";
import { StepCurve } from "./step-curve.js";

const slowdown = 2;
/** Weight of the newest step. */
const learning = 0.2;
/** Before anything was measured. */
const firstRows = 16;

export class StepCosts {
  /** Of steps of decode rows and nothing else. */
  readonly curve: StepCurve;
  /** Milliseconds that a prompt row adds to a mixed step; 0: not seen. */
  private rowMs_ = 0;

  constructor(maxDecodeRows: number) {
    this.curve = new StepCurve(maxDecodeRows);
  }

  /** `depth`: mean position of the decode rows. */
  observe(decodeRows: number, promptRows: number, depth: number, ms: number): void {
    if (promptRows === 0) this.curve.observe(decodeRows, ms, decodeRows * depth);
    else if (decodeRows > 0 && this.curve.known) {
      const added = Math.max(0, ms - this.curve.time(decodeRows, depth)) / promptRows;
      this.rowMs_ = this.rowMs_ === 0 ? added : this.rowMs_ + learning * (added - this.rowMs_);
    }
  }

  /** Prompt rows that a step with `decodeRows` decode rows takes at most. */
  promptRows(decodeRows: number, depth: number, chunk: number): number {
    if (decodeRows === 0) return chunk;
    const { curve, rowMs_ } = this;
    const alone = curve.known ? curve.time(decodeRows, depth) : 0;
    const rows = alone > 0 && rowMs_ > 0 ? Math.floor(((slowdown - 1) * alone) / rowMs_) : firstRows;
    return Math.min(chunk, Math.max(limits.leastPrefillRows, rows));
  }
}
