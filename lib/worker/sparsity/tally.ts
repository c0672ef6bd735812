/** What activation sparsity did for the tokens of one request: each counts once, by the row that gave it. */
import type { StepArrays } from "../../binding/native.js";
import type { SparsityStats } from "../../types.js";

type RowOuts = Pick<StepArrays, "sparseKept" | "sparseBytes" | "sparseState">;

/** Values of `sparseState`. */
const notAsked = 0;
const guarded = 2;

export class SparsityTally {
  private sparse_ = 0;
  private dense_ = 0;
  private guarded_ = 0;
  private kept_ = 0;
  private bytes_ = 0;

  /** `row` of a step gave a token. */
  add({ sparseKept, sparseBytes, sparseState }: RowOuts, row: number): void {
    const state = sparseState[row];
    if (state === notAsked || state === guarded) {
      this.dense_++;
      if (state === guarded) this.guarded_++;
      return;
    }
    this.sparse_++;
    this.kept_ += sparseKept[row] as number;
    this.bytes_ += sparseBytes[row] as number;
  }

  /** Undefined: no row was to be sparse. */
  summary(): SparsityStats | undefined {
    const { sparse_: sparse, dense_: denseTokens, guarded_ } = this;
    if (sparse + guarded_ === 0) return undefined;
    const mean = (sum: number, ofNone: number): number => (sparse === 0 ? ofNone : sum / sparse);
    return { kept: mean(this.kept_, 1), bytesPerToken: mean(this.bytes_, 0), denseTokens, guarded: guarded_ };
  }
}
