/**
 * Native engines on one copy of a model's weights that run the same rows, one after the other, so that their logits can be
 * compared: the first is exact, the others leave channels out. Without `columns` the weights have none, which changes no bit
 * of a result. All engines have the same pages, and share the arrays of a step. Texts run in sequence 0.
 */
import { binding } from "../../dist/esm/binding/index.js";
import { limits, pagePositions } from "../../dist/esm/limits.js";
import { createStepArrays } from "../../dist/esm/scheduler/index.js";
import { planSparsity } from "../../dist/esm/worker/sparsity/plan.js";

/** Bytes of full logits that each engine may hold; bounds the rows that are compared at once. */
const logitBytes = 32 << 20;
const maxCompared = 128;

export class EngineSet {
  /** `positions`: of the longest text. Sequence s has pages [s · stride, (s + 1) · stride). */
  constructor(path, { threads, positions, sequences = 1, columns = [] }) {
    this.model = binding.modelAcquire(path, threads, new Int32Array(2), undefined, [], columns);
    this.info = binding.modelInfo(this.model);
    this.threads = threads;
    this.isa = binding.cpu().isa;
    this.stride = Math.ceil(positions / pagePositions);
    this.pages = this.stride * sequences;
    this.maxCompared = Math.max(1, Math.min(maxCompared, Math.floor(logitBytes / (4 * this.info.vocabSize))));
    const sizes = { maxRows: limits.prefillChunk, maxWanted: this.maxCompared, maxCandidates: 1, dim: 0 };
    const tables = Int32Array.from({ length: this.pages }, (_, page) => page);
    const aborts = new Int32Array(new SharedArrayBuffer(4));
    const limitsOfTables = { maxSequences: sequences, maxBranches: 0, pageStride: this.stride };
    this.arrays = createStepArrays({ ...sizes, ...limitsOfTables }, tables, aborts);
    this.shape = { rows: 0, sequences: 1, pageStride: this.stride, k: 1, mirrors: 0 };
    this.distances = new Float64Array(4 * this.maxCompared);
    this.engines = new Set();
    this.exact = this.create(undefined);
  }

  /** `sparsity`: a resolved option, or undefined for an exact engine. */
  create(sparsity) {
    const { threads, isa, pages, maxCompared: maxWanted } = this;
    const plan = sparsity && { sparsity: planSparsity(sparsity, this.info.nLayers) };
    const sizes = { maxRows: limits.prefillChunk, maxWanted, pages };
    const engine = binding.engineCreate(this.model, { threads, isa, ...sizes, ...plan });
    this.engines.add(engine);
    return engine;
  }

  release(engine) {
    this.engines.delete(engine);
    binding.engineRelease(engine);
  }

  close() {
    for (const engine of this.engines) this.release(engine);
    binding.modelRelease(this.model);
  }

  /**
   * Rows of ids[from, from + count), as the next steps run them. `wanted`: their logits, and the tokens after them as targets.
   * Positions below `exactUntil` are dense.
   */
  setRows(ids, from, count, { wanted = false, exactUntil = 0, coreSlot = -1 } = {}) {
    const { tokens, positions, sequences, wants, targets } = this.arrays;
    for (let row = 0; row < count; row++) {
      tokens[row] = ids[from + row];
      positions[row] = from + row;
      sequences[row] = 0;
      wants[row] = wanted ? 1 : 0;
      targets[row] = wanted ? ids[from + row + 1] : -1;
    }
    this.arrays.exactUntil[0] = exactUntil;
    this.arrays.coreSlots[0] = coreSlot;
    this.shape.rows = count;
  }

  step(engine) {
    binding.engineStep(engine, this.shape, this.arrays);
  }

  /** Runs ids[from, to) through one engine, logits unread. */
  run(engine, ids, { from = 0, to, exactUntil = 0, coreSlot = -1 }) {
    for (let at = from; at < to; at += this.shape.rows) {
      this.setRows(ids, at, Math.min(limits.prefillChunk, to - at), { exactUntil, coreSlot });
      this.step(engine);
    }
  }

  /** The wanted rows of both engines' last steps: 4 figures a row, as engineCompareLogits gives them. */
  compare(engine) {
    const { rows } = this.shape;
    binding.engineCompareLogits(engine, this.exact, rows, this.arrays.targets, this.distances);
    return this.distances.subarray(0, 4 * rows);
  }
}
