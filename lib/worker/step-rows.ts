/** The wanted rows of a step: what each needs beforehand (biases, candidate count), and what came back for it. */
import type { StepArrays } from "../binding/native.js";
import {
  applyBiases,
  type BiasArrays,
  type Candidates,
  createBiasArrays,
  createCandidates,
  needsFullRow,
  needsLogSumExp,
  type PenaltyState,
  sortFullRow,
} from "../sampling/index.js";
import type { Sequence, Step } from "../scheduler/index.js";
import type { Generation } from "./generation.js";

export interface StepRowsOptions {
  arrays: StepArrays;
  /** Logits of a row. */
  rowLength: number;
  /** Gives the full logits, before biases, of a wanted row of the last step. */
  readRow: (w: number, out: Float32Array) => void;
  /** Likeliest tokens that drafting wants of each row, with their probabilities. */
  kept: number;
}

export class StepRows {
  private readonly arrays_: StepArrays;
  private readonly rowLength_: number;
  private readonly readRow_: (w: number, out: Float32Array) => void;
  private readonly kept_: number;
  private readonly biases_: BiasArrays = createBiasArrays(1024);
  private readonly candidates_: Candidates;
  private readonly fullRow_ = createCandidates();
  private row_ = new Float32Array(0);
  /** Of the draft whose rows are prepared, by its row. */
  private readonly path_: PenaltyState[] = [];

  constructor({ arrays, rowLength, readRow, kept }: StepRowsOptions) {
    this.arrays_ = arrays;
    this.rowLength_ = rowLength;
    this.readRow_ = readRow;
    this.kept_ = kept;
    const { candidateIds: ids, candidateLogits: logits } = arrays;
    this.candidates_ = { ids, logits, offset: 0, count: 0, vocabSize: rowLength };
  }

  /** Fills the step's bias lists and candidate count, and says which rows need no log-sum-exp. */
  prepare(step: Step, generationOf: (sequence: Sequence) => Generation | undefined): void {
    const { arrays_: arrays, biases_: biases } = this;
    let k = 1;
    let end = 0;
    arrays.biasOffsets[0] = 0;
    for (const { sequence } of step.spans) generationOf(sequence)?.started();
    for (let w = 0; w < step.wanted.length; w++) {
      const { sequence, row, draft } = step.wanted[w] as Step["wanted"][number];
      const generation = generationOf(sequence);
      if (generation !== undefined) {
        arrays.wants[row] = this.kept_ > 1 || needsLogSumExp(generation.params, this.rowLength_) ? 1 : 2;
        k = Math.max(k, generation.candidates, this.kept_);
        end = this.penaltiesOf(generation, sequence, draft).write(biases, end);
      }
      arrays.biasOffsets[w + 1] = end;
    }
    step.shape.k = Math.min(k, this.rowLength_);
    arrays.biasIds = biases.ids;
    arrays.biasDivides = biases.divides;
    arrays.biasAdds = biases.adds;
  }

  /** Penalties of a row see the text with the row's path at its end. Rows come in order: a parent before its children. */
  private penaltiesOf(generation: Generation, { draft: rows }: Sequence, row: number): PenaltyState {
    const state =
      row === 0 || rows === null
        ? generation.penalties
        : (this.path_[rows.parents[row] as number] as PenaltyState).after(rows.tokens[row] as number);
    this.path_[row] = state;
    return state;
  }

  /** The row's candidates, or the whole row sorted when they cannot decide. */
  candidatesOf(generation: Generation, step: Step, w: number): Candidates {
    const { k } = step.shape;
    const candidates = this.candidates_;
    candidates.offset = w * k;
    candidates.count = k;
    if (!needsFullRow(generation.params, candidates, this.arrays_.logSumExp[w] as number)) return candidates;
    if (this.row_.length === 0) this.row_ = new Float32Array(this.rowLength_);
    this.readRow_(w, this.row_);
    const { biasOffsets } = this.arrays_;
    applyBiases(this.row_, this.biases_, biasOffsets[w] as number, biasOffsets[w + 1] as number);
    return sortFullRow(this.row_, this.fullRow_);
  }
}
