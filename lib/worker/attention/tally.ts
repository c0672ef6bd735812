/** What lookup attention did for the tokens of one request: each counts once, by the row that gave it. */
import type { StepArrays } from "../../binding/native.js";
import type { AttentionStats } from "../../types.js";

type RowOuts = Pick<StepArrays, "attentionKept" | "attentionDropped" | "attentionCoded">;

export class AttentionTally {
  private rows_ = 0;
  private coded_ = 0;
  private kept_ = 0;
  private dropped_ = 0;

  /** `row` of a step gave a token. */
  add({ attentionKept, attentionDropped, attentionCoded }: RowOuts, row: number): void {
    const coded = attentionCoded[row] as number;
    if (coded === 0) return;
    this.rows_++;
    this.coded_ += coded;
    this.kept_ += coded * (attentionKept[row] as number);
    this.dropped_ += attentionDropped[row] as number;
  }

  /** Undefined: all rows attended exactly. */
  summary(): AttentionStats | undefined {
    if (this.rows_ === 0) return undefined;
    return { kept: this.kept_ / this.coded_, dropped: this.dropped_ / this.rows_ };
  }
}
