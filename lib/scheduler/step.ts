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
  /** Row of the sequence's draft; 0 for its own last token. */
  draft: number;
}

export interface Step {
  shape: StepShape;
  spans: StepSpan[];
  wanted: WantedRow[];
  /** Rows of sequences that decode, drafts among them; the others belong to prompts. */
  decodeRows: number;
  /** Mean position of the sequences that decode. */
  depth: number;
}

export interface StepLimits {
  maxSequences: number;
  /** Branches of drafts in one step; each has a page table behind those of the sequences. */
  maxBranches: number;
  /** Page-table entries per sequence. */
  pageStride: number;
  maxRows: number;
  maxWanted: number;
  maxCandidates: number;
  /** Floats of a row's hidden state. */
  dim: number;
}

/** First sizes of lists that whoever fills them replaces by larger ones. */
const firstBiases = 1024;
const firstMirrors = 256;

export function createStepArrays(limits: StepLimits, pageTables: Int32Array, aborts: Int32Array): StepArrays {
  return {
    tokens: new Int32Array(limits.maxRows),
    positions: new Int32Array(limits.maxRows),
    sequences: new Int32Array(limits.maxRows),
    wants: new Uint8Array(limits.maxRows),
    targets: new Int32Array(limits.maxRows),
    mirrorRows: new Int32Array(firstMirrors),
    mirrorPages: new Int32Array(firstMirrors),
    pageTables,
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
    sequenceAborts: new Int32Array(limits.maxSequences + limits.maxBranches).fill(-1),
    exactUntil: new Int32Array(limits.maxSequences + limits.maxBranches),
    attentionKept: new Float32Array(limits.maxRows),
    attentionDropped: new Float32Array(limits.maxRows),
    attentionCoded: new Float32Array(limits.maxRows),
    coreSlots: new Int32Array(limits.maxSequences + limits.maxBranches).fill(-1),
    sparseKept: new Float32Array(limits.maxRows),
    sparseBytes: new Float32Array(limits.maxRows),
    sparseState: new Int32Array(limits.maxRows),
  };
}
