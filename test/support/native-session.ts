/**
 * Sequences on the bare binding: one fed with token ids in chunks of any size, or several a token each at a time. Gives
 * every row's full logits, for tests that must see the numbers themselves.
 */
import { binding, type Isa, type StepArrays } from "../../dist/esm/binding/index.js";
import type { KvCacheType, LutTables, NativeSparsity } from "../../dist/esm/binding/native.js";
import { pagePositions } from "../../dist/esm/limits.js";
import { createStepArrays } from "../../dist/esm/scheduler/index.js";

export interface SessionOptions {
  threads?: number;
  isa?: Isa;
  kvType?: KvCacheType;
  maxPositions?: number;
  /** Sequences that can run together; feed() uses the first. */
  sequences?: number;
  /** Room for hidden states. */
  hiddenRows?: number;
  tiles?: string[];
  tables?: LutTables;
  /** Tensors within a layer that also get columns. */
  columns?: string[];
  sparsity?: NativeSparsity;
}

/** What one step gave: an entry a row that wanted candidates, and a row that wanted its hidden state. */
export interface StepAnswers {
  candidates: { ids: number[]; logits: number[]; logSumExp: number }[];
  hidden: Float32Array[];
}

const maxRows = 512;
const maxWanted = 64;
const candidates = 8;

export class NativeSession {
  readonly #model: number;
  readonly #engine: number;
  readonly #pages: number;
  readonly #arrays: StepArrays;
  readonly vocabSize: number;
  readonly dim: number;
  #position = 0;

  constructor(path: string, options: SessionOptions = {}) {
    const { threads = 1, isa = binding.cpu().isa, kvType = "f16", maxPositions = 1024, sequences = 1 } = options;
    const { tiles, tables, columns, sparsity } = options;
    this.#model = binding.modelAcquire(path, 2, new Int32Array(1), undefined, tiles, columns);
    ({ vocabSize: this.vocabSize, dim: this.dim } = binding.modelInfo(this.#model));
    this.#pages = Math.ceil(maxPositions / pagePositions);
    const pages = this.#pages * sequences;
    const shape = { threads, maxRows, maxWanted, pages, isa, kvType, tables, sparsity };
    try {
      this.#engine = binding.engineCreate(this.#model, shape);
    } catch (error) {
      binding.modelRelease(this.#model);
      throw error;
    }
    this.#arrays = createArrays(pages, sequences);
    this.#arrays.hidden = new Float32Array((options.hiddenRows ?? maxRows) * this.dim);
  }

  /** Goes back to an empty sequence; the pages are written again. */
  reset(): void {
    this.seek(0);
  }

  /** The next row runs at `position`; everything before it has to be in the pages. */
  seek(position: number): void {
    this.#position = position;
  }

  /** The engine's handle, for calls that no method here makes. */
  get engine(): number {
    return this.#engine;
  }

  /** The model's handle, likewise. */
  get model(): number {
    return this.#model;
  }

  /** What the steps read and write. */
  get arrays(): StepArrays {
    return this.#arrays;
  }

  /** feed() finds positions [32 i, 32 i + 32) at pages[i] of the arena from now on. */
  usePages(pages: Int32Array): void {
    this.#arrays.pageTables.set(pages);
  }

  /** Feeds `ids` in steps of at most `chunk` rows and calls `visit` with each row's logits (a reused array). */
  feed(ids: readonly number[], chunk: number, visit: (row: number, logits: Float32Array) => void): void {
    const logits = new Float32Array(this.vocabSize);
    for (let begin = 0; begin < ids.length; begin += chunk) {
      const rows = Math.min(chunk, ids.length - begin);
      // The engine keeps at most maxWanted rows of full logits: a larger chunk runs again for each group of wanted rows.
      for (let group = 0; group < rows; group += maxWanted) {
        const groupEnd = Math.min(rows, group + maxWanted);
        for (let i = 0; i < rows; i++) {
          this.#arrays.tokens[i] = ids[begin + i] as number;
          this.#arrays.positions[i] = this.#position + i;
          this.#arrays.sequences[i] = 0;
          this.#arrays.wants[i] = i >= group && i < groupEnd ? 1 : 0;
        }
        const shape = { rows, sequences: 1, pageStride: this.#pages, k: candidates, mirrors: 0 };
        const wanted = binding.engineStep(this.#engine, shape, this.#arrays);
        for (let w = 0; w < wanted; w++) {
          binding.engineLogits(this.#engine, w, logits);
          visit(begin + group + w, logits);
        }
      }
      this.#position += rows;
    }
  }

  /** One step of the next ids, row i wanting wants[i]. */
  run(ids: readonly number[], wants: readonly number[]): StepAnswers {
    for (const [i, id] of ids.entries()) {
      this.#arrays.tokens[i] = id;
      this.#arrays.positions[i] = this.#position + i;
      this.#arrays.sequences[i] = 0;
      this.#arrays.wants[i] = wants[i] as number;
    }
    const shape = { rows: ids.length, sequences: 1, pageStride: this.#pages, k: candidates, mirrors: 0 };
    const wanted = binding.engineStep(this.#engine, shape, this.#arrays);
    this.#position += ids.length;
    const { candidateIds, candidateLogits, logSumExp, hidden } = this.#arrays;
    return {
      candidates: Array.from({ length: wanted }, (_, w) => ({
        ids: [...candidateIds.subarray(w * candidates, (w + 1) * candidates)],
        logits: [...candidateLogits.subarray(w * candidates, (w + 1) * candidates)],
        logSumExp: logSumExp[w] as number,
      })),
      hidden: wants.filter((want) => want === 3).map((_, row) => hidden.slice(row * this.dim, (row + 1) * this.dim)),
    };
  }

  /** The hidden state of each id, fed in steps of at most `chunk` rows. */
  hiddenStates(ids: readonly number[], chunk: number): Float32Array[] {
    const states: Float32Array[] = [];
    for (let begin = 0; begin < ids.length; begin += chunk) {
      const part = ids.slice(begin, begin + chunk);
      states.push(
        ...this.run(
          part,
          part.map(() => 3),
        ).hidden,
      );
    }
    return states;
  }

  /** One step of a row for each sequence, all at the next position. */
  feedTogether(tokens: readonly number[], visit: (sequence: number, logits: Float32Array) => void): void {
    const logits = new Float32Array(this.vocabSize);
    for (const [i, token] of tokens.entries()) {
      this.#arrays.tokens[i] = token;
      this.#arrays.positions[i] = this.#position;
      this.#arrays.sequences[i] = i;
      this.#arrays.wants[i] = 1;
    }
    const shape = { rows: tokens.length, sequences: tokens.length, pageStride: this.#pages, k: candidates, mirrors: 0 };
    const wanted = binding.engineStep(this.#engine, shape, this.#arrays);
    for (let w = 0; w < wanted; w++) {
      binding.engineLogits(this.#engine, w, logits);
      visit(w, logits);
    }
    this.#position++;
  }

  dispose(): void {
    binding.engineRelease(this.#engine);
    binding.modelRelease(this.#model);
  }
}

function createArrays(pages: number, sequences: number): StepArrays {
  const sizes = { maxBranches: 0, pageStride: 0, maxRows, maxWanted: maxRows, maxCandidates: candidates, dim: 0 };
  const tables = Int32Array.from({ length: pages }, (_, page) => page);
  const arrays = createStepArrays({ ...sizes, maxSequences: sequences }, tables, new Int32Array(1));
  arrays.targets.fill(-1);
  return arrays;
}
