/** The reused arrays of one step, and what the step holds. */
import type { StepArrays, StepShape } from "../binding/native.js";
import type { Sequence } from "./sequence.js";

/** `rows` rows belong to `sequence`, from its position `start` on; the last `hidden` of them want their hidden state. */
export interface StepSpan {
  sequence: Sequence;
  start: number;
  rows: number;
  hidden: number;
}

/** A row whose logits are wanted: index in the step's answers is its index in `Step.wanted`. */
export interface WantedRow {
  sequence: Sequence;
  position: number;
  /** Of the step. */
  row: number;
}

export interface Step {
  shape: StepShape;
  spans: StepSpan[];
  wanted: WantedRow[];
  /** Rows of sequences that decode; the others belong to prompts. */
  decodeRows: number;
}

export interface StepLimits {
  maxSequences: number;
  /** Page-table entries per sequence. */
  pageStride: number;
  maxRows: number;
  maxWanted: number;
  maxCandidates: number;
  /** Floats of a row's hidden state. */
  dim: number;
}

/** First size of the bias lists; whoever fills them replaces them by larger ones. */
const firstBiases = 1024;

export function createStepArrays(limits: StepLimits, pageTables: Int32Array, aborts: Int32Array): StepArrays {
  return {
    tokens: new Int32Array(limits.maxRows),
    positions: new Int32Array(limits.maxRows),
    sequences: new Int32Array(limits.maxRows),
    wants: new Uint8Array(limits.maxRows),
    targets: new Int32Array(limits.maxRows),
    pageTables,
    mirrorRows: new Int32Array(limits.maxRows),
    mirrorPages: new Int32Array(limits.maxRows),
    biasOffsets: new Int32Array(limits.maxWanted + 1),
    biasIds: new Int32Array(firstBiases),
    biasDivides: new Float32Array(firstBiases),
    biasAdds: new Float32Array(firstBiases),
    candidateIds: new Int32Array(limits.maxWanted * limits.maxCandidates),
    candidateLogits: new Float32Array(limits.maxWanted * limits.maxCandidates),
    logSumExp: new Float32Array(limits.maxWanted),
    targetLogits: new Float32Array(limits.maxWanted),
    hidden: new Float32Array(limits.maxRows * limits.dim),
    aborts,
    sequenceAborts: new Int32Array(limits.maxSequences).fill(-1),
  };
}
