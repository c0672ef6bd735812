/**
 * The native engine alone: a bare loop over engineStep, without scheduler, sampling, text and messages. Sequence s holds
 * pages [s · stride, (s + 1) · stride); positions may be computed again any number of times.
 */
import { binding } from "../../dist/esm/binding/index.js";
import { createStepArrays } from "../../dist/esm/scheduler/index.js";

const pagePositions = 32;
const chunkRows = 256;

export class NativeLoop {
  /** `attention`: the engine's, codebooks included; every position from 0 on may then be approximate. */
  constructor(path, { threads, isa, positions, sequences = 1, attention }) {
    this.model = binding.modelAcquire(path, threads, new Int32Array(2));
    this.info = binding.modelInfo(this.model);
    this.stride = Math.ceil(positions / pagePositions);
    const pages = this.stride * sequences;
    const maxRows = Math.max(chunkRows, sequences);
    this.engine = binding.engineCreate(this.model, {
      threads,
      maxRows,
      maxWanted: sequences,
      pages,
      isa,
      attention,
    });
    const limits = { maxSequences: sequences, maxBranches: 0, pageStride: this.stride, maxRows, maxWanted: sequences };
    const pageTables = Int32Array.from({ length: pages }, (_, page) => page);
    const aborts = new Int32Array(new SharedArrayBuffer(4));
    this.arrays = createStepArrays({ ...limits, maxCandidates: 256, dim: 0 }, pageTables, aborts);
    this.arrays.targets.fill(-1);
    this.shape = { rows: 0, sequences, pageStride: this.stride, k: 1, mirrors: 0 };
  }

  setRow(i, token, position, sequence, wanted) {
    const { tokens, positions, sequences, wants } = this.arrays;
    tokens[i] = token;
    positions[i] = position;
    sequences[i] = sequence;
    wants[i] = wanted ? 1 : 0;
  }

  step(rows, k = 1) {
    this.shape.rows = rows;
    this.shape.k = k;
    binding.engineStep(this.engine, this.shape, this.arrays);
  }

  /** Computes ids at positions [from, from + ids.length) of a sequence; returns the best next token. */
  prompt(ids, sequence = 0, from = 0) {
    for (let begin = 0; begin < ids.length; begin += chunkRows) {
      const rows = Math.min(chunkRows, ids.length - begin);
      for (let i = 0; i < rows; i++) {
        const at = begin + i;
        this.setRow(i, ids[at], from + at, sequence, at === ids.length - 1);
      }
      this.step(rows);
    }
    return this.arrays.candidateIds[0];
  }

  /** Feeds the best token back `steps` times from `position` on; milliseconds a step. */
  decode(token, position, steps, k = 1) {
    const { candidateIds } = this.arrays;
    let next = token;
    const start = performance.now();
    for (let i = 0; i < steps; i++) {
      this.setRow(0, next, position + i, 0, true);
      this.step(1, k);
      next = candidateIds[0];
    }
    return (performance.now() - start) / steps;
  }

  /** `steps` steps of one row of each of `batch` sequences, all at `position` and after; milliseconds of each step. */
  decodeBatch(batch, position, steps) {
    const { candidateIds } = this.arrays;
    const samples = [];
    for (let i = 0; i < steps; i++) {
      for (let s = 0; s < batch; s++) this.setRow(s, i === 0 ? 100 + s : candidateIds[s], position + i, s, true);
      const start = performance.now();
      this.step(batch);
      samples.push(performance.now() - start);
    }
    return samples;
  }

  release() {
    binding.engineRelease(this.engine);
    binding.modelRelease(this.model);
  }
}

/** Ordinary token ids, the same in every process, others for every `run`. */
export function someTokens(vocabSize, length, run = 0) {
  const low = Math.floor(vocabSize / 8);
  return Array.from({ length }, (_, i) => low + ((i * 7919 + run * 104729) % (vocabSize - 2 * low)));
}
