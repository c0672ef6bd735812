/**
 * How many prompt rows may join a step that also decodes, so that running streams feel a long prompt but do not stall:
 * a mixed step is to take at most `slowdown` times as long as its decode rows alone. Learnt from the steps that ran.
 * What it says decides when work is done, never what comes out.
 */
import { limits } from "../limits.js";

const slowdown = 2;
/** Weight of the newest step. */
const learning = 0.2;
/** Before anything was measured. */
const firstRows = 16;

export class StepCosts {
  /** Milliseconds of steps of so many decode rows and nothing else; 0: not seen. */
  private readonly decodeMs_: Float64Array;
  /** Milliseconds that a prompt row adds to a mixed step; 0: not seen. */
  private rowMs_ = 0;

  constructor(maxDecodeRows: number) {
    this.decodeMs_ = new Float64Array(maxDecodeRows + 1);
  }

  observe(decodeRows: number, promptRows: number, ms: number): void {
    if (promptRows === 0) {
      this.decodeMs_[decodeRows] = learn(this.decodeMs_[decodeRows] as number, ms);
    } else if (decodeRows > 0) {
      const alone = this.decodeMs(decodeRows);
      if (alone > 0) this.rowMs_ = learn(this.rowMs_, Math.max(0, ms - alone) / promptRows);
    }
  }

  /** Prompt rows that a step with `decodeRows` decode rows takes at most. */
  promptRows(decodeRows: number, chunk: number): number {
    if (decodeRows === 0) return chunk;
    const alone = this.decodeMs(decodeRows);
    const rows = alone > 0 && this.rowMs_ > 0 ? Math.floor(((slowdown - 1) * alone) / this.rowMs_) : firstRows;
    return Math.min(chunk, Math.max(limits.leastPrefillRows, rows));
  }

  /** Of the nearest number of rows seen; 0 when none was. */
  private decodeMs(rows: number): number {
    for (let away = 0; away < this.decodeMs_.length; away++) {
      const ms = this.decodeMs_[rows - away] || this.decodeMs_[rows + away];
      if (ms) return ms;
    }
    return 0;
  }
}

function learn(known: number, ms: number): number {
  return known === 0 ? ms : known + learning * (ms - known);
}
